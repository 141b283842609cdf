"""Captured rows as numpy columns, for services that know no Arrow, and units of experiments.

Implements `core.captured.CapturedRows` and `CapturedUnits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tidegate.capture.files import Files
from tidegate.capture.location import Location
from tidegate.core.captured import CapturedTable, Columns, ShadowPairs
from tidegate.errors import CaptureUnreadable
from tidegate.wire.experiments.units import UnitQuery, UnitRows

if TYPE_CHECKING:
    import pyarrow as pa

    from tidegate.capture.store import CaptureStore
    from tidegate.capture.units.settled import SettledCalls


_PAIRED = ["at", "id", "row", "key", "duration_ms", "label"]


class StoredRows:
    """Of the store in one data directory. pyarrow is imported with the first question, not with the control plane."""

    def __init__(self, data_dir: Path, location: Location | None = None) -> None:
        self._location, self._journal = location or Location(data_dir / "capture"), data_dir / "journal"
        self._opened: CaptureStore | None = None
        self._settled: SettledCalls | None = None

    def rows(
        self,
        table: CapturedTable,
        endpoint: str,
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,
    ) -> Columns:
        """See the port."""
        return numpy_columns(self._store().rows(table, endpoint, since_s, until_s, columns, version))

    def labelled(
        self,
        endpoint: str,
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,
    ) -> Columns:
        """See the port."""
        return numpy_columns(self._store().labelled(endpoint, since_s, until_s, columns, version))

    def units(self, query: UnitQuery) -> UnitRows:
        """Implements `core.captured.CapturedUnits`."""
        from tidegate.capture.units.gather import units
        from tidegate.capture.units.settled import SettledCalls

        if self._settled is None:
            self._settled = SettledCalls(self._store())
        return units(self._store(), query, self._settled)

    def for_look(self, endpoint: str, since_s: float, outputs: Sequence[str]) -> StoredRows:
        """See `core.captured.CapturedPairs`."""
        from tidegate.capture.shadows import REACH_S

        made = copy(self)
        columns = [f"output_{name}" for name in outputs]
        made._opened = self._store().for_look(endpoint, columns, since_s - REACH_S)
        return made

    def shadow_rows(self, endpoint: str, version: str, since_s: float, until_s: float) -> int:
        """See `core.captured.CapturedPairs`."""
        return len(self._store().rows("shadow_predictions", endpoint, since_s, until_s, ("at",), version))

    def shadow_failures(self, endpoint: str, version: str, since_s: float, until_s: float) -> dict[str, int]:
        """See `core.captured.CapturedPairs`."""
        columns = ("reason", "calls")
        found = self._store().rows("shadow_failures", endpoint, since_s, until_s, columns, version)
        counted = found.group_by("reason").aggregate([("calls", "sum")])
        return dict(zip(counted["reason"].to_pylist(), counted["calls_sum"].to_pylist(), strict=True))

    def shadow_pairs(
        self, endpoint: str, version: str, since_s: float, until_s: float, outputs: Sequence[str]
    ) -> ShadowPairs:
        """See `core.captured.CapturedPairs`."""
        from tidegate.capture.shadows import pairs

        live, shadow = pairs(self._store(), endpoint, version, (since_s, until_s), outputs)
        made, theirs = numpy_columns(live.select(_PAIRED)), numpy_columns(shadow.select(["duration_ms"]))
        keys = made["key"]
        return ShadowPairs(
            at=made["at"],
            units=np.where([one is None for one in keys], made["id"], keys),
            first=made["row"] == 0,
            live_ms=made["duration_ms"],
            shadow_ms=theirs["duration_ms"],
            labels=made["label"],
            live=_outputs(live, outputs),
            shadow=_outputs(shadow, outputs),
        )

    def _store(self) -> CaptureStore:
        if self._opened is None:
            from tidegate.capture.store import CaptureStore

            self._opened = CaptureStore(self._files(), self._journal)
        return self._opened

    def _files(self) -> Files:
        try:
            return self._location.files()
        except OSError as error:
            raise CaptureUnreadable(f"what was captured cannot be read: {error.strerror or error}") from error


def _outputs(table: pa.Table, outputs: Sequence[str]) -> Columns:
    found = {name: _output(table[f"output_{name}"]) for name in outputs}
    return {name: values for name, values in found.items() if values is not None}


def _output(column: pa.ChunkedArray) -> np.ndarray[Any, Any] | None:
    """Numbers, texts, or a matrix where each row has as many numbers; None for what is neither."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not _nested(column.type):
        return _column(column)
    if not len(column) or column.null_count or not _is_number(column.type.value_type):
        return None
    widths = pc.unique(pc.list_value_length(column)).to_pylist()
    if len(widths) != 1:
        return None
    return np.asarray(pc.list_flatten(column).cast(pa.float64()).to_numpy()).reshape(len(column), widths[0])


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_floating(kind) or pt.is_integer(kind))


def numpy_columns(table: pa.Table) -> Columns:
    """Numbers with NaN where they are missing, times as seconds since the epoch, the rest as objects with None."""
    return {name: _column(table[name]) for name in table.column_names}


def _column(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    import pyarrow as pa
    import pyarrow.types as pt

    kind = column.type
    if pt.is_timestamp(kind):
        micros = column.cast(pa.int64())
        numbers: np.ndarray[Any, Any] = micros.to_numpy().astype(np.float64)  # null is NaN
        return numbers / 1e6
    if pt.is_floating(kind) or (pt.is_integer(kind) and column.null_count):
        return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    if pt.is_integer(kind) or (pt.is_boolean(kind) and not column.null_count):
        return np.asarray(column.to_numpy())
    values = np.empty(len(column), dtype=object)
    values[:] = column.to_pylist() if not _nested(kind) else _lists(column)
    return values


def _nested(kind: pa.DataType) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_list(kind) or pt.is_large_list(kind))


def _lists(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """One array a row, of a slice of its chunk's values; None where the row has none."""
    made = np.empty(len(column), dtype=object)
    begin = 0
    for chunk in column.chunks:
        values, ends = chunk.values.to_numpy(zero_copy_only=False), chunk.offsets.to_numpy().tolist()
        rows = [values[start:end] for start, end in pairwise(ends)]
        for place in np.flatnonzero(chunk.is_null().to_numpy(zero_copy_only=False)).tolist():
            rows[place] = None
        for place, row in enumerate(rows, begin):
            made[place] = row
        begin += len(chunk)
    return made
