"""Which feedback is about which predicted row: by request id or by key, the newest first. Pure; used by `labels.py`.

The rules, for one endpoint:

- Feedback by id is about the newest request of that id whose time is not after the feedback's own; feedback by key
  about the unit's newest request.
- With `row` it is about that row. Without, a list is about all rows, an item for each, and any other value about a
  request of one row. What does not fit is counted and never guessed.
- An event that was sent again (the same `event` and id or key) counts as it was received first.
- A row of which several labels are known has the newest, by their own times; of two at the same time, that which was
  received last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

OUTCOMES = ("matched", "no_prediction", "no_row", "rows_differ", "repeated")
"""Of feedback: it found its rows; no request of its id or key was that early; the request has no such row; it has
another number of rows than the label has items; it is an event that was received before."""
MATCHED, NO_PREDICTION, NO_ROW, ROWS_DIFFER, REPEATED = range(5)
_ROWS = 1 << 31
PARTS_APART_US_MAX = 100_000

_lists: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True)
class Predicted:
    """Which rows were predicted; columns of one length. Times are microseconds since the epoch."""

    ids: pa.Array
    keys: pa.Array
    rows: Ints
    at_us: Ints

    @classmethod
    def of(cls, table: pa.Table) -> Predicted:
        """From the columns `id`, `key`, `row` and `at`, and `request_rows` of requests that came in parts."""
        ids, rows, at_us = _whole(table["id"]), _ints(table["row"], 0), _ints(table["at"], 0)
        if "request_rows" in table.column_names:
            at_us = _put_together(ids, at_us, np.flatnonzero(_flags(_whole(table["request_rows"]).is_valid())))
        return cls(ids, _whole(table["key"]), rows, at_us)


def _put_together(ids: pa.Array, at_us: Ints, parts: Ints) -> Ints:
    """Times at which a request that was recorded in parts is one: each part's is off by when its clock was read."""
    ranks = _ranks(ids)[parts]
    order = np.lexsort((at_us[parts], ranks))
    ordered = at_us[parts][order]
    begins = np.ones(len(order), np.bool_)
    begins[1:] = (np.diff(ranks[order]) != 0) | (np.diff(ordered) > PARTS_APART_US_MAX)
    made = at_us.copy()
    made[parts[order]] = ordered[np.flatnonzero(begins)][np.cumsum(begins) - 1]
    return made


@dataclass(frozen=True)
class Labels:
    """Feedback that has labels; columns of one length. `rows` is -1 where no row is named."""

    ids: pa.Array
    keys: pa.Array
    rows: Ints
    events: pa.Array
    at_us: Ints
    received_us: Ints
    texts: pa.Array

    @classmethod
    def of(cls, table: pa.Table) -> Labels:
        """From a table of feedback."""
        return cls(
            _whole(table["id"]),
            _whole(table["key"]),
            _ints(table["row"], -1),
            _whole(table["event"]),
            _ints(table["at"], 0),
            _ints(table["received_at"], 0),
            _whole(table["label"]),
        )


@dataclass(frozen=True)
class Matches:
    """`label` is for each predicted row the place of its label, -1 without one, and `item` the item of a list, or -1.

    `outcome` is for each label its place in `OUTCOMES`.
    """

    label: Ints
    item: Ints
    outcome: NDArray[np.int8]


@dataclass(frozen=True)
class _Pairs:
    """Predicted rows and what is said of them, before the newest is chosen."""

    row: Ints
    label: Ints
    item: Ints


def match(predicted: Predicted, labels: Labels) -> Matches:
    """Find for each predicted row its label, and for each label what became of it."""
    outcome = np.full(len(labels.rows), NO_PREDICTION, np.int8)
    outcome[repeated(labels)] = REPEATED
    pairs = [
        _match_by(names, others, predicted, labels, outcome)
        for names, others in ((predicted.ids, labels.ids), (predicted.keys, labels.keys))
    ]
    label, item = np.full((2, len(predicted.rows)), -1, np.int64)
    row, which, items = (np.concatenate([getattr(one, name) for one in pairs]) for name in ("row", "label", "item"))
    order = np.lexsort((which, labels.received_us[which], labels.at_us[which], row))
    row, which, items = row[order], which[order], items[order]
    newest = _last_of_each(row)
    label[row[newest]], item[row[newest]] = which[newest], items[newest]
    return Matches(label, item, outcome)


def text_of(labels: Labels, matches: Matches) -> pa.Array:
    """For each predicted row its label's JSON text; null without one."""
    found = matches.label >= 0
    texts = labels.texts.take(pa.array(matches.label, mask=~found))
    listed = np.flatnonzero(matches.item >= 0)
    if not len(listed):
        return texts
    made, known = texts.to_pylist(), dict[int, list[msgspec.Raw]]()
    for place in listed.tolist():
        label = int(matches.label[place])
        if label not in known:
            known[label] = _items(labels.texts[label].as_py())
        made[place] = bytes(known[label][int(matches.item[place])]).decode()
    return pa.array(made, pa.string())


@dataclass(frozen=True)
class _Requests:
    """Requests in order of name and time: `order` has their rows, one request after the other."""

    names: Ints
    at_us: Ints
    starts: Ints
    counts: Ints
    order: Ints
    rows: Ints


def _match_by(names: pa.Array, wanted: pa.Array, predicted: Predicted, labels: Labels, outcome: Any) -> _Pairs:
    """By id or by key; notes in `outcome` what became of the labels."""
    known = wanted.drop_null().unique()
    label_names, row_names = _codes(wanted, known), _codes(names, known)
    which = np.flatnonzero((label_names >= 0) & (outcome != REPEATED))
    requests = _requests(row_names, predicted)
    request = _newest_before(requests, label_names[which], labels.at_us[which])
    which, request = which[request >= 0], request[request >= 0]
    pairs = [
        _one_row(requests, labels, which, request, outcome),
        _whole_request(requests, labels, which, request, outcome),
    ]
    return _Pairs(
        requests.order[np.concatenate([one.row for one in pairs])],
        np.concatenate([one.label for one in pairs]),
        np.concatenate([one.item for one in pairs]),
    )


