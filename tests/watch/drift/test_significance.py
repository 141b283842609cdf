"""p-values and the choice among many of them."""

import numpy as np
import pytest
from scipy import stats

from tidegate.watch.drift.significance import believed, homogeneity_p
from tidegate.watch.histograms.histogram import Histogram, reference
from tidegate.watch.histograms.layout import Layout

COINS = Layout("boolean", "BOOL", values=("false", "true"))


def coins(*counts: int) -> Histogram:
    return Histogram(COINS, (0, 0, *counts))


def test_the_p_value_is_that_of_the_table() -> None:
    table = [[400, 600], [90, 110]]
    exact = stats.chi2_contingency(table, correction=False).pvalue
    assert homogeneity_p(coins(*table[0]), coins(*table[1])) == pytest.approx(exact)


def test_few_rows_are_permuted() -> None:
    table = [[40, 20], [3, 12]]
    p = homogeneity_p(coins(*table[0]), coins(*table[1]))
    exact = stats.chi2_contingency(table, correction=False, method=stats.PermutationMethod(n_resamples=9_999, rng=1))
    assert p == pytest.approx(exact.pvalue, rel=0.35)
    assert homogeneity_p(coins(1_000, 0), coins(0, 30)) == pytest.approx(1 / 10_001)  # never 0


def test_few_rows_of_something_rare_are_permuted_too() -> None:
    assert homogeneity_p(coins(100_000, 0), coins(1_000, 2)) < 0.001
    assert homogeneity_p(coins(100_000, 0), coins(100_000, 2)) > 0.3


@pytest.mark.parametrize("rows", [(50, 5_000), (60, 80), (400, 300), (5_000, 50)])
def test_p_values_are_uniform_without_a_difference(rows: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    layout = reference(rng.normal(size=2_000)).layout
    found = []
    for _ in range(150):
        now, before = (Histogram.of(rng.normal(size=size), layout) for size in rows)
        found.append(homogeneity_p(before, now))
    assert stats.kstest(found, "uniform").pvalue > 0.001
    assert 0 < min(found) <= max(found) <= 1


def test_the_choice_is_benjamini_and_hochbergs() -> None:
    p = np.random.default_rng(5).random(200) ** 3
    equal = [1.0] * 200
    assert believed(p.tolist(), equal, 0.05) == (stats.false_discovery_control(p) <= 0.05).tolist()
    assert believed([], [], 0.05) == []
    assert believed([0.001, 0.001], [0.0, 0.0], 0.05) == [False, False]


def test_what_has_more_weight_is_believed_sooner() -> None:
    p = [0.02, 0.02] + [0.9] * 8
    assert believed(p, [1.0] * 10, 0.05) == [False] * 10
    assert believed(p, [9.0, *[0.1] * 9], 0.05) == [True, *[False] * 9]
