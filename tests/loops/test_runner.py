"""The runner of loops, mostly without threads: a test makes the turns itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from support.wait import until
from tidegate.core.backoff import Backoff
from tidegate.errors import NotLeader, StoreUnavailable
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.runner import STANDBY_S, WAIT_S_MAX, Loop, Repeated, Runner

HOUR_S = 3600.0


class Bed:
    """A loop whose steps do what the test says, with time that the test moves."""

    def __init__(self, leader_only: bool = False) -> None:
        self.now, self.leads, self.steps, self.woken = 1000.0, True, 0, 0
        self.trouble: Callable[[], Exception] | None = None
        self.registry = CollectorRegistry()
        backoff = Backoff(first_s=1.0, longest_s=4.0)
        self.loop = Loop("mine", self.step, leader_only=leader_only, backoff=backoff, on_wake=self.wake)
        self.repeated = Repeated(self.loop, LoopMetrics(self.registry), lambda: self.leads, lambda: self.now)

    def step(self) -> float:
        self.steps += 1
        if self.trouble is not None:
            raise self.trouble()
        return 7.0

    def wake(self) -> None:
        self.woken += 1

    def metric(self, name: str) -> float | None:
        return self.registry.get_sample_value(name, {"loop": "mine"})


def test_a_step_says_when_the_next_one_is_due_and_its_success_is_measured() -> None:
    bed = Bed()
    assert bed.repeated.turn() == 7.0
    assert bed.metric("tidegate_loop_last_success_timestamp_seconds") == 1000.0
    assert bed.metric("tidegate_loop_failures_total") in (None, 0.0)


def test_a_loop_that_fails_is_put_off_longer_each_time_and_goes_on_by_itself() -> None:
    bed = Bed()
    bed.trouble = lambda: ValueError("broken")
    assert [bed.repeated.turn() for _ in range(4)] == [1.0, 2.0, 4.0, 4.0]
    assert bed.repeated.deaf_s == 1.0, "no wake makes it fail faster"
    assert bed.metric("tidegate_loop_failures_total") == 4.0
    assert bed.metric("tidegate_loop_last_success_timestamp_seconds") is None
    bed.trouble, bed.now = None, 1010.0
    assert (bed.repeated.turn(), bed.repeated.deaf_s) == (7.0, 0.0)
    assert bed.metric("tidegate_loop_last_success_timestamp_seconds") == 1010.0
    bed.trouble = lambda: ValueError("broken")
    assert bed.repeated.turn() == 1.0


def test_each_kind_of_failure_is_logged_once_until_the_loop_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    bed = Bed()
    numbers = iter(range(100))
    caplog.set_level(logging.INFO)

    def turns(*troubles: Callable[[], Exception]) -> list[str]:
        caplog.clear()
        for bed.trouble in troubles:
            bed.repeated.turn()
        return [record.getMessage() for record in caplog.records]

    def unforeseen() -> Exception:
        return ValueError(f"number {next(numbers)}")

    def away(who: str) -> Callable[[], Exception]:
        return lambda: StoreUnavailable(f"{who} is away")

    said = turns(unforeseen, unforeseen, away("one"), away("one"), away("other"), unforeseen)
    assert [one.partition("s: ")[2] for one in said] == ["number 0", "one is away", "other is away"]
    assert [record.exc_info is not None for record in caplog.records] == [True, False, False]
    bed.trouble = None
    caplog.clear()
    bed.repeated.turn()
    assert caplog.messages == ["mine: goes on after 6 failures"]
    assert len(turns(away("one"))) == 1


def test_a_loop_of_the_leader_steps_only_while_the_lease_is_held() -> None:
    bed = Bed(leader_only=True)
    bed.leads = False
    bed.loop.wake.set()
    assert bed.repeated.turn() == STANDBY_S
    assert bed.steps == 0
    assert not bed.loop.wake.is_set(), "or the thread would not wait at all"
    bed.leads = True
    assert bed.repeated.turn() == 7.0
    bed.trouble = lambda: NotLeader("another leads")
    assert bed.repeated.turn() == STANDBY_S
    assert bed.metric("tidegate_loop_failures_total") in (None, 0.0), "to be refused by the fence is no failure"


def test_a_wake_is_taken_once_and_one_that_comes_during_a_step_is_kept() -> None:
    bed = Bed()
    bed.loop.wake.set()
    bed.repeated.turn()
    bed.repeated.turn()
    assert (bed.woken, bed.loop.wake.is_set()) == (1, False)

    def wake_again() -> Exception:
        bed.loop.wake.set()
        return ValueError("woken")

    bed.trouble = wake_again
    bed.repeated.turn()
    assert bed.loop.wake.is_set()


def test_a_runner_steps_at_once_and_when_it_is_woken_and_ends_when_it_is_told() -> None:
    steps, closed = [0], threading.Event()

    def step() -> float:
        steps[0] += 1
        return HOUR_S

    loop = Loop("mine", step, close=closed.set)
    runner = Runner([loop], LoopMetrics(CollectorRegistry()))
    runner.start()
    until(lambda: steps[0] == 1, what="the first step")
    loop.wake.set()
    until(lambda: steps[0] == 2, what="the step that was asked for")
    runner.stop(60)
    assert closed.is_set()
    assert not any(thread.name == "mine" for thread in threading.enumerate())


def test_a_step_that_hangs_holds_neither_the_others_nor_the_end(caplog: pytest.LogCaptureFixture) -> None:
    release, begun, other = threading.Event(), threading.Event(), threading.Event()

    def hang() -> float:
        begun.set()
        release.wait(60)
        return HOUR_S

    def other_step() -> float:
        other.set()
        return HOUR_S

    runner = Runner([Loop("hangs", hang), Loop("other", other_step)], LoopMetrics(CollectorRegistry()))
    runner.start()
    try:
        assert begun.wait(60)
        assert other.wait(60)
        runner.stop(0.05)
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["hangs"]
    finally:
        release.set()
        runner.stop(60)


@pytest.mark.parametrize("trouble", ["on_wake", "leads", "exit", "for ever"])
def test_nothing_ends_a_loop(trouble: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bed = Bed(leader_only=True)

    def fails() -> bool:
        raise RuntimeError("no")

    def fails_on_wake() -> None:
        fails()

    if trouble == "on_wake":
        monkeypatch.setattr(bed, "loop", replace(bed.loop, on_wake=fails_on_wake))
    bed.repeated = Repeated(bed.loop, LoopMetrics(CollectorRegistry()), fails if trouble == "leads" else lambda: True)
    if trouble == "exit":
        bed.trouble = SystemExit  # type: ignore[assignment]  # of a library, in a step
    elif trouble == "for ever":
        bed.repeated.loop = replace(bed.loop, step=lambda: float("inf"))
    bed.loop.wake.set()
    assert 0.0 < bed.repeated.turn() <= WAIT_S_MAX
