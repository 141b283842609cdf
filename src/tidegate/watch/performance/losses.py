"""Rows' losses, all within [0, 1], so that they can decide: error, Brier score, clipped absolute error.

A row whose label has not come has the loss NaN here, and nowhere else: it stands for "not known yet". Called by
performance, shadows, experiments and the offline functions: whether an answer is its label is decided here alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.values import Column, Floats, canonical, canonicals, column, datatype_of, is_missing

CLIP_QUANTILE = 0.99


def error_losses(predictions: Any, labels: Any, datatype: str | None = None) -> Floats:
    """1 where prediction and label are different classes, 0 where they are the same, however they are written.

    `datatype`: the signature's; without it that of whichever side is not made of texts.
    """
    predicted, actual = column(predictions, "predictions"), column(labels, "actual_labels")
    _check_lengths(predicted.size, actual.size)
    if datatype is None:
        datatypes = [datatype_of(predicted), datatype_of(actual)]
        datatype = next((each for each in datatypes if each != "BYTES"), "BYTES")
        datatype = "FP64" if set(datatypes) == {"INT64", "FP64"} else datatype
    pairs = zip(
        canonicals(predicted, datatype),
        canonicals(actual, datatype),
        (is_missing(label) for label in actual.tolist()),
        strict=True,
    )
    losses = [np.nan if is_pending else float(guess is None or guess != truth) for guess, truth, is_pending in pairs]
    return np.array(losses, dtype=np.float64)


def distances(answers: Any, labels: Any) -> Floats:
    """How far each answer lies from its label, NaN where one of the two is no finite number; texts may say numbers."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.abs(_each_number(np.asarray(answers)) - _each_number(np.asarray(labels)))
    return np.where(np.isfinite(found), found, np.nan)


def labels_of(texts: Column) -> Column:
    """Labels as they were given, from JSON texts; None where none has come, or one that is no single value."""
    found = np.empty(len(texts), dtype=object)
    for row, text in enumerate(texts.tolist()):
        if text is None:
            continue
        try:
            value = json.loads(text)
        except (TypeError, ValueError):
            continue
        found[row] = value if isinstance(value, str | int | float) else None
    return found


def brier_losses(probabilities: Any, labels: Any, classes: Sequence[Any], datatype: str = "BYTES") -> Floats:
    """Half the squared distance between a row's probabilities and its class: of two classes (p - y)².

    `probabilities`: one column a class in the order of `classes`, or one column with the last class's alone.
    """
    shares = np.asarray(probabilities, dtype=np.float64)
    if shares.ndim == 1 and len(classes) == 2:
        shares = np.stack((1 - shares, shares), axis=1)
    if shares.ndim != 2 or shares.shape[1] != len(classes):
        raise InvalidArgument(
            f"probabilities must have a column for each of the {len(classes)} classes: their shape is {shares.shape}.",
            field="probabilities",
        )
    if not np.all((shares >= 0) & (shares <= 1)):
        raise InvalidArgument("probabilities must be from 0 to 1.", field="probabilities")
    actual = column(labels, "actual_labels")
    _check_lengths(len(shares), actual.size)
    places = {canonical(name, datatype): place for place, name in enumerate(classes)}
    truths = np.zeros_like(shares)
    pending = np.zeros(actual.size, dtype=bool)
    for row, (text, label) in enumerate(zip(canonicals(actual, datatype), actual.tolist(), strict=True)):
        pending[row] = is_missing(label)
        if text in places:  # a class that the model does not know: every probability was wrong
            truths[row, places[text]] = 1.0
    losses = np.minimum(1.0, 0.5 * ((shares - truths) ** 2).sum(axis=1))
    unknown = (truths.sum(axis=1) == 0) & ~pending
    return cast(Floats, np.where(pending, np.nan, np.where(unknown, 1.0, losses)))


def absolute_losses(predictions: Any, labels: Any, clip: float) -> Floats:
    """The absolute error over `clip`, at most 1: what is further off than that counts as that."""
    if not clip > 0 or not np.isfinite(clip):
        raise InvalidArgument(
            f"The error that counts as the largest must be a number above 0, and is {clip}.", field="clip"
        )
    with np.errstate(invalid="ignore"):
        errors = np.abs(_numbers(predictions, "predictions", missing=np.inf) - _numbers(labels, "actual_labels"))
    return cast(Floats, np.minimum(1.0, errors / clip))


def clip_of(predictions: Any, labels: Any) -> float:
    """What counts as the largest error: what 99 of 100 of the reference's errors stay below; 1 where they are all 0."""
    errors = np.abs(_numbers(predictions, "predictions") - _numbers(labels, "actual_labels"))
    errors = errors[np.isfinite(errors)]
    clip = float(np.quantile(errors, CLIP_QUANTILE)) if errors.size else 0.0
    return clip or float(errors.max(initial=0.0)) or 1.0


def _each_number(values: Column) -> Floats:
    """Each as a number, NaN for what is none, as a row of several values."""
    if values.ndim > 1:
        return np.full(len(values), np.nan)
    if values.dtype.kind in "biuf":
        return values.astype(np.float64)
    return np.array([_number(value) for value in values.tolist()], dtype=np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _numbers(values: Any, name: str, missing: float = np.nan) -> Floats:
    array = column(values, name)
    try:
        found = np.array([missing if is_missing(value) else float(value) for value in array.tolist()], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"{name} must be numbers: {error}.", field=name) from None
    return found


def _check_lengths(predictions: int, labels: int) -> None:
    if predictions != labels:
        raise InvalidArgument(
            f"There are {predictions} predictions and {labels} labels: each row needs both; "
            "a label that has not come is None or NaN.",
            field="actual_labels",
        )
