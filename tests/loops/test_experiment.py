"""The loop of experiments: what is looked at when, and what one that fails costs the others."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tidegate.errors import NotLeader
from tidegate.loops import experiment
from tidegate.loops.experiment import FAILED_S, IDLE_S, LEAP_S_MIN, LOOK_S_MAX, LOOK_S_MIN, STEADY_S, ExperimentLoop
from tidegate.services.experiments.deciding import GAP_S_MAX


@dataclass
class Deciding:
    """Counts the looks, which take as long, and fail, as the test says."""

    numbers: list[int] = field(default_factory=lambda: [1])
    cost_s: float = 0.0
    errors: dict[int, Exception] = field(default_factory=dict)
    looks: list[tuple[int, float]] = field(default_factory=list)
    troubles: list[tuple[int, str]] = field(default_factory=list)
    swept: int = 0
    time: Time | None = None

    def live(self) -> list[int]:
        return list(self.numbers)

    def look(self, number: int, elapsed_s_max: float) -> None:
        assert self.time is not None
        self.time.ticks += self.cost_s
        self.looks.append((number, elapsed_s_max))
        if number in self.errors:
            raise self.errors[number]

    def note_trouble(self, number: int, why: str) -> None:
        self.troubles.append((number, why))

    def forget_gone(self) -> None:
        self.swept += 1


@dataclass
class Time:
    ticks: float = 1000.0
    set_by_s: float = 0.0

    def clock(self) -> float:
        return 1e9 + self.ticks + self.set_by_s


class Bed:
    def __init__(self) -> None:
        self.time, self.deciding = Time(), Deciding()
        self.deciding.time = self.time
        self.loop = ExperimentLoop(
            self.deciding,  # type: ignore[arg-type] # the part of it that the loop calls
            clock=self.time.clock,
            ticks=lambda: self.time.ticks,
        )

    def step(self, after_s: float = 0.0) -> float:
        self.time.ticks += after_s
        return self.loop.step()


def test_each_is_looked_at_when_it_is_due_and_at_once_when_somebody_asks() -> None:
    bed = Bed()
    assert bed.step() == LOOK_S_MIN
    assert len(bed.deciding.looks) == 1
    bed.step(LOOK_S_MIN - 0.1)
    assert len(bed.deciding.looks) == 1
    bed.step(0.2)
    assert len(bed.deciding.looks) == 2
    bed.loop.on_wake()
    bed.step()
    assert len(bed.deciding.looks) == 3


def test_a_look_that_takes_long_is_made_less_often() -> None:
    bed = Bed()
    bed.deciding.cost_s = 3.0
    assert bed.step() == LOOK_S_MIN, "the first one imports libraries"
    assert bed.step(LOOK_S_MIN) == IDLE_S, "others may have begun meanwhile"
    bed.step(29.0)
    assert len(bed.deciding.looks) == 2
    bed.deciding.cost_s = 1000.0
    bed.step(2.0)
    assert len(bed.deciding.looks) == 3
    bed.step(31.0)
    assert len(bed.deciding.looks) == 4, "one that is slow by chance costs nothing"
    bed.step(LOOK_S_MAX - 1)
    assert len(bed.deciding.looks) == 4
    bed.step(2.0)
    assert len(bed.deciding.looks) == 5


def test_no_more_time_passes_between_two_looks_than_did_by_a_clock_that_nobody_sets() -> None:
    bed = Bed()
    bed.step()
    bed.step(7.0)
    assert [elapsed for _, elapsed in bed.deciding.looks] == [GAP_S_MAX, 7.0 + experiment.SLACK_S]


def test_one_that_fails_is_told_tried_later_and_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    bed = Bed()
    bed.deciding.numbers, bed.deciding.errors = [1, 2], {1: RuntimeError("no such column")}
    bed.step()
    bed.step(LOOK_S_MIN)
    assert [number for number, _ in bed.deciding.looks] == [1, 2, 2]
    assert bed.deciding.troubles == [(1, "RuntimeError: no such column")]
    bed.step(FAILED_S)
    assert bed.deciding.looks[-2][0] == 1
    assert caplog.text.count("experiment 1 could not be looked at") == 1, "once for the same reason"


def test_a_leader_that_was_replaced_stops_at_once() -> None:
    bed = Bed()
    bed.deciding.numbers, bed.deciding.errors = [1, 2], {1: NotLeader("another leads")}
    with pytest.raises(NotLeader):
        bed.step()
    assert len(bed.deciding.looks) == 1


def test_after_the_clock_was_set_nothing_is_decided_for_a_while() -> None:
    bed = Bed()
    bed.step()
    bed.time.set_by_s = 365 * 86_400.0
    assert bed.step(5.0) == IDLE_S
    bed.step(STEADY_S - 1)
    assert len(bed.deciding.looks) == 1
    bed.time.set_by_s = 0.0
    bed.step(2.0)
    assert len(bed.deciding.looks) == 1, "it was set again"
    bed.step(STEADY_S + 1)
    assert len(bed.deciding.looks) == 2
    bed.time.set_by_s = LEAP_S_MIN / 2
    bed.step(10.0)
    assert len(bed.deciding.looks) == 3, "a little is what keeps clocks in step"


def test_what_is_of_endpoints_that_are_gone_is_forgotten_now_and_then() -> None:
    bed = Bed()
    bed.step()
    bed.step(10.0)
    assert bed.deciding.swept == 1
    bed.step(experiment.SWEEP_S + 1)
    assert bed.deciding.swept == 2
