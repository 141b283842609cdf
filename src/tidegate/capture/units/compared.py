"""Labels beside what was predicted: accuracy and errors of each unit's predictions. Called by `gather`.

Which row a label is about is found by the rules of `capture.matching`. What is read: labels of the query's time, and of
predictions only those that a label may be about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from tidegate.capture.labels import FOREVER_S, CaptureReader, names_in
from tidegate.capture.matching import Labels, Predicted, match, text_of
from tidegate.capture.names_filter import WantedNames
from tidegate.capture.rows import NO_ENDPOINT
from tidegate.capture.units.arrow import ints
from tidegate.capture.units.calls import slices, taken
from tidegate.capture.units.events import label_numbers
from tidegate.capture.units.exposures import Exposures
from tidegate.capture.units.values import UnitEvents
from tidegate.watch.performance.losses import distances, error_losses, labels_of
from tidegate.wire.experiments.experiments import Metric
from tidegate.wire.experiments.units import Floats, Ints, UnitQuery

COMPARED = ("accuracy", "absolute_error", "squared_error")
"""Metrics of labels that are made of a label and a prediction; of any other name they are the label itself."""
OUTPUT = "output_prediction"
"""The output that is compared."""
_LABELS = ("id", "row", "key", "event", "at", "received_at", "label", "experiment")
_ROWS = ("id", "row", "key", "at", "request_rows", "assigned", "variant", "experiment", "pinned", OUTPUT)


@dataclass(frozen=True)
class _Found:
    """Rows of predictions that have a label."""

    events: UnitEvents
    labels: pa.ChunkedArray
    outputs: pa.ChunkedArray


def is_compared(metric: Metric) -> bool:
    """Whether a metric is made of labels and predictions."""
    return metric.source == "label" and metric.name in COMPARED


def compared(store: CaptureReader, query: UnitQuery, exposures: Exposures) -> Mapping[str, UnitEvents]:
    """Values of the query's metrics that are compared, by their names there; a value for each row that has a label."""
    wanted = {name: metric.name for name, metric in query.metrics.items() if is_compared(metric)}
    if not wanted:
        return {}
    found = _found(store, query, exposures)
    made = {}
    for name, how in wanted.items():
        value = losses(how, found.outputs, found.labels)
        events = UnitEvents(found.events.unit, value, found.events.at_us, found.events.received_us)
        made[name] = events.where(np.isfinite(value))
    return made


def losses(how: str, outputs: pa.ChunkedArray, labels: pa.ChunkedArray) -> Floats:
    """A value for each row by the rules of `watch.performance`; NaN where label and prediction cannot be compared.

    >>> losses("accuracy", pa.chunked_array([["gold", "1"]]), pa.chunked_array([['"gold"', "1"]])).tolist()
    [1.0, 1.0]
    >>> losses("absolute_error", pa.chunked_array([[1.5, 2.0]]), pa.chunked_array([["2", "no"]])).tolist()
    [0.5, nan]
    """
    kind = outputs.type
    is_one = pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind) or pt.is_string(kind)
    made = np.full(len(outputs), np.nan)
    if not (is_one or pt.is_large_string(kind)):
        return made
    rows = np.flatnonzero(pc.and_(outputs.is_valid(), labels.is_valid()).to_numpy())
    outputs, labels = (column.take(pa.array(rows)) for column in (outputs, labels))
    if how == "accuracy":
        made[rows] = _right(outputs, labels)
    else:
        made[rows] = _apart(outputs, labels) ** (1 if how == "absolute_error" else 2)
    return made


def _right(outputs: pa.ChunkedArray, labels: pa.ChunkedArray) -> Floats:
    """Labels of one type at a time: what a row comes to never depends on which labels come beside it, or later."""
    (answers, answer), (texts, text) = _distinct(outputs), _distinct(labels)
    pairs, pair = np.unique(answer * len(texts) + text, return_inverse=True)
    if not len(pairs):
        return np.zeros(0)
    guesses, truths = answers[pairs // len(texts)], labels_of(texts)[pairs % len(texts)]
    made, types = np.full(len(pairs), np.nan), np.array([type(label).__name__ for label in truths.tolist()])
    for one in np.unique(types):
        rows = types == one
        made[rows] = 1.0 - error_losses(guesses[rows], truths[rows])
    return np.asarray(made[pair])


def _apart(outputs: pa.ChunkedArray, labels: pa.ChunkedArray) -> Floats:
    """Labels that are plain numbers all at once, for there may be millions, and the others one by one."""
    answers, wanted = outputs.to_numpy(), label_numbers(labels)
    made = distances(answers, wanted)
    is_list = np.asarray(pc.starts_with(labels, "[").to_numpy(), np.bool_)
    rest = np.flatnonzero(~np.isfinite(wanted) | is_list)
    made[rest] = distances(answers[rest], labels_of(labels.take(pa.array(rest)).to_numpy()))
    return made


def _distinct(column: pa.ChunkedArray) -> tuple[np.ndarray[Any, Any], Ints]:
    """The values that there are, and which of them each row has."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.dictionary.to_numpy(zero_copy_only=False), ints(encoded.indices, 0)


def _found(store: CaptureReader, query: UnitQuery, exposures: Exposures) -> _Found:
    labels = _labels(store, query)
    mine, named = taken(query), names_in(labels)
    keeping = store.keeping(lambda table: pc.and_(mine(table), named(table)), WantedNames.of(labels))
    parts = [keeping.rows("predictions", query.endpoint, *between, _ROWS) for between in slices(query)]
    table = (
        pa.concat_tables(parts, promote_options="permissive")
        if parts
        else keeping.rows("predictions", query.endpoint, query.since_s, query.since_s, _ROWS)
    )
    said = Labels.of(labels)
    matches = match(Predicted.of(table), said)
    unit = exposures.code(table["key"].combine_chunks())
    places = np.flatnonzero((matches.label >= 0) & (unit >= 0))
    which, chosen = matches.label[places], pa.array(places)
    events = UnitEvents(unit[places], np.zeros(len(places)), said.at_us[which], said.received_us[which])
    return _Found(events, pa.chunked_array([text_of(said, matches).take(chosen)]), table[OUTPUT].take(chosen))


def _labels(store: CaptureReader, query: UnitQuery) -> pa.Table:
    keeping = store.keeping(lambda table: table["label"].is_valid())
    found = [
        keeping.rows("feedback", place, query.since_s, FOREVER_S, _LABELS) for place in (query.endpoint, NO_ENDPOINT)
    ]
    table = pa.concat_tables(found, promote_options="permissive")
    keep = ints(table["received_at"], 0) <= round(query.now_s * 1e6)
    if query.experiment is not None:
        other = pc.fill_null(pc.not_equal(table["experiment"], query.experiment), False)
        keep &= ~np.asarray(other.to_numpy(), np.bool_)
    return table.filter(pa.array(keep)).combine_chunks()
