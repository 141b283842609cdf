"""The monitor that labels feed: performance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tidegate.core.monitoring.columns import Array, WatchedColumns
from tidegate.services.monitoring.baselines import KnownBaseline
from tidegate.services.monitoring.place import Place
from tidegate.services.monitoring.truth import Truth
from tidegate.watch.baseline.rhythm import rows_by_hour
from tidegate.watch.histograms.values import Floats, canonicals
from tidegate.watch.performance import metrics
from tidegate.watch.performance.performance import Cohort, MetricReading, PerformanceRule, evaluate
from tidegate.wire.monitoring.monitoring import MonitorResult, Severity

CRITICAL_DROP = 0.1
CLASSES_SHOWN_MAX = 50


@dataclass(frozen=True)
class Labelled:
    """Rows of a version in the order of their predictions: what was answered, which labels have come, how old each is.

    `labels`: None where none has come. `selective`: they come for rows that were chosen, and nothing is averaged.
    """

    columns: WatchedColumns
    labels: Array
    ages_s: Floats
    delay_s: float
    selective: bool = False

    @property
    def matured(self) -> Array:
        return self.ages_s >= self.delay_s

    @property
    def n_labelled(self) -> int:
        """How many rows that are old enough have a label."""
        return sum(1 for label in self.labels[self.matured].tolist() if label is not None)


def performance_results(known: KnownBaseline, rows: Labelled, place: Place, page_alpha: float) -> list[MonitorResult]:
    """Whether the model got worse, by the one loss that decides; then what is shown beside it."""
    truth, risk = known.truth, known.baseline.whole.risk
    if truth is None or risk is None:
        if not rows.n_labelled:
            return []
        why = (
            "the baseline has no labels: register with --validation-data and --target, or give a baseline with --target"
        )
        return [place.unknown("performance", why, n=int(rows.matured.sum()), n_labelled=rows.n_labelled)]
    losses = truth.losses(rows.columns, rows.labels)
    rule = PerformanceRule(selective=rows.selective)
    clustering = known.baseline.expected(rows_by_hour(place.until - rows.ages_s[rows.matured])).losses
    cohort = Cohort(losses, rows.ages_s, rows.delay_s)
    found = evaluate(cohort, risk, truth.metric, rule, page_alpha, clustering)
    return [_performance_result(found, place), *_shown(truth, rows, place)]


def _performance_result(found: MetricReading, place: Place) -> MonitorResult:
    plain = found.as_dict()
    for name in ("metric", "state", "verdict"):
        plain.pop(name)
    drop = found.performance_drop
    severity: Severity = "critical" if drop is not None and drop >= CRITICAL_DROP else "high"
    return place.result("performance", found.state, found.verdict, severity, metric=found.metric, **plain)


def _shown(truth: Truth, rows: Labelled, place: Place) -> list[MonitorResult]:
    """Metrics that people know, with bootstrap intervals: they decide nothing."""
    there = rows.matured & np.array([label is not None for label in rows.labels.tolist()], dtype=bool)
    if rows.selective or there.sum() < 2:
        return []
    columns, labels = rows.columns.where(there), rows.labels[there]
    if truth.mode == "numbers":
        predicted, actual = _both_numbers(truth.predicted(columns), labels)
        found = [metrics.rmse(predicted, actual), metrics.r2(predicted, actual)]
    else:
        shown = (_f1(truth, columns, labels), _auc(truth, columns, labels), _calibration(truth, columns, labels))
        found = [one for one in shown if one is not None]
    return [
        place.result(
            "performance",
            "ok",
            f"shown: {one.name} is {one.value:.3g}; it decides nothing",
            metric=one.name,
            n=one.rows,
            n_labelled=one.rows,
            value=one.value,
            lower=one.lower,
            upper=one.upper,
        )
        for one in found
        if one.value is not None
    ]


def _both_numbers(predicted: Array, labels: Array) -> tuple[Floats, Floats]:
    def number(value: object) -> float:
        try:
            return float(value)  # type: ignore[arg-type]  # what is no number raises
        except (TypeError, ValueError):
            return float("nan")

    pairs = [(number(guess), number(label)) for guess, label in zip(predicted.tolist(), labels.tolist(), strict=True)]
    both = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _f1(truth: Truth, columns: WatchedColumns, labels: Array) -> metrics.MetricInterval | None:
    guesses, truths = canonicals(truth.predicted(columns), truth.datatype), canonicals(labels, truth.datatype)
    pairs = [(guess, actual) for guess, actual in zip(guesses, truths, strict=True) if guess and actual]
    classes = sorted({name for both in pairs for name in both})
    if not pairs or len(classes) < 2 or len(classes) > CLASSES_SHOWN_MAX:
        return None
    places = {name: place for place, name in enumerate(classes)}
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for guess, actual in pairs:
        matrix[places[actual], places[guess]] += 1
    return metrics.f1(matrix)


def _calibration(truth: Truth, columns: WatchedColumns, labels: Array) -> metrics.MetricInterval | None:
    """Of two classes by the score of the second; of more by the highest score, and whether that class came true."""
    two = _score_of_second(truth, columns, labels)
    if two is not None:
        return metrics.calibration_error(*two)
    names = [name for name in columns.values if name.startswith("probabilities[")]
    if len(names) < 2:
        return None
    scores = np.stack([np.asarray(columns.values[name], dtype=np.float64) for name in names], axis=1).max(axis=1)
    guesses, truths = canonicals(truth.predicted(columns), truth.datatype), canonicals(labels, truth.datatype)
    pairs = zip(guesses, truths, strict=True)
    right = np.array([np.nan if actual is None else float(guess == actual) for guess, actual in pairs])
    return metrics.calibration_error(scores, right)


def _auc(truth: Truth, columns: WatchedColumns, labels: Array) -> metrics.MetricInterval | None:
    """Of two classes: from the score of the second."""
    two = _score_of_second(truth, columns, labels)
    return None if two is None else metrics.auc(*two)


def _score_of_second(truth: Truth, columns: WatchedColumns, labels: Array) -> tuple[Array, Array] | None:
    """With whether it came true; None where there are not two classes, or no scores."""
    names = [name for name in columns.values if name.startswith("probabilities[")]
    if truth.mode == "scores":
        scores, positive = columns.values[truth.columns[0]], "1"
    elif len(names) == 1:
        scores, positive = columns.values[names[0]], names[0].removeprefix("probabilities[").removesuffix("]")
    else:
        return None
    texts = canonicals(labels, truth.datatype)
    is_positive = np.array([np.nan if text is None else float(text == positive) for text in texts])
    return scores, is_positive
