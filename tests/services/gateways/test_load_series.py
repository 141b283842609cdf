from __future__ import annotations

import math

import pytest

from support.loads import Clock, busy
from tidegate.errors import InvalidArgument
from tidegate.services.gateways.load import KEPT_S
from tidegate.services.gateways.load_series import load_series
from tidegate.wire.load import LoadSeries

AHEAD_S = 1_795_000_000.0 - 1000.0


def seen(clock: Clock, step_s: float = 5.0, *versions: str) -> LoadSeries:
    return load_series(clock.load, "churn", versions or ["1", "2"], step_s, clock.now + AHEAD_S)


def test_points_are_round_moments_of_the_wall_clock_and_missing_before_anything_was_told() -> None:
    clock = Clock()
    clock.pass_seconds(12, g0=[busy(2.0, 10, 1), busy(0.5, 4, version="2")])
    found = seen(clock)
    assert (len(found.times), found.times[-1], found.step_s) == (KEPT_S / 5, 1000.0 + 10 + AHEAD_S, 5.0)
    first, second = found.versions["1"], found.versions["2"]
    assert first.requests_per_s[-3:] == [None, pytest.approx(10.0), pytest.approx(10.0)]
    assert first.errors_per_s[-1] == pytest.approx(1.0)
    assert first.concurrency[-1] == pytest.approx(2.0)
    assert first.p95_s[-1] == pytest.approx(0.05, rel=0.1)
    assert second.requests_per_s[-1] == pytest.approx(4.0)
    assert set(first.requests_per_s[:-2]) == {None}


def test_idle_is_zero_and_silence_is_missing() -> None:
    clock = Clock()
    clock.pass_seconds(20, g0=[], g1=[busy(requests=10)])
    assert seen(clock).versions["1"].requests_per_s[-4:] == pytest.approx([10.0] * 4)
    assert seen(clock).versions["2"].requests_per_s[-4:] == [0.0] * 4
    assert seen(clock).versions["1"].p95_s[-1] is not None
    assert seen(clock).versions["2"].p95_s[-1] is None
    clock.pass_seconds(10, g0=[])
    found = seen(clock)
    assert found.versions["1"].requests_per_s[-6:] == [*[pytest.approx(10.0)] * 4, None, None]
    assert found.gateways_silent == 1


def test_a_gateway_that_told_nothing_for_a_while_leaves_a_gap() -> None:
    clock = Clock()
    clock.pass_seconds(10, g0=[busy(requests=10)], g1=[busy(requests=10)])
    clock.pass_seconds(10, g0=[busy(requests=10)])
    clock.pass_seconds(10, g0=[busy(requests=10)], g1=[busy(requests=10)])
    both = pytest.approx(20.0)
    assert seen(clock).versions["1"].requests_per_s[-6:] == [both, both, None, None, both, both]


def test_a_gateway_that_came_later_is_no_gap_before() -> None:
    clock = Clock()
    clock.pass_seconds(10, g0=[busy(requests=10)])
    clock.pass_seconds(10, g0=[busy(requests=10)], g1=[busy(requests=10)])
    assert seen(clock).versions["1"].requests_per_s[-4:] == pytest.approx([10, 10, 20, 20])


def test_refused_requests_are_told_only_where_there_were_some() -> None:
    clock = Clock()
    clock.pass_seconds(10, g0=[busy(requests=10)])
    assert set(seen(clock, 5.0, "1", "").versions) == {"1"}
    clock.pass_seconds(10, g0=[busy(requests=3, version="")])
    assert seen(clock, 5.0, "1", "").versions[""].requests_per_s[-1] == pytest.approx(3.0)


@pytest.mark.parametrize("step_s", [0.0, 1.9, 61.0, math.nan, math.inf])
def test_a_step_that_makes_no_sense_is_refused(step_s: float) -> None:
    with pytest.raises(InvalidArgument, match="step_s"):
        seen(Clock(), step_s)


def test_nothing_told_is_nothing_known() -> None:
    assert set(seen(Clock(), 60.0).versions["1"].requests_per_s) == {None}
    assert len(seen(Clock(), 60.0).times) == 5
