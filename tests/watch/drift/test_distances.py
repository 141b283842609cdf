"""Distances, against scipy's, and how often they pass their own null quantile."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.spatial import distance

from tidegate.watch.drift.distances import Distances, distances
from tidegate.watch.histograms.histogram import Histogram, reference


def test_distances_are_those_of_scipy() -> None:
    rng = np.random.default_rng(2)
    before, now = rng.normal(size=20_000), rng.normal(0.5, 1.2, size=20_000)
    wide = reference(before, bins=100)
    seen = distances(wide, Histogram.of(now, wide.layout))
    assert seen.wasserstein == pytest.approx(stats.wasserstein_distance(before, now) / before.std(), rel=0.1)
    coins = reference(["a"] * 700 + ["b"] * 300)
    tossed = distances(coins, Histogram.of(["a"] * 50 + ["b"] * 50, coins.layout))
    assert tossed.jensen_shannon == pytest.approx(distance.jensenshannon([0.7, 0.3], [0.5, 0.5], base=2))
    assert tossed.psi == pytest.approx((0.5 - 0.7) * np.log(0.5 / 0.7) + (0.5 - 0.3) * np.log(0.5 / 0.3), rel=0.02)
    assert tossed.wasserstein is None


def test_without_drift_each_distance_passes_its_null_quantile_about_once_in_twenty() -> None:
    rng = np.random.default_rng(3)
    passed = np.zeros(3)
    for _ in range(300):
        before = reference(rng.normal(size=5_000))
        seen = distances(before, Histogram.of(rng.normal(size=1_000), before.layout))
        for place, (value, null) in enumerate(
            [
                (seen.wasserstein, seen.wasserstein_null),
                (seen.jensen_shannon, seen.jensen_shannon_null),
                (seen.psi, seen.psi_null),
            ]
        ):
            assert value is not None
            assert null is not None
            passed[place] += value > null
    assert ((passed / 300 > 0.02) & (passed / 300 < 0.1)).all(), passed / 300


@pytest.mark.parametrize("far", [[-1e308, 1e308], [-1e308, 0.0, 0.5, 1.0, 1.5], [-1e308, 0.0, 1e308]])
def test_of_values_that_lie_as_far_apart_as_can_be_no_distance_is_nan(far: list[float]) -> None:
    before = reference(far * 100)
    with warnings.catch_warnings(action="error"):
        found = distances(before, Histogram.of(far * 50 + far[:1] * 20, before.layout))
    assert all(value is None or math.isfinite(value) for value in found.as_dict().values())


def test_of_nothing_there_is_no_distance() -> None:
    there = reference([1.0, 2.0, 3.0])
    assert distances(there, Histogram.of([None], there.layout)) == Distances()
    constant = reference([1.0] * 10)
    assert distances(constant, constant).wasserstein is None
    assert distances(constant, constant).jensen_shannon == 0
