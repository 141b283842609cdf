"""Sequences of quantiles, of one sample and of two arms."""

from __future__ import annotations

import numpy as np

from tidegate.sequential.quantiles import Quantiles, bounds
from tidegate.sequential.units import Units


def two(factor: float, n: int = 4000, phases: int = 1, seed: int = 5) -> Units:
    rng = np.random.default_rng(seed)
    arm = np.arange(2 * n) % 2
    phase = np.arange(2 * n) * phases // (2 * n)
    base = np.exp(0.5 * phase)  # each phase slower than the one before
    return Units(arm, phase, base * rng.lognormal(3, 0.4, 2 * n) * np.where(arm == 1, factor, 1.0))


def of(units: Units, level: float = 0.95) -> Quantiles:
    found = Quantiles.of(units, level, 200.0)
    assert found is not None
    return found


def test_an_interval_has_the_quantile_in_it_and_has_no_end_where_there_are_too_few() -> None:
    values = np.arange(1, 1001, dtype=float)
    low, high = bounds(values, 0.5, 0.05, 40.0)
    assert low < 500 < high
    assert high - low < 160
    assert bounds(values[:20], 0.99, 0.05, 40.0)[1] == np.inf


def test_a_slower_arm_is_found_and_by_how_much() -> None:
    found = of(two(1.3))
    low, high = found.interval(0.05)
    assert low is not None
    assert high is not None
    assert 0 < low < 0.3 < high
    assert found.apart(0.05) == 1
    assert of(two(0.7)).apart(0.05) == -1
    assert of(two(1.0)).apart(0.05) == 0


def test_phases_are_compared_each_within_itself() -> None:
    low, high = of(two(1.3, phases=3)).interval(0.05)
    assert low is not None
    assert high is not None
    assert 0 < low < 0.3 < high


def test_few_values_beyond_the_quantile_are_too_few() -> None:
    assert Quantiles.of(two(1.0, n=80), 0.95, 200.0) is None


def test_values_that_are_all_alike_differ_in_nothing() -> None:
    arm = np.arange(4000) % 2
    same = Units(arm, np.zeros(4000, np.int64), np.full(4000, 7.0))
    assert of(same).apart(0.05) == 0
