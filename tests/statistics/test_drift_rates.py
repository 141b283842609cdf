"""How often drift is found where there is none, and where there is: simulated, with fixed seeds and stated bounds.

The long tables are `python benchmarks/drift.py`'s. Bounds here leave room for four standard errors of the simulation.
"""

from collections.abc import Callable

import numpy as np
import pytest

from tidegate.watch.drift.drift import Drift, evaluate
from tidegate.watch.histograms import bounds
from tidegate.watch.histograms.histogram import Histogram, reference
from tidegate.watch.histograms.layout import Layout
from tidegate.watch.histograms.values import Floats

pytestmark = pytest.mark.long

Draw = Callable[[np.random.Generator, int], Floats]

SHAPES: dict[str, Draw] = {
    "normal": lambda rng, n: rng.normal(size=n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "ties": lambda rng, n: np.where(rng.random(n) < 0.7, 0.0, rng.exponential(size=n).round(1)),
    "scale 1e-6": lambda rng, n: rng.normal(size=n) * 1e-6,
    "50 categories": lambda rng, n: rng.integers(0, 50, n).astype(str),
}


def evaluated(rng: np.random.Generator, draw: Draw, rows: tuple[int, int], shift: float = 0.0) -> Drift:
    before = reference(draw(rng, rows[1]))
    now = draw(rng, rows[0])
    return evaluate({"x": before}, {"x": Histogram.of(now + shift if shift else now, before.layout)})["x"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [50, 200, 1_000])
def test_of_evaluations_without_drift_at_most_one_in_twenty_alerts(shape: str, rows: int) -> None:
    rng = np.random.default_rng(15)
    alerts = sum(bool(evaluated(rng, SHAPES[shape], (rows, 2_000)).drift_detected) for _ in range(100))
    assert alerts <= 10  # 5 in expectation, at most


@pytest.mark.parametrize("rows", [100, 1_000, 5_000])
def test_without_drift_no_lower_bound_passes_the_margin(rows: int) -> None:
    rng = np.random.default_rng(16)
    lowers = [evaluated(rng, SHAPES["normal"], (rows, 5_000)).effect_lower or 0.0 for _ in range(120)]
    assert sum(lower > 0.05 for lower in lowers) <= 1


@pytest.mark.parametrize(
    ("rows", "shift", "at_least"),
    [((1_000, 1_000), 0.3, 0.74), ((1_000, 5_000), 0.3, 0.91), ((5_000, 5_000), 0.2, 0.66)],
)
def test_shifts_that_matter_are_found(rows: tuple[int, int], shift: float, at_least: float) -> None:
    rng = np.random.default_rng(17)
    found = sum(bool(evaluated(rng, SHAPES["normal"], rows, shift).drift_detected) for _ in range(200))
    assert found / 200 >= at_least


@pytest.mark.parametrize("rows", [50, 300, 2_000])
def test_at_the_margin_the_lower_bound_fails_at_most_as_often_as_stated(rows: int) -> None:
    """A KS distance of exactly 0.05, on the middle cut alone: the hardest case. Drawn as multinomials."""
    rng = np.random.default_rng(18)
    layout = Layout("numeric", "FP64", cuts=tuple(float(cut) for cut in range(21)), spread=1.0)
    shares = np.full(20, 0.05)
    moved = shares + np.concatenate((np.full(10, 0.005), np.full(10, -0.005)))
    passed = 0
    for _ in range(250):
        before, now = (
            Histogram(layout, (0, 0, 0, *rng.multinomial(size, p).tolist(), 0))
            for size, p in ((5_000, shares), (rows, moved))
        )
        drift = evaluate({"x": before}, {"x": now})["x"]
        passed += (drift.effect_lower or 0.0) > 0.05
    assert passed / 250 <= 0.05


def test_over_a_hundred_correlated_features_false_alerts_stay_rare() -> None:
    rng = np.random.default_rng(19)
    mix = rng.normal(size=(5, 100))

    def rows_of(size: int) -> Floats:
        columns: Floats = rng.normal(size=(size, 5)) @ mix + rng.normal(size=(size, 100))
        return columns

    false = 0
    for _ in range(20):
        before = {f"f{at}": reference(column) for at, column in enumerate(rows_of(1_000).T)}
        current = rows_of(500).T
        now = {name: Histogram.of(current[at], before[name].layout) for at, name in enumerate(before)}
        false += any(drift.drift_detected for drift in evaluate(before, now).values())
    assert false <= 4  # in expectation one of 20 evaluations, at most


def test_a_rare_class_that_doubles_is_found_when_there_are_enough_of_it() -> None:
    rng = np.random.default_rng(20)
    layout = reference(["fine", "fraud"] * 2).layout

    def drawn(rows: int, share: float) -> Histogram:
        counts = dict(zip(("fraud", "fine"), rng.multinomial(rows, (share, 1 - share)).tolist(), strict=True))
        return Histogram(layout, tuple(counts.get(name, 0) for name in layout.names))

    def found(share: float) -> float:
        looks = [evaluate({"x": drawn(100_000, 0.002)}, {"x": drawn(40_000, share)})["x"] for _ in range(100)]
        return sum(bool(look.drift_detected) for look in looks) / 100

    assert found(0.004) >= 0.95
    assert found(0.002) <= 0.05


def test_exact_bounds_hold_where_rows_are_few() -> None:
    rng = np.random.default_rng(21)
    for rows, share in ((20, 0.02), (60, 0.5)):
        counts = rng.binomial(rows, share, 4_000).astype(np.float64)
        assert (bounds.binomial_lower(counts, rows, 0.05) > share).mean() <= 0.05 + 0.014
        assert (bounds.binomial_upper(counts, rows, 0.05) < share).mean() <= 0.05 + 0.014
