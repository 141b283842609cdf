"""How many replicas a version gets before its traffic."""

from __future__ import annotations

import math

import pytest

from tidegate.core.scaling.load import Point, Samples
from tidegate.core.scaling.policy import Scaling
from tidegate.core.scaling.switch import enough_for, needed_for

SPEC = Scaling(2, 20, "concurrency", 2.0)
NOW = 1000.0


def steady(load: float, seconds: int = 60) -> Samples:
    return Samples({"g-0": tuple(Point(NOW - ago, 1.0, load) for ago in reversed(range(seconds)))})


@pytest.mark.parametrize(
    ("percent", "fleet", "loads", "needed"),
    [
        pytest.param(100, 4, [steady(20)], 10, id="the whole load"),
        pytest.param(50, 4, [steady(20), steady(10)], 8, id="a share of all versions' loads"),
        pytest.param(100, 8, [steady(1)], 8, id="no fleet is shrunk"),
        pytest.param(100, 8, [Samples()], 8, id="nor without knowing the load"),
        pytest.param(1, 8, [steady(20)], 2, id="the minimum"),
        pytest.param(100, 4, [steady(1e6)], 20, id="the maximum"),
        pytest.param(100, 4, [steady(math.nan), steady(20)], 10, id="a sample that cannot be"),
        pytest.param(100, 4, [Samples({"g-0": (Point(NOW - 3, 1.0, 1.0), Point(NOW, 3.0, 60.0))})], 8, id="a rush"),
    ],
)
def test_what_a_share_of_the_traffic_takes(percent: float, fleet: int, loads: list[Samples], needed: int) -> None:
    assert needed_for(SPEC, percent, fleet, loads, NOW) == needed


@pytest.mark.parametrize(
    ("percent", "loads", "enough"),
    [
        pytest.param(100, [steady(20)], 10, id="the whole load"),
        pytest.param(50, [steady(20), steady(10)], 8, id="a share of all versions' loads"),
        pytest.param(100, [steady(1)], 2, id="little, whatever the fleet is"),
        pytest.param(100, [steady(1e6)], 20, id="the maximum"),
        pytest.param(100, [Samples()], None, id="not known"),
        pytest.param(100, [steady(20), Samples()], None, id="not known of one version"),
        pytest.param(100, [Samples(steady(1).points, frozenset({"g-1"}))], None, id="a gateway is silent"),
        pytest.param(100, [], None, id="nobody is asked"),
    ],
)
def test_what_a_switch_waits_for(percent: float, loads: list[Samples], enough: int | None) -> None:
    assert enough_for(SPEC, percent, loads, NOW) == enough
