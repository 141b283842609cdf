from dataclasses import replace

import pytest

from tidegate.core.endpoints.follow import (
    AGAIN,
    AliasSeen,
    AliasTarget,
    Following,
    JobSeen,
    Known,
    Refuse,
    Roll,
    Stay,
    Step,
    TakeIn,
    Wait,
    decide,
    known,
)

NOW = 1000.0
ON_1 = Following("churn", "churn", "champion", gated=False, version="1", state="current")
GATED = replace(ON_1, gated=True)
TAKING_2 = replace(ON_1, version="2", state="taking_in", job="j")
REFUSED_2 = replace(ON_1, version="2", state="refused", code="pickle_not_granted")


def _seen(version: str, known: Known = "here", **more: object) -> AliasSeen:
    return AliasSeen(AliasTarget(version, known), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("following", "seen", "step"),
    [
        (ON_1, _seen("1"), Stay()),
        (ON_1, _seen("2"), Roll("2")),
        (ON_1, _seen("2", "new"), TakeIn("2")),
        (GATED, _seen("2"), TakeIn("2")),
        (GATED, _seen("1"), Stay()),
        (ON_1, AliasSeen(None, "no alias"), Stay("no alias")),
        (TAKING_2, AliasSeen(None, "the registry is away"), Stay("the registry is away")),
        (TAKING_2, _seen("2", job=JobSeen("queued")), Stay()),
        (TAKING_2, _seen("2", job=JobSeen("running")), Stay()),
        (TAKING_2, _seen("2", job=JobSeen("succeeded")), Roll("2")),
        (TAKING_2, _seen("2", "new", job=None), TakeIn("2")),
        (TAKING_2, _seen("3", "new", job=JobSeen("running")), TakeIn("3")),
        (TAKING_2, _seen("1", job=JobSeen("running")), Roll("1")),
        (
            TAKING_2,
            _seen("2", "new", job=JobSeen("failed", "score_below_gate", "0.5 < 0.8")),
            Refuse("2", "score_below_gate", "0.5 < 0.8"),
        ),
        (
            TAKING_2,
            _seen("2", "new", job=JobSeen("cancelled", "job_cancelled", "cancelled by anna")),
            Refuse("2", "job_cancelled", "cancelled by anna"),
        ),
        (
            TAKING_2,
            _seen("2", "new", job=JobSeen("failed", "artifacts_unavailable", "away", passing=True)),
            Wait("2", "away", 1, NOW + AGAIN.first_s),
        ),
        (REFUSED_2, _seen("2", "new"), Stay()),
        (REFUSED_2, _seen("2", "new", trusted=True), TakeIn("2")),
        (replace(REFUSED_2, code="score_below_gate"), _seen("2", "new", trusted=True), Stay()),
        (replace(ON_1, version="2", state="waiting", retry_at=NOW + 1, attempts=3), _seen("2", "new"), Stay()),
        (replace(ON_1, version="2", state="waiting", retry_at=NOW, attempts=3), _seen("2", "new"), TakeIn("2", 3)),
    ],
)
def test_an_alias_is_followed_as_the_table_says(following: Following, seen: AliasSeen, step: Step) -> None:
    assert decide(following, seen, NOW) == step


def test_a_number_that_stands_for_other_bytes_is_refused_once() -> None:
    step = decide(ON_1, _seen("2", "other"), NOW)
    assert isinstance(step, Refuse)
    assert "tidegate models delete churn:2" in step.reason
    assert decide(replace(ON_1, version="2", state="refused", code=step.code), _seen("2", "other"), NOW) == Stay()
    assert decide(replace(ON_1, version="2", state="refused", code=step.code), _seen("2", "new"), NOW) == TakeIn("2")


def test_failures_that_may_pass_are_tried_again_ever_less_often_and_for_ever() -> None:
    following, waits = TAKING_2, []
    for _ in range(8):
        seen = _seen("2", "new", job=JobSeen("failed", "disk_full", "full", passing=True))
        step = decide(following, seen, NOW)
        assert isinstance(step, Wait)
        waits.append(step.retry_at - NOW)
        following = replace(following, attempts=step.attempts)
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]


def test_what_the_registry_has_under_a_number_is_told_from_what_is_here() -> None:
    assert [known(None, None), known(None, "a"), known("a", None), known("a", "a"), known("a", "b")] == [
        "new",
        "new",
        "here",
        "here",
        "other",
    ]
