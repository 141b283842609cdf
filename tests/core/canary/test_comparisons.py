"""Comparisons of a canary with stable: what is far worse is found at once, and what is equal is not blamed."""

from __future__ import annotations

import numpy as np
import pytest

from tidegate.core.canary.comparisons import (
    Alphas,
    Counted,
    compare_latency,
    compare_rates,
    design_effect,
    quantile_bounds,
    rate_bounds,
)
from tidegate.core.canary.grammar import DEFAULTS, CanaryGuardrail

BY_NAME = {one.name: one for one in DEFAULTS}
ALPHAS = Alphas(0.05 / 20)


def test_a_rates_bounds_hold_it_at_all_looks() -> None:
    draw, missed = np.random.default_rng(1), 0
    for _ in range(200):
        found = np.cumsum(draw.random(1000) < 0.1)
        ends = [rate_bounds(float(found[n - 1]), n, 0.05) for n in range(10, 1001, 30)]
        missed += any(not low <= 0.1 <= high for low, high in ends)
    assert missed / 200 <= 0.05


def test_a_quantiles_bounds_hold_it_at_all_looks() -> None:
    draw, missed = np.random.default_rng(2), 0
    true = float(np.exp(1.6448536))
    for _ in range(200):
        values = draw.lognormal(0, 1, 1000)
        ends = [quantile_bounds(np.sort(values[:n]), 0.95, 0.05) for n in range(50, 1001, 50)]
        missed += any(not low <= true <= high for low, high in ends)
    assert missed / 200 <= 0.05


@pytest.mark.parametrize(
    ("stable", "canary", "state"),
    [
        (Counted(0, 0), Counted(0, 0), "unknown"),
        (Counted(0, 20), Counted(20, 20), "breached"),
        (Counted(0, 100), Counted(1, 100), "undecided"),
        (Counted(0, 5000), Counted(0, 5000), "ok"),
        (Counted(100, 1000), Counted(100, 1000), "undecided"),
        (Counted(0, 2000), Counted(200, 2000), "breached"),
        (Counted(0, 2000), Counted(200, 2000, effect=200.0), "undecided"),
    ],
)
def test_errors(stable: Counted, canary: Counted, state: str) -> None:
    assert compare_rates(BY_NAME["errors"], stable, canary, ALPHAS).state == state


def test_a_maximum_is_breached_only_by_who_is_worse_than_stable_too() -> None:
    at_most = CanaryGuardrail("errors", "max", 0.1)
    assert compare_rates(at_most, Counted(900, 1000), Counted(900, 1000), ALPHAS).state == "undecided"
    assert compare_rates(at_most, Counted(0, 1000), Counted(900, 1000), ALPHAS).state == "breached"


def test_answers_that_are_no_numbers_are_found_though_they_are_few() -> None:
    found = compare_rates(BY_NAME["non_finite"], Counted(0, 5000), Counted(15, 5000), ALPHAS)
    assert found.state == "breached"
    assert compare_rates(BY_NAME["non_finite"], Counted(15, 5000), Counted(15, 5000), ALPHAS).state == "undecided"
    assert compare_rates(BY_NAME["non_finite"], Counted(0, 100), Counted(0, 100), ALPHAS).state == "ok"


def test_five_times_slower_and_as_fast() -> None:
    draw = np.random.default_rng(3)
    stable, same = draw.lognormal(1, 0.3, 1500), draw.lognormal(1, 0.3, 1500)
    assert compare_latency(BY_NAME["latency"], stable[:300], 5 * same[:300], ALPHAS).state == "breached"
    assert compare_latency(BY_NAME["latency"], stable[:50], 5 * same[:50], ALPHAS).state == "undecided"
    assert compare_latency(BY_NAME["latency"], stable, same, ALPHAS).state == "ok"
    assert compare_latency(BY_NAME["latency"], stable[:0], same, ALPHAS).state == "unknown"


def test_requests_of_one_key_count_as_fewer() -> None:
    keys = np.array(["anna"] * 50 + [f"u{n}" for n in range(50)] + [None] * 10, dtype=object)
    bad = np.array([1.0] * 50 + [0.0] * 60)
    assert design_effect(keys, bad) > 10
    assert design_effect(np.array([None] * 110, dtype=object), bad) == 1.0
    assert design_effect(np.array([f"u{n}" for n in range(110)], dtype=object), bad) == pytest.approx(1.0)
