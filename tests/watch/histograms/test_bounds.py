"""Critical values and exact bounds, against scipy's and against simulation."""

import numpy as np
import pytest
from scipy import stats

from tidegate.watch.histograms import bounds


def evenly(cuts: int) -> tuple[float, ...]:
    """Probabilities of so many cuts between bins of equal size."""
    return tuple(k / (cuts + 1) for k in range(1, cuts + 1))


def test_the_critical_value_follows_the_number_of_cuts() -> None:
    found = {cuts: bounds.bridge_quantile(evenly(cuts), 0.05) for cuts in (1, 4, 9, 19, 49, 99)}
    assert found[1] == pytest.approx(1.960, abs=0.002)
    assert found[19] == pytest.approx(2.81, abs=0.005)
    assert list(found.values()) == sorted(found.values())
    bonferroni = {cuts: bounds.normal_quantile(0.025 / cuts) for cuts in found}
    assert all(found[cuts] < bonferroni[cuts] for cuts in found if cuts > 1)


@pytest.mark.parametrize("cuts", [evenly(9), evenly(19), (0.01, 0.02, 0.5, 0.52, 0.9)])
def test_the_critical_value_is_that_of_simulated_bridges(cuts: tuple[float, ...]) -> None:
    t = np.array(cuts)
    widths = np.diff(np.concatenate(([0.0], t, [1.0])))
    walks = np.cumsum(np.random.default_rng(1).normal(size=(60_000, t.size + 1)) * np.sqrt(widths), axis=1)
    bridges = walks[:, :-1] - t * walks[:, -1:]
    largest = np.abs(bridges / np.sqrt(t * (1 - t))).max(axis=1)
    assert (largest > bounds.bridge_quantile(cuts, 0.05)).mean() == pytest.approx(0.05, abs=0.0035)


def test_cuts_that_are_nearly_one_cost_next_to_nothing() -> None:
    alone = bounds.bridge_quantile((0.5,), 0.05)
    assert bounds.bridge_quantile((0.5, 0.5001, 0.5002), 0.05) == alone
    assert bounds.bridge_quantile((0.0, 0.5, 1.0), 0.05) == alone


def test_the_budget_of_pages_raises_the_critical_value_of_small_blocks_alone() -> None:
    def critical(rows: int) -> float:
        t = np.array(evenly(19))
        deviations = np.sqrt(t * (1 - t) * (1 / rows + 1 / 5_000))
        return bounds.quantile_past_margin(deviations, 0.05, 1 / 720 / 100, at_least=2.81)

    assert critical(500) == 2.81  # a hundred features, an evaluation an hour: the margin is enough
    assert critical(200) == pytest.approx(3.40, abs=0.01)


def test_bounds_of_proportions_are_clopper_and_pearsons() -> None:
    counts = np.array([0, 1, 7, 49, 50])
    for count, low, high in zip(
        counts, bounds.binomial_lower(counts, 50, 0.01), bounds.binomial_upper(counts, 50, 0.01), strict=True
    ):
        exact = stats.binomtest(int(count), 50).proportion_ci(0.98, method="exact")
        assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_the_test_of_rates_is_the_binomial_one() -> None:
    x, n, y, m, ratio = (np.array([value]) for value in (40, 10_000, 200, 100_000, 1.25))
    expected = 2 * stats.binom.sf(39, 240, 12_500 / 112_500)
    assert bounds.rate_change_p(x, n, y, m, 1.25)[0] == pytest.approx(expected)
    fell = 2 * stats.binom.cdf(10, 410, 8_000 / 108_000)
    assert bounds.rate_change_p(np.array([10]), n, np.array([400]), m, float(ratio[0]))[0] == pytest.approx(fell)
    assert bounds.rate_change_p(np.array([0]), n, np.array([0]), m, 1.25)[0] == 1
