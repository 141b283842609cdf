"""Feedback as flat columns: a row for each value of a metric that somebody asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidegate.capture.labels import AGAIN_S_MAX, FOREVER_S, CaptureReader, Keep
from tidegate.capture.matching import Labels, repeated
from tidegate.capture.rows import FEEDBACK, NO_ENDPOINT
from tidegate.capture.units.arrow import floats, ints, places
from tidegate.wire.experiments.units import Floats, Ignored, Ints, UnitQuery

LABEL = "\x00label"
"""The series of labels themselves, among those of metrics by name."""
PAIRS = pa.list_(pa.struct({"key": pa.string(), "value": pa.float64()}))
"""What a map of metrics is."""
_READ = ("id", "key", "event", "at", "received_at", "metrics", "experiment")
_NUMBER = r"^\[?\s*(?P<value>-?[0-9.]+(?:[eE][-+]?[0-9]+)?|true|false)\s*\]?$"


@dataclass(frozen=True)
class Events:
    """`series` is the place in `names`; either `ids` or `keys` is there. Times are microseconds since the epoch."""

    names: tuple[str, ...]
    series: Ints
    value: Floats
    ids: pa.Array
    keys: pa.Array
    at_us: Ints
    received_us: Ints

    def of(self, name: str) -> Ints:
        """Places of the rows of a series."""
        return np.flatnonzero(self.series == self.names.index(name))


def series_of(query: UnitQuery) -> tuple[str, ...]:
    """The series that the query's metrics need."""
    names: dict[str, None] = {}
    for metric in query.metrics.values():
        if metric.source == "label":
            names[LABEL] = None
        elif metric.source == "feedback":
            names[metric.name] = None
            if metric.per:
                names[metric.per] = None
    return tuple(names)


def read_events(store: CaptureReader, query: UnitQuery, ignored: Ignored) -> Events:
    """Feedback of the query's time and before it, until now."""
    names = series_of(query)
    if not names:
        return _flat(FEEDBACK.empty_table(), names, ignored)
    since_s = query.since_s - query.before_s - AGAIN_S_MAX
    keeping = store.keeping(_with_values(names))
    columns = (*_READ, "label") if LABEL in names else _READ
    found = [keeping.rows("feedback", place, since_s, FOREVER_S, columns) for place in (query.endpoint, NO_ENDPOINT)]
    table = pa.concat_tables(found, promote_options="permissive")
    if LABEL not in names:
        table = table.append_column("label", pa.nulls(len(table), pa.string()))
    again = repeated(Labels.of(table.append_column("row", pa.nulls(len(table), pa.int64()))))
    keep = np.ones(len(table), np.bool_)
    keep[again] = False
    if query.experiment is not None:
        other = pc.fill_null(pc.not_equal(table["experiment"], query.experiment), False).to_numpy()
        ignored.other_experiment += int((keep & other).sum())
        keep &= ~np.asarray(other, np.bool_)
    keep &= ints(table["received_at"], 0) <= round(query.now_s * 1e6)
    return _flat(table.filter(pa.array(keep)), names, ignored)


def _with_values(names: Sequence[str]) -> Keep:
    """Which feedback has a value of one of the series: the rest of a busy endpoint's is never held."""
    wanted = pa.array([name for name in names if name != LABEL], pa.string())

    def kept(table: pa.Table) -> pa.Array:
        found = np.asarray(table["label"].is_valid().to_numpy(), np.bool_) if LABEL in names else _none(table)
        return pa.array(found | _has_metric(table["metrics"], wanted))

    return kept


def _none(table: pa.Table) -> NDArray[np.bool_]:
    return np.zeros(len(table), np.bool_)


def _has_metric(metrics: pa.ChunkedArray, wanted: pa.Array) -> NDArray[np.bool_]:
    pieces = [np.zeros(0, np.bool_)]
    for chunk in metrics.chunks:
        lists, found = chunk.cast(PAIRS), np.zeros(len(chunk), np.bool_)
        names = lists.flatten().flatten()[0]
        parents = np.repeat(np.arange(len(chunk)), ints(pc.list_value_length(lists), 0))
        found[parents[places(names, wanted) >= 0]] = True
        pieces.append(found)
    return np.concatenate(pieces)


def _flat(table: pa.Table, names: tuple[str, ...], ignored: Ignored) -> Events:
    """One row for each value."""
    table = table.combine_chunks()
    parts = [_of_metrics(table, names), _of_labels(table, names, ignored)]
    row, series, value = (np.concatenate([part[n] for part in parts]) for n in range(3))
    chosen = pa.array(row)
    taken = table.select(["id", "key", "at", "received_at"]).take(chosen).combine_chunks()
    return Events(
        names,
        series,
        value,
        _text(taken["id"]),
        _text(taken["key"]),
        ints(taken["at"], 0),
        ints(taken["received_at"], 0),
    )


def _of_metrics(table: pa.Table, names: tuple[str, ...]) -> tuple[Ints, Ints, Floats]:
    rows, series, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    first = 0
    for chunk in table["metrics"].chunks:
        lists = chunk.cast(PAIRS)
        counts = ints(pc.list_value_length(lists), 0)
        name, number = lists.flatten().flatten()
        codes, found = places(name, pa.array(names, pa.string())), floats(number)
        keep = (codes >= 0) & np.isfinite(found)
        rows.append((first + np.repeat(np.arange(len(chunk)), counts))[keep])
        series.append(codes[keep])
        values.append(found[keep])
        first += len(chunk)
    return np.concatenate(rows), np.concatenate(series), np.concatenate(values)


def _of_labels(table: pa.Table, names: tuple[str, ...], ignored: Ignored) -> tuple[Ints, Ints, Floats]:
    if LABEL not in names:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    value = label_numbers(table["label"])
    has = np.asarray(table["label"].is_valid().to_numpy(), np.bool_)
    good = np.flatnonzero(np.isfinite(value))
    ignored.no_number += int(has.sum()) - len(good)
    return good, np.full(len(good), names.index(LABEL), np.int64), value[good]


def label_numbers(labels: pa.ChunkedArray) -> Floats:
    """Labels' JSON texts as numbers: true and false are 1 and 0, a list of one item is its item; NaN for the rest.

    >>> label_numbers(pa.chunked_array([["1.5", "true", "[0]", '"yes"', None]])).tolist()
    [1.5, 1.0, 0.0, nan, nan]
    """
    text = pc.struct_field(pc.extract_regex(labels, _NUMBER), "value")
    text = pc.if_else(pc.equal(text, "true"), "1", pc.if_else(pc.equal(text, "false"), "0", text))
    text = pc.if_else(pc.match_substring_regex(text, r"^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$"), text, None)
    return floats(text)


def _text(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return pc.cast(pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole, pa.string())
