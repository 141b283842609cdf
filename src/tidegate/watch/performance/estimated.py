"""What performance would be if labels were there: CBPE for classifiers, DLE for numbers. For jobs and notebooks.

Both see how inputs moved within what the reference has, and neither sees that the same inputs now have other labels: an
estimate that stays is no proof. Intervals are of what the labels of these rows would show, by the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import numpy as np

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.values import Floats
from tidegate.watch.performance.boosting import fit
from tidegate.watch.performance.metrics import weighted_auc

Method = Literal["CBPE", "DLE"]

ASSUMPTION = (
    "assumes that labels given inputs have not changed: a change of that relation cannot be seen without labels"
)
RESAMPLES = 200
ROWS_MIN = 30
_LEVELS = (0.025, 0.975)
_SEED = 15


@dataclass(frozen=True)
class Estimate:
    """An estimated metric with its 95 % interval, beside what the reference had. None where nothing can be known."""

    metric: str
    method: Method
    n: int
    n_reference: int
    reference: float | None = None
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    assumption: str = ASSUMPTION

    @property
    def verdict(self) -> str:
        if self.value is None or self.lower is None or self.upper is None or self.reference is None:
            return (
                f"unknown: {self.metric} cannot be estimated from {self.n} rows and {self.n_reference} of the reference"
            )
        name = self.metric.replace("_", " ")
        between = f"between {self.lower:.3g} and {self.upper:.3g}"
        return f"estimated: {name} is {self.value:.3g} ({between}), and was {self.reference:.3g}; {self.assumption}"

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


@dataclass(frozen=True)
class Calibration:
    """From scores to probabilities, never falling: isotonic regression on labelled rows, straight between its steps."""

    scores: Floats
    shares: Floats

    @classmethod
    def of(cls, scores: Floats, outcomes: Floats) -> Calibration:
        """Fit to outcomes of 0 or 1."""
        from scipy.optimize import isotonic_regression  # slow to import, and jobs alone need it

        distinct, place, times = np.unique(scores, return_inverse=True, return_counts=True)
        means = np.bincount(place, weights=outcomes) / times
        return cls(distinct, np.clip(isotonic_regression(means, weights=times).x, 0.0, 1.0))

    def __call__(self, scores: Floats) -> Floats:
        return cast(Floats, np.interp(scores, self.scores, self.shares))


def estimate_classifier(
    reference_scores: Any, reference_labels: Any, scores: Any, threshold: float = 0.5
) -> dict[str, Estimate]:
    """Accuracy, F1 and AUC of a binary classifier from its scores alone (confidence-based performance estimation).

    `reference_labels`: 0 or 1. `scores`: of the positive class; rows at `threshold` or above are predicted positive.
    """
    before, labels = _pair(reference_scores, reference_labels)
    now = _numbers(scores, "scores")
    if not np.isin(labels, (0.0, 1.0)).all():
        raise InvalidArgument("reference_labels of a binary classifier are 0 or 1.", field="reference_labels")
    metrics: dict[str, Callable[[Floats, Floats], float]] = {
        "accuracy": lambda score, p: float(np.where(score >= threshold, p, 1 - p).mean()),
        "f1": lambda score, p: _expected_f1(score >= threshold, p),
        "auc": lambda score, p: weighted_auc(score, p, 1 - p),
    }
    if min(before.size, now.size) < ROWS_MIN or len(set(labels.tolist())) < 2:
        return {name: Estimate(name, "CBPE", now.size, before.size) for name in metrics}
    rng = np.random.default_rng(_SEED)
    p = Calibration.of(before, labels)(now)
    drawn: dict[str, list[float]] = {name: [] for name in metrics}
    for _ in range(RESAMPLES):
        chosen, rows = rng.integers(before.size, size=before.size), rng.integers(now.size, size=now.size)
        shares = Calibration.of(before[chosen], labels[chosen])(now[rows])
        outcomes = (rng.random(now.size) < shares).astype(np.float64)  # labels that these rows might have
        for name, of in metrics.items():
            drawn[name].append(of(now[rows], outcomes))
    return {
        name: _estimate(Estimate(name, "CBPE", now.size, before.size, of(before, labels)), of(now, p), drawn[name])
        for name, of in metrics.items()
    }


def _expected_f1(predicted: np.ndarray[Any, np.dtype[np.bool_]], p: Floats) -> float:
    hits = float(p[predicted].sum())
    total = float(predicted.sum() + p.sum())
    return 2 * hits / total if total else float("nan")


def estimate_error(
    reference_inputs: Any, reference_predictions: Any, reference_labels: Any, inputs: Any, predictions: Any
) -> Estimate:
    """The mean absolute error from inputs and predictions alone (direct loss estimation).

    A model of the error is fitted to one half of the reference and corrected by the other, so that what it learns by
    heart does not count. Inputs are rows by features, numbers (NaN where missing).
    """
    guesses, labels = _pair(reference_predictions, reference_labels)
    errors = np.abs(guesses - labels)
    before = _table(reference_inputs, guesses, "reference_inputs")
    now = _table(inputs, _numbers(predictions, "predictions"), "inputs")
    if before.shape[1] != now.shape[1]:
        raise InvalidArgument(
            f"reference_inputs has {before.shape[1] - 1} columns and inputs {now.shape[1] - 1}: they must be the same.",
            field="inputs",
        )
    blank = Estimate("absolute_error", "DLE", len(now), len(before))
    if min(len(before), len(now)) < 2 * ROWS_MIN:
        return blank
    rng = np.random.default_rng(_SEED)
    order = rng.permutation(len(before))
    learned, checked = order[::2], order[1::2]
    model = fit(before[learned], errors[learned])
    expected, missed = model(now), errors[checked] - model(before[checked])
    drawn = [
        float((expected[rng.integers(len(now), size=len(now))] + rng.choice(missed, size=len(now))).mean())
        + float(rng.choice(missed, size=missed.size).mean() - missed.mean())
        for _ in range(RESAMPLES)
    ]
    value = float(expected.mean() + missed.mean())
    filled = Estimate("absolute_error", "DLE", len(now), len(before), float(errors.mean()))
    return _estimate(filled, max(0.0, value), drawn)


def _estimate(blank: Estimate, value: float, drawn: list[float]) -> Estimate:
    known = np.array([each for each in drawn if np.isfinite(each)])
    if (
        not np.isfinite(value)
        or blank.reference is None
        or not np.isfinite(blank.reference)
        or known.size < RESAMPLES / 2
    ):
        return Estimate(blank.metric, blank.method, blank.n, blank.n_reference)
    low, high = cast("list[float]", np.quantile(known, _LEVELS).tolist())
    edges = (min(low, value), max(high, value))
    return Estimate(blank.metric, blank.method, blank.n, blank.n_reference, blank.reference, value, *edges)


def _numbers(values: Any, name: str) -> Floats:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name} must be numbers: {error}.", field=name) from None
    if array.ndim != 1 or not np.isfinite(array).all():
        raise InvalidArgument(f"{name} must be one column of finite numbers, without missing ones.", field=name)
    return array


def _pair(first: Any, second: Any) -> tuple[Floats, Floats]:
    one, two = _numbers(first, "the reference's predictions"), _numbers(second, "the reference's labels")
    if one.size != two.size:
        raise InvalidArgument(
            f"The reference has {one.size} predictions and {two.size} labels: each row needs both.",
            field="reference_labels",
        )
    return one, two


def _table(inputs: Any, predictions: Floats, name: str) -> Floats:
    table = np.asarray(inputs, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != predictions.size:
        raise InvalidArgument(
            f"{name} must be rows by features, a row for each of the {predictions.size} predictions, and has the shape "
            f"{table.shape}.",
            field=name,
        )
    return np.column_stack((table, predictions))