def _requests(names: Ints, predicted: Predicted) -> _Requests:
    rows = np.flatnonzero(names >= 0)
    # A unit may have made several requests in one microsecond: those of an id are one request.
    ids = _ranks(predicted.ids.take(pa.array(rows)))
    order = np.lexsort((predicted.rows[rows], ids, predicted.at_us[rows], names[rows]))
    rows, ids = rows[order], ids[order]
    columns = (names[rows], predicted.at_us[rows], ids)
    begins = np.ones(len(rows), np.bool_)
    begins[1:] = np.logical_or.reduce([one[1:] != one[:-1] for one in columns])
    starts = np.flatnonzero(begins)
    counts = np.diff(starts, append=len(rows))
    return _Requests(columns[0][starts], columns[1][starts], starts, counts, rows, predicted.rows[rows])


def _newest_before(requests: _Requests, names: Ints, at_us: Ints) -> Ints:
    """For each name and time the newest request of that name that is not later; -1 where there is none."""
    kinds = np.repeat([0, 1], [len(requests.names), len(names)])
    all_names = np.concatenate([requests.names, names])
    order = np.lexsort((kinds, np.concatenate([requests.at_us, at_us]), all_names))
    last = np.maximum.accumulate(np.where(kinds[order] == 0, np.arange(len(order)), -1))
    found = np.full(len(names), -1, np.int64)
    asked = np.flatnonzero((kinds[order] == 1) & (last >= 0))
    label, request = order[asked] - len(requests.names), order[last[asked]]
    same = requests.names[request] == names[label]
    found[label[same]] = request[same]
    return found


def _one_row(requests: _Requests, labels: Labels, which: Ints, request: Ints, outcome: Any) -> _Pairs:
    """Labels that name their row."""
    named = labels.rows[which] >= 0
    which, request = which[named], request[named]
    owner = np.repeat(np.arange(len(requests.starts)), requests.counts)
    places = owner * _ROWS + requests.rows
    asked = request * _ROWS + labels.rows[which]
    at = np.searchsorted(places, asked)
    there = np.zeros(len(asked), np.bool_)
    inside = at < len(places)
    there[inside] = places[at[inside]] == asked[inside]
    outcome[which] = np.where(there, MATCHED, NO_ROW)
    return _Pairs(at[there], which[there], np.full(int(there.sum()), -1, np.int64))


def _whole_request(requests: _Requests, labels: Labels, which: Ints, request: Ints, outcome: Any) -> _Pairs:
    """Labels that name no row: a list has an item for each, and any other value is about a single row."""
    unnamed = labels.rows[which] < 0
    which, request = which[unnamed], request[unnamed]
    starts, counts = requests.starts[request], requests.counts[request]
    texts = labels.texts.take(pa.array(which))
    lengths = np.full(len(which), -1, np.int64)
    for place in np.flatnonzero(_flags(pc.starts_with(texts, "["))).tolist():
        lengths[place] = len(_items(texts[place].as_py()))
    last = requests.rows[starts + counts - 1] if len(starts) else starts
    fits = np.where(lengths < 0, counts == 1, (lengths == counts) & (last == counts - 1))
    outcome[which] = np.where(fits, MATCHED, ROWS_DIFFER)
    which, starts, counts, lengths = which[fits], starts[fits], counts[fits], lengths[fits]
    item = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return _Pairs(
        np.repeat(starts, counts) + item, np.repeat(which, counts), np.where(np.repeat(lengths, counts) < 0, -1, item)
    )


def repeated(labels: Labels) -> Ints:
    """Places of feedback whose event was received before."""
    which = np.flatnonzero(_flags(labels.events.is_valid()))
    chosen = pa.array(which)
    names = [_ranks(one.take(chosen)) for one in (labels.events, labels.ids, labels.keys)]
    order = np.lexsort((which, labels.received_us[which], *names))
    again = np.zeros(len(which), np.bool_)
    again[1:] = np.logical_and.reduce([one[order][1:] == one[order][:-1] for one in names])
    return which[order][again]


def _items(text: str) -> list[msgspec.Raw]:
    """A list's items, each as its JSON text."""
    return _lists.decode(text)


def _last_of_each(values: Ints) -> Ints:
    """Places of the last of each run of equal values."""
    ends = np.ones(len(values), np.bool_)
    ends[:-1] = values[1:] != values[:-1]
    return np.flatnonzero(ends)


def _codes(values: pa.Array, known: pa.Array) -> Ints:
    """Each value's place in `known`; -1 where it is not there, or null."""
    if not len(known):
        return np.full(len(values), -1, np.int64)
    return _ints(pc.index_in(values, value_set=known, skip_nulls=True), -1)


def _ranks(values: pa.Array) -> Ints:
    """Numbers in the order of the values; -1 for null."""
    known = values.drop_null().unique()
    return _codes(values, known.take(pc.sort_indices(known)))


def _ints(values: pa.Array | pa.ChunkedArray, missing: int) -> Ints:
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    return np.asarray(pc.fill_null(values.cast(pa.int64()), missing), dtype=np.int64)


def _flags(values: pa.Array) -> Flags:
    return np.asarray(pc.fill_null(values, False), dtype=np.bool_)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    made = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return made if isinstance(made, pa.Array) else pa.concat_arrays(made.chunks)
