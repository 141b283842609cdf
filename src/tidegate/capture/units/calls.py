"""Calls of an experiment, read a day at a time: those that were answered, and those that failed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidegate.capture.labels import CaptureReader, Keep
from tidegate.capture.units.arrow import floats, ints, places
from tidegate.wire.experiments.units import Floats, Ignored, Ints, UnitQuery

SLICE_S = 86_400.0
FAILED_FROM = 500

_DECIDED = ("id", "at", "key", "assigned", "variant", "experiment", "phase", "pinned")
_ANSWERED = (*_DECIDED, "row", "duration_ms", "sample_rate")
_FAILED = (*_DECIDED, "code", "calls")


@dataclass(frozen=True)
class UnitCalls:
    """Calls with a key, one row each. `arm` is the assigned one, `phase` -1 where the call names none.

    `weight` is how many calls each stands for, more than one where capture keeps a sample; `duration_ms` is NaN for
    those that failed. `failed` says which were answered 5xx, `answered` which were answered at all.
    """

    keys: pa.Array
    ids: pa.Array
    arm: Ints
    phase: Ints
    at_us: Ints
    duration_ms: Floats
    failed: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    weight: Floats

    def __len__(self) -> int:
        return len(self.arm)


def slices(query: UnitQuery) -> Iterator[tuple[float, float]]:
    """The query's time in pieces, oldest first."""
    begin = query.since_s
    while begin < query.now_s:
        end = min(begin + SLICE_S, query.now_s)
        yield begin, end
        begin = end


def calls_of(store: CaptureReader, query: UnitQuery, between: tuple[float, float], ignored: Ignored) -> UnitCalls:
    """All calls of a time, each once, in no order that counts. Adds to `ignored` those without a key."""
    answered = store.keeping(taken(query, first_row=True)).rows("predictions", query.endpoint, *between, _ANSWERED)
    failed = store.keeping(taken(query)).rows("failures", query.endpoint, *between, _FAILED)
    counted = failed["id"].is_null()  # what was only counted: gateways record so many failures a second, and no more
    ignored.omitted += pc.sum(failed.filter(counted)["calls"]).as_py() or 0
    failed = failed.filter(pc.invert(counted))
    return _joined(_known(answered, ignored), _known(failed, ignored), query.arms if query.experiment else ())


def taken(query: UnitQuery, *, first_row: bool = False) -> Keep:
    """Which rows are calls of the query: a request of many rows is one call."""

    def kept(table: pa.Table) -> pa.Array:
        conditions = [_is_false(table, "pinned")]
        if first_row:
            conditions.append(pc.equal(table["row"], 0))
        if query.experiment is not None:
            conditions.append(_equals(table, "experiment", query.experiment))
        else:
            conditions.append(pc.is_valid(_assigned(table)))
        mask = conditions[0]
        for one in conditions[1:]:
            mask = pc.and_kleene(mask, one)
        return pc.fill_null(mask, False)

    return kept


def _equals(table: pa.Table, name: str, value: str) -> pa.ChunkedArray:
    """Files of releases that did not have the column have no such row."""
    if name not in table.column_names:
        return pa.chunked_array([pa.repeat(pa.scalar(False), len(table))])
    return pc.equal(table[name], value)


def _is_false(table: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        return pa.chunked_array([pa.repeat(pa.scalar(True), len(table))])
    return pc.invert(table[name])


def _assigned(table: pa.Table) -> pa.ChunkedArray:
    """The assigned variant, which is the answering one in what was captured before the two were told apart."""
    names = [name for name in ("assigned", "variant") if name in table.column_names]
    if not names:
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    columns = [pc.cast(table[name], pa.string()) for name in names]
    return columns[0] if len(columns) == 1 else pc.coalesce(*columns)


def _known(table: pa.Table, ignored: Ignored) -> pa.Table:
    ignored.without_key += table["key"].null_count
    return table.filter(pc.is_valid(table["key"])) if table["key"].null_count else table


def _joined(answered: pa.Table, failed: pa.Table, arms: tuple[str, ...]) -> UnitCalls:
    """Both kinds one after the other; those of arms that are not among `arms` (where there are any) are left out."""
    lengths = (len(answered), len(failed))
    rate = floats(answered["sample_rate"], 1.0)
    made = UnitCalls(
        keys=_whole([answered["key"], failed["key"]]),
        ids=_whole([answered["id"], failed["id"]]),
        arm=np.concatenate([_codes(one, arms) for one in (answered, failed)]),
        phase=np.concatenate([ints(one["phase"], -1) for one in (answered, failed)]),
        at_us=np.concatenate([ints(one["at"], 0) for one in (answered, failed)]),
        duration_ms=np.concatenate([floats(answered["duration_ms"], np.nan), np.full(lengths[1], np.nan)]),
        failed=np.concatenate([np.zeros(lengths[0], np.bool_), ints(failed["code"], 0) >= FAILED_FROM]),
        answered=np.repeat([True, False], lengths),
        weight=np.concatenate([1.0 / np.where(rate > 0, rate, 1.0), np.ones(lengths[1])]),
    )
    keep = made.arm >= 0
    return made if keep.all() else _where(made, np.flatnonzero(keep))


def _where(calls: UnitCalls, places: Ints) -> UnitCalls:
    chosen = pa.array(places)
    return UnitCalls(
        calls.keys.take(chosen),
        calls.ids.take(chosen),
        calls.arm[places],
        calls.phase[places],
        calls.at_us[places],
        calls.duration_ms[places],
        calls.failed[places],
        calls.answered[places],
        calls.weight[places],
    )


def _codes(table: pa.Table, arms: tuple[str, ...]) -> Ints:
    """The place of each row's arm; -1 for one that is not among them, 0 for all where there are none."""
    if not arms:
        return np.zeros(len(table), np.int64)
    return places(_assigned(table), pa.array(arms, pa.string()))


def _whole(columns: list[pa.ChunkedArray]) -> pa.Array:
    chunks = [pc.cast(chunk, pa.string()) for column in columns for chunk in column.chunks]
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.string())
