"""AUC, F1, RMSE, R² and the calibration error with intervals: shown to people, never decided by. Monitors call them.

They are no means of bounded losses, so that no bound of theirs holds at every look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.values import Floats

RESAMPLES = 200
ROWS_MAX = 50_000
"""Of more rows, so many are drawn: the interval is then that of fewer rows, wider and still right."""
CALIBRATION_BINS, CALIBRATION_ROWS_MIN = 10, 50
_LEVELS = (0.025, 0.975)
_SEED = 15


@dataclass(frozen=True)
class MetricInterval:
    """A metric and its 95 % bootstrap interval; None where it is not defined (one class alone, no spread)."""

    name: str
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    rows: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def auc(scores: Any, is_positive: Any) -> MetricInterval:
    """The area under the ROC curve: how often a positive row scores higher than a negative one; ties count half."""
    score, labels = _pair(scores, is_positive)
    positive = (labels > 0).astype(np.float64)
    return _by_rows(
        "auc", lambda weights: weighted_auc(score, weights * positive, weights * (1 - positive)), score.size
    )


def weighted_auc(scores: Floats, positive: Floats, negative: Floats) -> float:
    """The area under the curve where each row is so much of a positive and of a negative one; NaN without both."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], scores[order][1:] > scores[order][:-1])))
    hits, others = np.add.reduceat(positive[order], starts), np.add.reduceat(negative[order], starts)
    pairs = float(hits.sum() * others.sum())
    return float((hits * (np.cumsum(others) - others / 2)).sum() / pairs) if pairs else float("nan")


def f1(matrix: Any) -> MetricInterval:
    """F1 from a table of counts (rows: true classes, columns: predicted ones).

    Of two classes that of the second; of more the mean over classes that occur.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or (counts < 0).any():
        raise InvalidArgument(
            "F1 needs a square table of counts: true classes down, predicted ones across.", field="matrix"
        )
    rows = int(counts.sum())
    if not rows:
        return MetricInterval("f1")
    drawn = np.random.default_rng(_SEED).multinomial(rows, counts.ravel() / rows, size=RESAMPLES)
    values = [_f1(each.reshape(counts.shape)) for each in drawn]
    return _shown("f1", _f1(counts), values, rows)


def _f1(counts: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    hits, occur = np.diag(counts), counts.sum(axis=1) + counts.sum(axis=0)
    with np.errstate(invalid="ignore"):
        each = 2 * hits / occur
    if len(counts) == 2:
        return float(each[1])
    return float(each[occur > 0].mean())


def rmse(predictions: Any, labels: Any) -> MetricInterval:
    """The root of the mean squared error."""
    predicted, actual = _pair(predictions, labels)
    squares = (predicted - actual) ** 2
    return _by_rows("rmse", lambda weights: float(np.sqrt(weights @ squares / weights.sum())), predicted.size)


def r2(predictions: Any, labels: Any) -> MetricInterval:
    """The share of the labels' variance that the predictions explain; below 0 they do worse than a constant."""
    predicted, actual = _pair(predictions, labels)
    squares = (predicted - actual) ** 2

    def of(weights: Floats) -> float:
        spread = weights @ (actual - weights @ actual / weights.sum()) ** 2
        return float(1 - weights @ squares / spread) if spread > 0 else float("nan")

    return _by_rows("r2", of, predicted.size)


def calibration_error(scores: Any, came_true: Any) -> MetricInterval:
    """The expected calibration error of these scores: how far they lie from how often they come true, within bins.

    Bins hold as many rows each (up to ten, of 50 or more). The plain error of a calibrated model is above 0 by chance
    alone, so its bias by the bootstrap is taken off. A bootstrap interval of it misses 0 where 0 is the truth; this one
    is the plain error with all of its bins' noise on either side, 95 % of the time (the triangle inequality).
    """
    score, truth = _pair(scores, came_true)
    rows = score.size
    if rows < CALIBRATION_ROWS_MIN:
        return MetricInterval("calibration_error", rows=rows)
    bins = min(CALIBRATION_BINS, rows // CALIBRATION_ROWS_MIN)
    inner = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1], method="lower"))
    places = np.searchsorted(inner, score, side="right")
    count = inner.size + 1
    held = np.bincount(places, minlength=count).astype(np.float64)
    rate = np.bincount(places, weights=truth, minlength=count) / np.maximum(held, 1)
    expected = np.bincount(places, weights=score, minlength=count) / np.maximum(held, 1)
    plain = float((held * np.abs(expected - rate)).sum() / rows)
    rng = np.random.default_rng(_SEED)
    # Of the spread of what came true in a bin, with a row of each sort more: none at all is no certainty.
    smooth = (rate * held + 1) / (held + 2)
    noise = rng.normal(size=(10 * RESAMPLES, count)) * np.sqrt(held * smooth * (1 - smooth))
    resampled = np.abs(noise + held * (rate - expected)).sum(axis=1) / rows
    around = float(np.quantile(np.abs(noise).sum(axis=1) / rows, 0.95))
    value = min(max(0.0, 2 * plain - float(resampled.mean())), 1.0)
    return MetricInterval("calibration_error", value, max(0.0, plain - around), min(1.0, plain + around), rows)


def _pair(first: Any, second: Any) -> tuple[Floats, Floats]:
    """Two columns of numbers, without the rows where one of them is missing; at most so many rows."""
    one, two = (np.asarray(each, dtype=np.float64).ravel() for each in (first, second))
    if one.size != two.size:
        raise InvalidArgument(
            f"There are {one.size} predictions and {two.size} labels: each row needs both.", field="labels"
        )
    whole = np.isfinite(one) & np.isfinite(two)
    one, two = one[whole], two[whole]
    if one.size > ROWS_MAX:
        chosen = np.random.default_rng(_SEED).choice(one.size, ROWS_MAX, replace=False)
        one, two = one[chosen], two[chosen]
    return one, two


def _by_rows(name: str, of: Callable[[Floats], float], rows: int) -> MetricInterval:
    if not rows:
        return MetricInterval(name)
    rng = np.random.default_rng(_SEED)
    drawn = (np.bincount(rng.integers(rows, size=rows), minlength=rows).astype(np.float64) for _ in range(RESAMPLES))
    return _shown(name, of(np.ones(rows)), [of(weights) for weights in drawn], rows)


def _shown(name: str, value: float, resampled: Sequence[float], rows: int) -> MetricInterval:
    defined = np.array([each for each in resampled if np.isfinite(each)])
    if not np.isfinite(value):
        return MetricInterval(name, rows=rows)
    if defined.size < RESAMPLES / 2:
        return MetricInterval(name, value, rows=rows)
    low, high = cast("list[float]", np.quantile(defined, _LEVELS).tolist())
    return MetricInterval(name, value, min(low, value), max(high, value), rows)
