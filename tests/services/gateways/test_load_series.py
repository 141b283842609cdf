from __future__ import annotations

import math
from dataclasses import replace

import pytest

from support.loads import Clock, busy
from tidegate.errors import InvalidArgument
from tidegate.services.gateways.load import KEPT_S
from tidegate.services.gateways.load_series import OVERVIEWS_KEPT_MAX, LoadOverview, load_series
from tidegate.wire.gateways.load import LoadSeries

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


def test_of_many_endpoints_all_versions_are_added_up_once_for_each_point() -> None:
    clock = Clock()
    fraud = replace(busy(1.0, 3), endpoint="fraud")
    refused = busy(0.0, 1, version="")
    clock.pass_seconds(30, g0=[busy(2.0, 10, 1), busy(0.5, 4, version="2"), refused], g1=[fraud])
    overview = LoadOverview(clock.load)
    found = overview.get("", 10, 10.0, clock.now + AHEAD_S)
    assert (len(found.times), list(found.endpoints)) == (KEPT_S / 10, ["churn", "fraud"])
    assert found.endpoints["churn"].requests_per_s[-1] == pytest.approx(15.0)
    assert found.endpoints["churn"].errors_per_s[-1] == pytest.approx(1.0)
    assert found.endpoints["fraud"].requests_per_s[-1] == pytest.approx(3.0)
    assert found.endpoints["churn"].requests_per_s[0] is None, "nothing was told of that time"
    assert list(overview.get("d", 10, 10.0, clock.now + AHEAD_S).endpoints) == ["fraud"]
    assert list(overview.get("", 1, 10.0, clock.now + AHEAD_S).endpoints) == ["churn"]
    clock.pass_seconds(5, g0=[])
    assert overview.get("", 10, 10.0, clock.now + AHEAD_S) is found, "no new point"
    clock.pass_seconds(5, g0=[], g1=[])
    assert overview.get("", 10, 10.0, clock.now + AHEAD_S).times[-1] == found.times[-1] + 10
    with pytest.raises(InvalidArgument, match="step_s"):
        overview.get("", 10, math.nan, 0.0)


def test_series_of_many_endpoints_are_kept_within_a_bound() -> None:
    clock = Clock()
    clock.pass_seconds(20, g0=[busy(2.0, 10)])
    overview = LoadOverview(clock.load)
    for number in range(3 * OVERVIEWS_KEPT_MAX):
        overview.get(f"{number}", 10, 10.0, clock.now + AHEAD_S)
        assert len(overview._made) <= OVERVIEWS_KEPT_MAX
