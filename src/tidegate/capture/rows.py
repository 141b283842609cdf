"""Records of the journal as rows of tables: predictions (live, shadow) and failures. Used by `compact.py`; no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from tidegate.wire.decision import Decision
from tidegate.wire.journal import BatchRecord, FailureRecord
from tidegate.wire.journal.records import Tensor

Array = np.ndarray[Any, Any]
Shape = tuple[tuple[str, str, tuple[int, ...]], ...]
"""Of a record's tensors: name with `input_` or `output_` before it, datatype, and the shape of one row."""

_DTYPES = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"} | {
    f"{sign}INT{bits}": f"<{kind}{bits // 8}" for sign, kind in (("", "i"), ("U", "u")) for bits in (8, 16, 32, 64)
}
_AT = pa.timestamp("us", tz="UTC")
_OF_DECISION = {
    "assigned": pa.string(),
    "variant": pa.string(),
    "version": pa.string(),
    "experiment": pa.string(),
    "phase": pa.int32(),
    "propensity": pa.float64(),
    "pinned": pa.bool_(),
    "revision": pa.int64(),
}
PREDICTIONS = pa.schema(
    {"id": pa.string(), "row": pa.int64(), "at": _AT}
    | _OF_DECISION
    | {"key": pa.string(), "duration_ms": pa.float64(), "code": pa.int16(), "cached": pa.bool_()}
    | {"params": pa.string(), "sample_rate": pa.float64()}
)
FAILURES = pa.schema(
    {"id": pa.string(), "at": _AT}
    | _OF_DECISION
    | {"key": pa.string(), "duration_ms": pa.float64(), "code": pa.int16(), "reason": pa.string(), "calls": pa.int64()}
)


class Place(msgspec.Struct, frozen=True):
    """Which rows stand together in one file: those of a table, an endpoint, an hour (UTC) and a shape."""

    table: str
    endpoint: str
    hour: str
    shape: Shape = ()


@dataclass
class Rows:
    """Columns of rows that are yet to be written, and pieces of tensors by column."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    tensors: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, values: dict[str, Any], rows: int = 1) -> None:
        """So many rows with the same values; the values of `row` are a list of its own for each of them."""
        for name, value in values.items():
            column = self.columns.setdefault(name, [])
            if name == "row":
                column += value
            else:
                column += [value] * rows

    def table(self, place: Place) -> pa.Table:
        """As Arrow has it."""
        schema = FAILURES if place.table == "failures" else PREDICTIONS
        made = pa.table({name: pa.array(self.columns[name], schema.field(name).type) for name in schema.names})
        for name, datatype, shape in place.shape:
            made = made.append_column(name, _column(self.tensors[name], datatype, shape))
        return made


def batch_rows(record: BatchRecord, into: dict[Place, Rows]) -> None:
    """Add the rows of a computed batch."""
    tensors = {f"input_{name}": one for name, one in record.inputs.items()}
    tensors |= {f"output_{name}": one for name, one in record.outputs.items()}
    shape = tuple((name, datatype, tuple(dims[1:])) for name, (datatype, dims, _) in tensors.items())
    values = {name: _values(one) for name, one in tensors.items()}
    first = 0
    for request in record.requests:
        decision, last = record.decision_of(request), first + request.rows
        table = "shadow_predictions" if decision.role == "shadow" else "predictions"
        rows = into.setdefault(Place(table, record.endpoint, _hour(request.at_s), shape), Rows())
        begin = request.part[0] if request.part else 0
        of_request = {
            "id": request.id,
            "row": range(begin, begin + request.rows),
            "at": round(request.at_s * 1e6),
            "key": request.unit,
            "duration_ms": request.duration_s * 1000,
            "code": request.code,
            "cached": record.cached,
            "params": record.params,
            "sample_rate": 1.0,
        }
        rows.add(of_request | _of_decision(decision), request.rows)
        for name, piece in values.items():
            rows.tensors.setdefault(name, []).append(piece[first:last])
        first = last


def failure_rows(record: FailureRecord, into: dict[Place, Rows]) -> None:
    """Add the failures of a record: one a row, and those that were only counted as one row with their number."""
    for at_s, values in _failures(record):
        rows = into.setdefault(Place("failures", record.endpoint, _hour(at_s)), Rows())
        rows.add(values | {"at": round(at_s * 1e6)})


def _failures(record: FailureRecord) -> Iterator[tuple[float, dict[str, Any]]]:
    def decided(place: int | None) -> dict[str, Any]:
        return _of_decision(None if place is None else record.decisions[place])

    for call in record.calls:
        own = {"id": call.id, "key": call.unit, "duration_ms": call.duration_s * 1000}
        yield call.at_s, own | decided(call.decision) | {"code": call.code, "reason": call.reason, "calls": 1}
    for group in record.omitted:
        nobody = {"id": None, "key": None, "duration_ms": None}
        told = {"code": group.code, "reason": group.reason, "calls": group.calls}
        yield record.since_s, nobody | decided(group.decision) | told


def _of_decision(decision: Decision | None) -> dict[str, Any]:
    return {name: None if decision is None else getattr(decision, name) for name in _OF_DECISION}


def _hour(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H}"


def _values(tensor: Tensor) -> Array:
    """The tensor's rows; texts that were bytes and no UTF-8 have escapes in the place of what is none."""
    datatype, shape, raw = tensor
    if datatype != "BYTES":
        return np.frombuffer(raw, _DTYPES[datatype]).reshape(shape)
    values = np.empty(len(raw), dtype=object)
    values[:] = [one.decode("utf-8", "backslashreplace") if isinstance(one, bytes) else one for one in raw]
    return values.reshape(shape)


def _column(pieces: list[Array], datatype: str, shape: tuple[int, ...]) -> pa.Array:
    """Numbers as they are; a row of several values is a list (in row-major order where it has several axes)."""
    whole = np.concatenate(pieces)
    flat = pa.array(whole.ravel().tolist(), pa.string()) if datatype == "BYTES" else pa.array(whole.ravel())
    width = int(np.prod(shape)) if shape else 1
    if not shape:
        return flat
    ends = np.arange(len(whole) + 1, dtype=np.int64) * width
    return pa.LargeListArray.from_arrays(ends, flat)
