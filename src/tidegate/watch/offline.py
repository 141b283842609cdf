"""Drift and performance on plain arrays and data frames, in a notebook: the same decisions as on a platform.

Results are plain dictionaries for JSON. pandas is not needed; a frame of any make whose columns become arrays will do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tidegate.errors import InvalidArgument
from tidegate.watch.drift.drift import DriftContext, DriftRule
from tidegate.watch.drift.drift import evaluate as evaluate_drift
from tidegate.watch.histograms.histogram import Histogram, reference
from tidegate.watch.histograms.layout import BINS
from tidegate.watch.histograms.values import Floats, column, numbers
from tidegate.watch.performance.losses import absolute_losses, clip_of, error_losses
from tidegate.watch.performance.performance import Cohort, LossMetric, PerformanceRule, Reference
from tidegate.watch.performance.performance import evaluate as evaluate_performance

Columns = dict[str, Any]


def detect_data_drift(
    new_data: Any,
    baseline_data: Any,
    *,
    outputs: Collection[str] = (),
    categorical: Collection[str] = (),
    margin: float = 0.05,
    bins: int = BINS,
) -> dict[str, dict[str, Any]]:
    """Whether each column of the new data is distributed otherwise than in the baseline, by more than matters.

    Both are two-dimensional arrays (rows by features), data frames, or dictionaries of columns. The result has a
    dictionary for each column (`feature_0`, `feature_1`, … where columns have no names) with `ks_statistic`, `p_value`,
    `drift_detected`, `effect`, `effect_lower`, `verdict` and more; values are None where nothing can be known.

    `outputs`: columns that are the model's answers. `categorical`: columns of numbers that are classes. `margin`:
    differences of a distribution up to this share of the rows do not matter. At most 5 % of the columns that are
    reported as drifted are so by chance, however many are looked at.

    Raises `InvalidArgument` where the two do not have the same columns, or have none.
    """
    before, now = _columns(baseline_data, "baseline_data"), _columns(new_data, "new_data")
    _check_columns(before, now)
    _check_named(before, outputs, "outputs")
    _check_named(before, categorical, "categorical")
    if not 0 < margin < 1:
        raise InvalidArgument(f"The margin is a share of the rows between 0 and 1, and is {margin}.", field="margin")
    references = {
        name: reference(values, "category" if name in categorical else None, bins=bins, name=name)
        for name, values in before.items()
    }
    current = {name: Histogram.of(now[name], histogram.layout, name) for name, histogram in references.items()}
    results = evaluate_drift(references, current, DriftRule(margin=margin), DriftContext(outputs))
    return {name: result.as_dict() for name, result in results.items()}


def detect_performance_drift(
    predictions: Any,
    actual_labels: Any,
    baseline: Any,
    *,
    metric: Literal["accuracy", "absolute_error"] = "accuracy",
    tolerance: float = 0.02,
    alpha: float = 0.05,
) -> dict[str, Any]:
    """Whether a model is worse than it was, by more than matters. Labels that have not come are None or NaN.

    `baseline`: a pair of (predictions, labels) from when the model was fine, or its accuracy as a number, which is then
    taken as exact. `metric`: `accuracy` for classes, `absolute_error` for numbers (needs a pair). The result has
    `current_accuracy`, `baseline_accuracy`, `performance_drop`, `significant_drop`, `value`, `reference`, `lower`,
    `upper`, `coverage`, `verdict` and more; values are None where nothing can be known.

    `tolerance`: a drop of accuracy up to this does not matter (of an absolute error: as a share of its largest).
    `significant_drop` is true by chance with a probability of at most `alpha`, also if labels come late and one looks
    at a growing sample as often as one likes.

    Raises `InvalidArgument` where lengths differ or the baseline cannot be read.
    """
    if not 0 <= tolerance < 1 or not 0 < alpha < 1:
        raise InvalidArgument(
            f"tolerance is from 0 to below 1 and alpha between 0 and 1: they are {tolerance} and {alpha}.",
            field="tolerance",
        )
    if metric not in ("accuracy", "absolute_error"):
        raise InvalidArgument(f"There is no metric {metric!r} here: choose accuracy or absolute_error.", field="metric")
    losses, before, shown = _losses(predictions, actual_labels, baseline, metric)
    return evaluate_performance(Cohort(losses), before, shown, PerformanceRule(tolerance, alpha)).as_dict()


def _losses(predictions: Any, labels: Any, baseline: Any, metric: str) -> tuple[Floats, Reference, LossMetric]:
    _check_pair(predictions, labels, ("predictions", "actual_labels"))
    if metric == "accuracy":
        _check_classes(predictions, labels)
    if isinstance(baseline, int | float | np.number) and not isinstance(baseline, bool):
        if metric != "accuracy":
            raise InvalidArgument(
                "The baseline of an absolute error is a pair of (predictions, labels): "
                "one number does not say how large its errors can be.",
                field="baseline",
            )
        return error_losses(predictions, labels), Reference.exactly(1.0 - float(baseline)), LossMetric("accuracy")
    if not isinstance(baseline, Sequence) or isinstance(baseline, str) or len(baseline) != 2:
        raise InvalidArgument(
            "The baseline is an accuracy between 0 and 1, or a pair of (predictions, labels).", field="baseline"
        )
    guesses, truths = baseline
    _check_pair(guesses, truths, ("the baseline's predictions", "the baseline's labels"))
    if metric == "accuracy":
        return error_losses(predictions, labels), Reference.of(error_losses(guesses, truths)), LossMetric("accuracy")
    clip = clip_of(guesses, truths)
    before = Reference.of(absolute_losses(guesses, truths, clip))
    return absolute_losses(predictions, labels, clip), before, LossMetric("absolute_error", clip)


def _check_pair(predictions: Any, labels: Any, names: tuple[str, str]) -> None:
    guesses, truths = column(predictions, names[0]), column(labels, names[1])
    if guesses.size != truths.size:
        raise InvalidArgument(
            f"{names[0]} has {guesses.size} rows and {names[1]} has {truths.size}: each row needs both; "
            "a label that has not come is None or NaN.",
            field="actual_labels",
        )


def _check_classes(predictions: Any, labels: Any) -> None:
    """Scores are not classes: none of them would ever be right."""
    guesses, truths = (numbers(column(each)).values for each in (predictions, labels))
    fractions = guesses[np.isfinite(guesses) & (guesses != np.floor(guesses))]
    if fractions.size and not (truths != np.floor(truths)).any():
        raise InvalidArgument(
            f"accuracy compares classes, and predictions has numbers such as {fractions[0]:.4g} where labels are "
            "classes: pass predicted classes, or metric='absolute_error'.",
            field="predictions",
        )


def _columns(data: Any, name: str) -> Columns:
    """A table's columns by name."""
    if isinstance(data, Mapping):
        columns: Columns = {str(key): values for key, values in data.items()}
    elif hasattr(data, "columns") and hasattr(data, "__getitem__"):
        columns = {str(key): data[key] for key in data.columns}
    elif getattr(data, "ndim", None) == 1 and hasattr(data, "to_numpy"):  # one column of a frame
        columns = {str(getattr(data, "name", None) or "feature_0"): data}
    else:
        columns = _numbered(data, name)
    if not columns:
        raise InvalidArgument(
            f"{name} has no columns: pass rows by features, a data frame or a dictionary.", field=name
        )
    sizes = {key: len(values) for key, values in columns.items()}
    if len(set(sizes.values())) > 1:
        short, long = min(sizes, key=lambda key: sizes[key]), max(sizes, key=lambda key: sizes[key])
        raise InvalidArgument(
            f"The columns of {name} have different lengths: {short!r} has {sizes[short]} rows, {long!r} {sizes[long]}.",
            field=name,
        )
    return columns


