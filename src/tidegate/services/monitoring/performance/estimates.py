"""The monitor that needs no labels: what performance would be, from what the model answered and was asked.

It decides nothing, since it has no share of the budget of false alarms: its intervals are of one look, and hold only
where labels given inputs have not changed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

import numpy as np

from tidegate.core.captured import CapturedRows, Columns
from tidegate.core.monitoring.columns import Array, WatchedColumns
from tidegate.services.monitoring.baselines import KnownBaseline
from tidegate.services.monitoring.place import Place
from tidegate.services.monitoring.truth import Truth
from tidegate.watch.histograms.values import Floats, canonicals, is_missing
from tidegate.watch.performance.estimated import Estimate, estimate_classifier, estimate_error
from tidegate.wire.monitoring.monitoring import MonitorResult

EVERY_S = 3600.0
"""At most so often, where nobody asks."""
ROWS_MAX = 5_000
"""Of the newest rows, and of the baseline's sample: what an estimate costs is bounded."""
ROWS_ENOUGH = 500
"""Of about an hour; where there are fewer, older rows are taken too, up to a day's."""
SPAN_S_MIN, SPAN_S_MAX = 60.0, 86_400.0
INPUTS_MAX = 50
"""Inputs that the error is modelled from: the first of them that are numbers."""
_NUMBERS = ("numeric", "integer", "boolean")
_SEED = 15


def newest_since(capture: CapturedRows, endpoint: str, version: str, until: float, oldest: float) -> float | None:
    """From when on there are as many of the newest rows as are wanted; None where there is none. In growing steps."""
    span_s = SPAN_S_MIN
    while True:
        since = max(oldest, until - span_s)
        found = capture.rows("predictions", endpoint, since, until, ("at", "code", "pinned"), version)
        times = found.get("at", np.empty(0))
        if times.size >= ROWS_MAX:
            return float(np.partition(times, times.size - ROWS_MAX)[times.size - ROWS_MAX])
        if since <= oldest or (times.size >= ROWS_ENOUGH and span_s >= EVERY_S):
            return float(times.min()) if times.size else None
        span_s *= 4


def is_possible(known: KnownBaseline) -> bool:
    """Whether the baseline has labels, and scores or numbers."""
    if known.truth is None or known.truth.mode == "numbers":
        return known.truth is not None and bool(_inputs(known))
    return bool(_scores_of(known.truth, known.baseline.whole.columns))


def estimate_results(
    known: KnownBaseline, sample: Columns, columns: WatchedColumns, place: Place
) -> list[MonitorResult]:
    """CBPE of classifiers with scores, DLE of numbers; nothing for others, or without labels in the baseline."""
    truth = known.truth
    if truth is None or "loss" not in sample:
        return []
    sample = _drawn({name: values[~np.isnan(sample["loss"])] for name, values in sample.items()})
    if truth.mode == "numbers":
        found = _of_numbers(known, truth, sample, columns)
        return [] if found is None else [_result(found, place, truth.clip)]
    return [_result(one, place, 1.0) for one in _of_classes(truth, sample, columns)]


def _result(found: Estimate, place: Place, scale: float) -> MonitorResult:
    """`scale`: the largest error there is. Shown, never an alert."""
    plain = found.as_dict()
    verdict = plain.pop("verdict")
    if found.value is None or found.reference is None:
        return place.result("estimated_performance", "unknown", verdict, **plain)
    worse = found.reference - found.value if found.metric != "absolute_error" else found.value - found.reference
    return place.result("estimated_performance", "ok", verdict, performance_drop=worse / scale, **plain)


# -- classifiers -------------------------------------------------------------------------------------------------------


def _of_classes(truth: Truth, sample: Columns, columns: WatchedColumns) -> list[Estimate]:
    """Of two classes accuracy, F1 and AUC from the score of the second; of more accuracy, from the highest score."""
    scores = _scores_of(truth, columns.values)
    if not scores or any(name not in sample for name in (*scores, *truth.columns)):
        return []
    before = WatchedColumns({name: sample[name] for name in (*scores, *truth.columns)})
    is_right = sample["loss"] == 0
    if len(scores) > 1:
        was, now = (np.max([_floats(one.values[name]) for name in scores], axis=0) for one in (before, columns))
        labelled = np.isfinite(was)
        found = estimate_classifier(
            was[labelled], is_right[labelled].astype(np.float64), now[np.isfinite(now)], threshold=-np.inf
        )
        return [found["accuracy"]]  # that the answer is right is the class here: the other metrics would be of that
    was, now = _floats(before.values[scores[0]]), _floats(columns.values[scores[0]])
    is_second = _is_second(truth, before, scores[0])
    labels = np.where(is_right, is_second, ~is_second).astype(np.float64)
    labelled = np.isfinite(was)
    return list(estimate_classifier(was[labelled], labels[labelled], now[np.isfinite(now)]).values())


def _scores_of(truth: Truth, columns: Collection[str]) -> list[str]:
    if truth.mode in ("scores", "highest"):
        return [name for name in truth.columns if name in columns]
    return [name for name in columns if name.startswith("probabilities[")]


def _is_second(truth: Truth, before: WatchedColumns, score: str) -> Array:
    """Which rows were answered with the class that the score is of."""
    predicted = truth.predicted(before)
    if truth.mode == "scores":
        return cast(Array, predicted == 1)
    name = score.removeprefix("probabilities[").removesuffix("]")
    return np.array([text == name for text in canonicals(predicted, truth.datatype)], dtype=bool)


# -- numbers -----------------------------------------------------------------------------------------------------------


def _of_numbers(known: KnownBaseline, truth: Truth, sample: Columns, columns: WatchedColumns) -> Estimate | None:
    output = truth.columns[0]
    inputs = [name for name in _inputs(known) if name in sample and name in columns.values][:INPUTS_MAX]
    if output not in sample or output not in columns.values or not inputs:
        return None
    was, now = _floats(sample[output]), _floats(columns.values[output])
    before, there = np.isfinite(was), np.isfinite(now)
    errors = sample["loss"][before] * truth.clip
    return estimate_error(
        _table(sample, inputs)[before],
        was[before],
        was[before] + errors,  # a label that is as far off
        _table(columns.values, inputs)[there],
        now[there],
    )


def _inputs(known: KnownBaseline) -> list[str]:
    """Those that are numbers."""
    columns = known.baseline.whole.columns
    return [name for name, one in columns.items() if known.roles.get(name) == "input" and one.layout.kind in _NUMBERS]


def _table(columns: Mapping[str, Array], names: list[str]) -> Floats:
    return np.column_stack([_floats(columns[name]) for name in names])


def _drawn(sample: Columns) -> Columns:
    rows = sample["loss"].size
    if rows <= ROWS_MAX:
        return sample
    chosen = np.sort(np.random.default_rng(_SEED).choice(rows, ROWS_MAX, replace=False))
    return {name: values[chosen] for name, values in sample.items()}


def _floats(values: Array) -> Floats:
    """Numbers; NaN for what is none."""
    if values.dtype.kind in "buif":
        return values.astype(np.float64)
    return cast(Floats, np.array([_number(value) for value in values.tolist()], dtype=np.float64))


def _number(value: object) -> float:
    try:
        return float("nan") if is_missing(value) else float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError):
        return float("nan")
