"""A new version's requests beside stable's."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.sequential.guard import Alphas, Bound, Counted, design_effect, latency, rates
from tidegate.sequential.units import Units

ERRORS = Bound("errors", "canary", "margin", 0.01, absolute=True)
SLOW = Bound("latency", "canary", "margin", 0.5)
ALPHAS = Alphas(0.01)


def durations(stable: list[float], canary: list[float]) -> Units:
    arm = np.array([0] * len(stable) + [1] * len(canary))
    return Units(arm, np.zeros(arm.size, np.int64), np.array(stable + canary))


def test_three_failures_of_three_are_caught_beside_a_stable_version_that_does_not_fail() -> None:
    assert rates(ERRORS, Counted([0], [300]), Counted([3], [3]), ALPHAS).state == "breached"
    assert rates(ERRORS, Counted([0], [5]), Counted([5], [5]), ALPHAS).state == "breached"


def test_one_failure_of_a_hundred_is_not() -> None:
    found = rates(ERRORS, Counted([0], [100]), Counted([1], [100]), ALPHAS)
    assert found.state == "undecided"
    assert found.value == pytest.approx(0.01)


def test_a_version_that_fails_as_often_is_fine_once_that_is_known() -> None:
    assert rates(ERRORS, Counted([1, 3], [900, 2500]), Counted([2, 2], [900, 2500]), ALPHAS).state == "ok"
    assert rates(ERRORS, Counted([], []), Counted([], []), ALPHAS).state == "unknown"


def test_a_limit_is_breached_only_where_stable_is_better() -> None:
    limit = Bound("errors", "canary", "max", 0.05)
    assert rates(limit, Counted([1], [500]), Counted([100], [500]), ALPHAS).state == "breached"
    assert rates(limit, Counted([100], [500]), Counted([100], [500]), ALPHAS).state == "undecided"


def test_one_client_whose_requests_all_fail_counts_once() -> None:
    key = np.array([7] * 30 + [-1] * 270)
    failed = np.array([1.0] * 30 + [0.0] * 270)
    effect = design_effect(key, failed)
    assert effect > 20
    assert design_effect(np.full(300, -1), failed) == pytest.approx(1.0)
    assert rates(ERRORS, Counted([0], [300], effect), Counted([30], [300], effect), ALPHAS).state == "undecided"


def test_seven_of_ten_requests_that_take_a_hundred_times_as_long_are_caught() -> None:
    found = latency(SLOW, durations([1.0] * 10, [100.0] * 7 + [1.0] * 3), 0.95, Alphas(0.05))
    assert found.state == "breached"


def test_equal_durations_are_fine_and_twice_as_long_ones_are_not() -> None:
    rng = np.random.default_rng(4)
    stable, canary = (list(rng.lognormal(3, 0.4, 3000)) for _ in range(2))
    assert latency(SLOW, durations(stable, canary), 0.95, ALPHAS).state == "ok"
    slower = latency(SLOW, durations(stable, [2 * each for each in canary]), 0.95, ALPHAS)
    assert slower.state == "breached"
    assert slower.bound is not None
    assert slower.bound > 0.5
    limit = Bound("latency", "canary", "max", 60.0)
    assert latency(limit, durations(stable, [2 * each for each in canary]), 0.95, ALPHAS).state == "breached"
