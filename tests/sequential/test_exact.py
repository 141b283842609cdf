"""Exact tests of proportions, by events and by counts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tidegate.sequential.exact import (
    ContingencyTable,
    Exact,
    difference_bounds,
    log_mixture,
    log_two_samples,
    rate_bounds,
)


def test_a_mixture_is_a_martingale_under_the_null() -> None:
    """Summed over all outcomes of n, the evidence is 1; of one side it is at most 1 for every rate on the other."""
    n, p = 12, 0.3
    k = np.arange(n + 1)
    chances = np.array([math.comb(n, int(x)) * p**x * (1 - p) ** (n - x) for x in k])
    assert chances @ np.exp(log_mixture(k.astype(float), n, p, 6.0)) == pytest.approx(1, abs=1e-9)
    for other in (0.1, 0.2, 0.3):
        likely = np.array([math.comb(n, int(x)) * other**x * (1 - other) ** (n - x) for x in k])
        assert likely @ np.exp(log_mixture(k.astype(float), n, p, 6.0, 1)) <= 1 + 1e-9


@pytest.mark.parametrize(("rate_a", "rate_b"), [(0.0, 0.0), (0.01, 0.01), (0.3, 0.3), (0.3, 0.1), (0.9, 0.9)])
@pytest.mark.parametrize("n_a", [3, 9])
def test_evidence_by_counts_is_one_at_most_on_average_whatever_the_rate(rate_a: float, rate_b: float, n_a: int) -> None:
    total = 0.0
    for x in range(n_a + 1):
        for y in range(5):
            chance = math.comb(n_a, x) * rate_a**x * (1 - rate_a) ** (n_a - x)
            chance *= math.comb(4, y) * rate_b**y * (1 - rate_b) ** (4 - y)
            if chance:
                total += chance * math.exp(log_two_samples(ContingencyTable.of(x, n_a, y, 4), 0.0, 1))
    assert total <= 1 + 1e-9


def test_bounds_hold_their_estimates_and_narrow_with_the_sample() -> None:
    small, large = (
        difference_bounds(ContingencyTable.of(k, n, 2 * k, n), 0.05, 0.05) for k, n in ((10, 1000), (1000, 100_000))
    )
    assert small[0] < large[0] < 0.01 < large[1] < small[1]
    assert rate_bounds(0, 100, 0.05)[0] == 0.0
    assert rate_bounds(100, 100, 0.05)[1] == 1.0
    low, high = rate_bounds(30, 1000, 0.05)
    assert 0.01 < low < 0.03 < high < 0.06


def test_by_events_the_test_and_the_interval_agree() -> None:
    for in_b in range(100, 180, 10):
        found = Exact(ContingencyTable.of(100, 10_000, in_b, 10_000), 0.5, 40.0, 0.01, in_b / 10_000)
        low, high = found.interval(0.05)
        assert low is not None
        assert high is not None
        assert (low > 0) == (found.log_e(0.05) >= math.log(20))
        assert low < in_b / 100 - 1 < high


def test_no_event_at_all_says_nothing_of_the_ratio_and_much_of_the_rate() -> None:
    found = Exact(ContingencyTable.of(0, 10_000, 0, 10_000), 0.5, 40.0, 0.0, 0.0)
    assert found.log_e(0.05) == 0.0
    assert found.interval(0.05) == (None, None)
    assert found.apart(0.05) == 0
    low, high = found.bounds("value", 0.05)
    assert low == 0.0
    assert high is not None
    assert high < 1e-3
