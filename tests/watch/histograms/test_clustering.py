"""How alike rows of a block are, and how many rows a block is worth."""

import numpy as np
import pytest

from tidegate.errors import InvalidArgument
from tidegate.watch.drift.drift import DriftContext, evaluate
from tidegate.watch.histograms.clustering import Clustering
from tidegate.watch.histograms.histogram import Histogram, reference

RNG = np.random.default_rng(15)
LAYOUT = reference(RNG.normal(size=5_000)).layout


def days(between: float, rows: int = 1_000, count: int = 40) -> list[Histogram]:
    return [Histogram.of(RNG.normal(RNG.normal(0, between), 1, rows), LAYOUT) for _ in range(count)]


def test_independent_rows_are_worth_themselves() -> None:
    clustering = Clustering.of(days(0.0))
    assert clustering.correlation == 0
    block = days(0.0, 1_000, 1)[0]
    assert clustering.of_block(block).rows == pytest.approx(1_000, rel=0.4)
    assert Clustering().of_block(block) is block


@pytest.mark.parametrize("between", [0.1, 0.3])
def test_the_correlation_is_that_of_two_rows_of_a_day(between: float) -> None:
    """Means vary by `between` beside rows that vary by 1: b²/(1 + b²), somewhat more where days are few."""
    found = Clustering.of(days(between)).correlation
    whole = between**2 / (1 + between**2)
    assert 0.5 * whole < found < 2 * whole


def test_categories_have_a_correlation_too() -> None:
    layout = reference(["a", "b", "c"] * 100).layout
    blocks = [
        Histogram(layout, (0, 0, 0, 0, *RNG.multinomial(500, RNG.dirichlet(np.full(3, 50.0))).tolist()))
        for _ in range(60)
    ]
    assert Clustering.of(blocks).correlation == pytest.approx(1 / 151, rel=0.6)


def test_a_day_like_others_is_no_drift_where_days_differ() -> None:
    blocks = days(0.15, 5_000, 14)
    before = {"x": blocks[0].merge(*blocks[1:])}
    now = {"x": Histogram.of(RNG.normal(0.25, 1, 5_000), LAYOUT)}
    assert evaluate(before, now)["x"].drift_detected
    allowed = evaluate(before, now, look=DriftContext(clustering={"x": Clustering.of(blocks)}))["x"]
    assert allowed.drift_detected is False
    assert allowed.n == 5_000
    assert allowed.n_effective is not None
    assert allowed.n_effective < 500


def test_of_a_window_worth_nothing_nothing_is_claimed() -> None:
    alike = DriftContext(clustering={"x": Clustering(0.9, 1_000.0)})
    before = {"x": days(0.0, 500, 1)[0]}
    found = evaluate(before, {"x": Histogram.of([0.0, 1.0], LAYOUT)}, look=alike)["x"]
    assert (found.state, found.drift_detected, found.n_effective) == ("ok", False, 2)
    assert found.p_value is not None
    assert 0 < found.p_value <= 1
    found = evaluate(before, {"x": Histogram.of(RNG.normal(size=40), LAYOUT)}, look=alike)["x"]
    assert (found.state, found.drift_detected, found.p_value, found.n_effective) == ("unknown", None, None, 0)
    assert found.verdict == "unknown: the 40 rows are so much alike that they are worth 0 independent ones"


def test_few_blocks_say_nothing_of_how_much_they_differ() -> None:
    with pytest.raises(InvalidArgument, match="6 blocks do not say"):
        Clustering.of(days(0.0, 100, 6))
    assert Clustering.of([Histogram.empty(LAYOUT)] * 9) == Clustering()
