"""Labels beside what was predicted: accuracy and errors of each unit's predictions. Called by `gather`.

Which row a label is about is found by the rules of `capture.matching`. What is read: labels of the query's time, and of
predictions only those that a label may be about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from tidegate.capture.labels import FOREVER_S, CaptureReader, names_in
from tidegate.capture.matching import Labels, Predicted, match, text_of
from tidegate.capture.names_filter import WantedNames
from tidegate.capture.rows import NO_ENDPOINT
from tidegate.capture.units.arrow import floats, ints
from tidegate.capture.units.calls import slices, taken
from tidegate.capture.units.events import label_numbers
from tidegate.capture.units.exposures import Exposures
from tidegate.capture.units.values import UnitEvents
from tidegate.wire.experiments import Metric
from tidegate.wire.units import Floats, UnitQuery

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
    """A value for each row; NaN where label and prediction cannot be compared.

    >>> losses("accuracy", pa.chunked_array([["gold", "silver"]]), pa.chunked_array([['"gold"', '"gold"']])).tolist()
    [1.0, 0.0]
    >>> losses("absolute_error", pa.chunked_array([[1.5, 2.0]]), pa.chunked_array([["2", "no"]])).tolist()
    [0.5, nan]
    """
    kind = outputs.type
    if pt.is_boolean(kind) or pt.is_integer(kind) or pt.is_floating(kind):
        numbers = floats(outputs.cast(pa.int8()) if pt.is_boolean(kind) else outputs)
        apart = label_numbers(labels) - numbers
        if how == "accuracy":
            return np.where(np.isfinite(apart), (apart == 0).astype(np.float64), np.nan)
        return np.abs(apart) if how == "absolute_error" else apart**2
    if how != "accuracy" or not (pt.is_string(kind) or pt.is_large_string(kind)):
        return np.full(len(outputs), np.nan)
    escaped = pc.replace_substring(pc.replace_substring(outputs.cast(pa.string()), "\\", "\\\\"), '"', '\\"')
    return floats(pc.equal(pc.binary_join_element_wise('"', escaped, '"', ""), labels).cast(pa.int8()))


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
