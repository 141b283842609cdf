"""When a change counts as done, as failed, or as not decided yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from tidegate import errors
from tidegate.client import waiting
from tidegate.client.waiting import job_error, meanwhile, poll, wait_for_endpoint
from tidegate.wire.rest import Endpoint, Job, ReplicaCount, VariantView


def variant(version: str, status: Any, ready: int, reason: str = "") -> VariantView:
    return VariantView(version, 0.0, status, reason, ReplicaCount(1, ready))


OLD, NEW = variant("1", "ready", 1), variant("2", "ready", 1)
STARTING = variant("2", "starting", 0)
FAILED = variant("2", "failed", 0, "it crashed 5 times: no licence")
ASKED = Endpoint("churn", "u", "deploying", "", {"1": 100.0}, [OLD, STARTING], {"2": 100.0})
DONE = replace(ASKED, status="ready", traffic={"2": 100.0}, variants=[OLD, NEW])


def test_a_pool_s_replicas_are_not_counted_to_whoever_waits() -> None:
    pool = replace(STARTING, managed_by="cloudrun")
    assert waiting.describe(replace(ASKED, variants=[OLD, pool])) == ("version 2 starting", 0.0)
    assert waiting.describe(ASKED) == ("version 2 starting, 0 of 1 ready", 0.0)


def looks(*seen: Endpoint | Exception) -> Callable[[], Endpoint]:
    """Reports them one by one, the last for ever."""
    queue: list[Endpoint | Exception] = list(seen)

    def look() -> Endpoint:
        now = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(now, Exception):
            raise now
        return now

    return look


def wait(seen: Iterable[Endpoint | Exception], timeout_s: float = 5.0) -> tuple[Endpoint, list[str]]:
    said: list[str] = []
    return wait_for_endpoint(looks(*seen), ASKED, timeout_s, lambda message, _: said.append(message)), said


def test_done_when_routed_with_every_replica() -> None:
    routed_early = replace(DONE, variants=[OLD, STARTING])
    still_weighing = replace(DONE, traffic={"1": 100.0})
    found, said = wait([ASKED, still_weighing, routed_early, DONE])
    assert found == DONE
    assert said[0] == "version 2 starting, 0 of 1 ready"


def test_a_weight_of_zero_is_no_weight() -> None:
    assert wait([replace(DONE, traffic={"1": 0.0, "2": 100.0})])[0].traffic["2"] == 100


def test_a_version_that_never_becomes_ready_says_why_and_what_still_serves() -> None:
    stuck = replace(ASKED, status="degraded", reason="version 2 is quarantined", variants=[OLD, FAILED])
    with pytest.raises(errors.TidegateError, match=r"no licence.*still is.*'1': 100"):
        wait([ASKED, stuck])


def test_a_version_that_is_given_up_with_some_replicas_is_not_waited_for() -> None:
    short = replace(NEW, status="degraded", reason="given up: no memory", replicas=ReplicaCount(2, 1), given_up=True)
    with pytest.raises(errors.TidegateError, match="no memory"):
        wait([replace(DONE, status="degraded", variants=[short])])


def test_an_endpoint_that_fails_as_a_whole() -> None:
    with pytest.raises(errors.TidegateError, match="disk full"):
        wait([replace(ASKED, status="failed", reason="disk full", variants=[], traffic={})])


def test_somebody_else_changed_it() -> None:
    with pytest.raises(errors.Conflict, match="another target"):
        wait([ASKED, replace(DONE, target={"1": 100.0}, traffic={"1": 100.0})])


def test_the_time_is_over() -> None:
    with pytest.raises(errors.DeadlineExceeded, match=r"after 0\.1 s.*version 2 starting"):
        wait([ASKED], timeout_s=0.1)


def test_a_control_plane_that_restarts_is_waited_for() -> None:
    assert wait([ASKED, errors.NotRunning(), errors.NotRunning(), DONE])[0] == DONE


@pytest.mark.parametrize(
    "passing",
    [
        errors.StoreUnavailable("the database does not answer", retry_after_s=0.01),
        errors.Overloaded("too many connections"),
        errors.DeadlineExceeded("no answer within 30 s"),
    ],
    ids=lambda error: error.code,
)
def test_a_control_plane_that_cannot_answer_now_is_asked_again(passing: errors.TidegateError) -> None:
    assert wait([ASKED, passing, passing, DONE])[0] == DONE


def test_what_it_says_is_raised_where_there_is_no_time_left() -> None:
    with pytest.raises(errors.StoreUnavailable, match="the database"):
        wait([ASKED, errors.StoreUnavailable("the database does not answer")], timeout_s=0.1)


def test_an_answer_that_will_not_change_is_raised_at_once() -> None:
    with pytest.raises(errors.UnknownEndpoint):
        wait([ASKED, errors.UnknownEndpoint(), DONE])


def test_a_control_plane_that_stays_away_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SILENCE_S_MAX", 0.1)
    with pytest.raises(errors.NotRunning):
        wait([errors.NotRunning("gone")])


def test_poll_looks_at_least_once() -> None:
    assert poll(lambda: 1, lambda seen: seen == 1, 0.0) == (1, True)
    assert poll(lambda: 1, lambda seen: seen == 2, 0.0) == (1, False)


def test_the_error_of_a_job_is_the_error_itself() -> None:
    body = errors.ScoreBelowGate("accuracy 0.61 is below 0.8", score=0.61).body()
    error = job_error(Job("j", "register", "failed", 0.4, "scoring", "churn", error=body))
    assert isinstance(error, errors.ScoreBelowGate)
    assert (error.message, error.details) == ("accuracy 0.61 is below 0.8", {"score": 0.61})
    assert "scoring" in job_error(Job("j", "register", "failed", 0.4, "scoring", "churn")).message


def test_what_an_automation_does_meanwhile_supersedes_nothing() -> None:
    """A change of the number of replicas is awaited while a canary takes its steps."""
    arms = [replace(OLD, name="control"), replace(OLD, name="again"), replace(NEW, name="treatment")]
    asked = replace(ASKED, asked={"1": 100.0}, target={"1": 90.0, "2": 10.0})
    step = {"1": 50.0, "2": 50.0}
    done = replace(asked, status="ready", target=step, traffic=step, variants=arms)
    assert wait_for_endpoint(looks(done), asked, 5.0) == done
    assert waiting.describe(done)[0].count("version 1") == 1, "two variants of one version share its replicas"
    with pytest.raises(errors.Conflict, match="another target"):
        wait_for_endpoint(looks(replace(done, asked={"2": 100.0})), asked, 5.0)


def test_looks_go_on_beside_the_body_also_after_one_that_fails_and_end_with_it() -> None:
    looked: list[int] = []
    third = Event()

    def look() -> None:
        looked.append(len(looked))
        if len(looked) == 2:
            raise errors.NotRunning("away")
        if len(looked) == 3:
            third.set()

    with meanwhile(look, 0.001):
        assert third.wait(30)
    ended = len(looked)
    with meanwhile(None, 0.001):
        pass
    assert len(looked) == ended