def _numbered(data: Any, name: str) -> Columns:
    if isinstance(data, str | bytes):
        raise InvalidArgument(f"{name} is a text: pass rows by features, a data frame or a dictionary.", field=name)
    try:
        table = np.asarray(data) if hasattr(data, "dtype") else _table(data)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name} is no table of rows by features: {error}.", field=name) from None
    if table.ndim == 1:
        if not table.size:
            raise InvalidArgument(
                f"{name} is empty, without columns: an empty window has the shape (0, features).", field=name
            )
        table = table[:, None]
    if table.ndim != 2:
        raise InvalidArgument(
            f"{name} must be rows by features, and has the shape {table.shape}: pass a two-dimensional array, "
            "a data frame or a dictionary of columns.",
            field=name,
        )
    return {f"feature_{at}": table[:, at] for at in range(table.shape[1])}


def _table(data: Any) -> np.ndarray[Any, np.dtype[Any]]:
    """Rows in lists, each value with the type it has."""
    rows = list(data)
    if not rows or not isinstance(rows[0], list | tuple | np.ndarray):
        return column(rows)
    widths = {len(row) for row in rows}
    if len(widths) > 1:
        raise ValueError(f"its rows have from {min(widths)} to {max(widths)} values")
    table = np.empty((len(rows), widths.pop()), dtype=object)
    for at, row in enumerate(rows):
        table[at] = row
    return table


def _check_columns(before: Columns, now: Columns) -> None:
    if set(before) == set(now):
        return
    missing, extra = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    faults = [
        f"{what} {', '.join(repr(name) for name in names[:5])}{' and more' if len(names) > 5 else ''}"
        for what, names in (("new_data has no", missing), ("baseline_data has no", extra))
        if names
    ]
    raise InvalidArgument(
        f"new_data has {len(now)} columns and baseline_data {len(before)}, and they must be the same: "
        + "; ".join(faults)
        + ".",
        field="new_data",
    )


def _check_named(columns: Columns, names: Collection[str], argument: str) -> None:
    unknown = [names] if isinstance(names, str) else [name for name in names if name not in columns]
    if unknown:
        raise InvalidArgument(
            f"{argument} must name columns of the data: there is no {unknown[0]!r}; there are "
            f"{', '.join(list(columns)[:8])}.",
            field=argument,
        )
