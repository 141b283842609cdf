"""Records of the journal as rows of tables: predictions (live, shadow), failures and feedback. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import BatchRecord, CapturedRequest, FailureRecord, FeedbackRecord
from tidegate.wire.journal.records import Tensor

Array = np.ndarray[Any, Any]
Shape = tuple[tuple[str, str, bool], ...]
"""Of a record's tensors: name with `input_` or `output_` before it, datatype, and whether a row has several values."""

_DTYPES = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"} | {
    f"{sign}INT{bits}": f"<{kind}{bits // 8}" for sign, kind in (("", "i"), ("U", "u")) for bits in (8, 16, 32, 64)
}
_ENDPOINT = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
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
    | {"params": pa.string(), "sample_rate": pa.float64(), "request_rows": pa.int64()}
)
"""Before the tensors. `request_rows`: of a request that came in parts, how many rows it has; null for a whole one."""
FAILURES = pa.schema(
    {"id": pa.string(), "at": _AT}
    | _OF_DECISION
    | {"key": pa.string(), "duration_ms": pa.float64(), "code": pa.int16(), "reason": pa.string(), "calls": pa.int64()}
)
FEEDBACK = pa.schema(
    {"id": pa.string(), "row": pa.int64(), "key": pa.string(), "event": pa.string(), "at": _AT, "received_at": _AT}
    | {"label": pa.string(), "metrics": pa.map_(pa.string(), pa.float64()), "experiment": pa.string()}
)
"""`label` is the label's JSON text."""
NO_ENDPOINT = "__HIVE_DEFAULT_PARTITION__"
"""Where feedback is that names no endpoint: as Hive writes a partition of null."""

SCHEMAS = {
    "predictions": PREDICTIONS,
    "shadow_predictions": PREDICTIONS,
    "failures": FAILURES,
    "shadow_failures": FAILURES,
    "feedback": FEEDBACK,
}
"""Columns that each table has whatever the model; `endpoint` and `hour` are in the names of folders."""


class Partition(msgspec.Struct, frozen=True):
    """Which rows stand together in one file: those of a table, an endpoint, an hour (UTC) and a shape."""

    table: str
    endpoint: str
    hour: str
    shape: Shape = ()


@dataclass
class RowBuffer:
    """Columns of rows that are yet to be written, and pieces of tensors by column."""

    columns: dict[str, list[Any]] = field(default_factory=dict)
    tensors: dict[str, list[Array]] = field(default_factory=dict)

    def add(self, values: dict[str, Any], rows: int = 1) -> None:
        """So many rows with the same values; the values of `row` are a list of its own for each of them."""
        for name, value in values.items():
            column = self.columns.setdefault(name, [])
            if name == "row":
                column += value
            else:
                column += [value] * rows

    def table(self, place: Partition) -> pa.Table:
        """As Arrow has it."""
        schema = SCHEMAS[place.table]
        made = pa.table({name: pa.array(self.columns[name], schema.field(name).type) for name in schema.names})
        for name, datatype, listed in place.shape:
            if name in self.tensors:
                made = made.append_column(name, _column(self.tensors[name], datatype, listed=listed))
        return made


def batch_rows(record: BatchRecord, into: dict[Partition, RowBuffer], wanted: Collection[str] | None = None) -> None:
    """Add the rows of a computed batch; of its tensors those columns that are `wanted`, or all.

    Raises `ValueError`, and adds nothing, for a record whose parts do not fit one another.
    """
    tensors = {f"input_{name}": one for name, one in record.inputs.items()}
    tensors |= {f"output_{name}": one for name, one in record.outputs.items()}
    shape = tuple((name, datatype, len(dims) > 1) for name, (datatype, dims, _) in tensors.items())
    values = {name: _values(one) for name, one in tensors.items() if wanted is None or name in wanted}
    places = _places(record, shape, values)
    first = 0
    for request, decision, place in places:
        last = first + request.rows
        rows = into.setdefault(place, RowBuffer())
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
            "sample_rate": record.sample_rate,
            "request_rows": request.part[1] if request.part else None,
        }
        rows.add(of_request | _of_decision(decision), request.rows)
        for name, piece in values.items():
            rows.tensors.setdefault(name, []).append(piece[first:last])
        first = last


def _places(
    record: BatchRecord, shape: Shape, values: dict[str, Array]
) -> list[tuple[CapturedRequest, Decision, Partition]]:
    """Where the rows of each request go, found out before the first one is added."""
    rows = sum(request.rows for request in record.requests)
    short = [name for name, one in values.items() if len(one) != rows]
    if short:
        raise ValueError(f"{rows} rows in its requests and another number in {short[0]}")
    found = []
    for request in record.requests:
        try:
            decision = record.decision_of(request)
        except IndexError:
            raise ValueError("a request names a decision that its record does not have") from None
        table = "shadow_predictions" if decision.role == "shadow" else "predictions"
        found.append((request, decision, Partition(table, _endpoint(record.endpoint), _hour(request.at_s), shape)))
    return found


def failure_rows(record: FailureRecord, into: dict[Partition, RowBuffer]) -> None:
    """Add the failures of a record: one a row, and those that were only counted as one row with their number.

    Raises `ValueError`, and adds nothing, for a record whose parts do not fit one another.
    """
    endpoint = _endpoint(record.endpoint)
    try:
        failures = [(table, at_s, _hour(at_s), values) for table, at_s, values in _failures(record)]
    except IndexError:
        raise ValueError("a failure names a decision that its record does not have") from None
    for table, at_s, hour, values in failures:
        rows = into.setdefault(Partition(table, endpoint, hour), RowBuffer())
        rows.add(values | {"at": round(at_s * 1e6)})


def feedback_rows(record: FeedbackRecord, into: dict[Partition, RowBuffer]) -> None:
    """Add the events of a record, one a row, in the hour of their own time.

    Raises `ValueError`, and adds nothing, for a record with an event of no endpoint's name or of no time.
    """
    places = [
        Partition("feedback", NO_ENDPOINT if one.endpoint is None else _endpoint(one.endpoint), _hour(one.at_us / 1e6))
        for one in record.events
    ]
    for place, one in zip(places, record.events, strict=True):
        named = {"id": one.id, "row": [one.row], "key": one.key, "event": one.event, "experiment": one.experiment}
        times = {"at": one.at_us, "received_at": record.received_at_us}
        values = {"label": one.label, "metrics": list(one.metrics.items())}
        into.setdefault(place, RowBuffer()).add(named | times | values)


def _failures(record: FailureRecord) -> Iterator[tuple[str, float, dict[str, Any]]]:
    def decided(place: int | None) -> Decision | None:
        return None if place is None else record.decisions[place]

    for call in record.calls:
        own = {"id": call.id, "key": call.unit, "duration_ms": call.duration_s * 1000}
        made = decided(call.decision)
        failure = {"code": call.code, "reason": call.reason, "calls": 1}
        yield _failures_table(made), call.at_s, own | _of_decision(made) | failure
    for group in record.omitted:
        nobody = {"id": None, "key": None, "duration_ms": None}
        made = decided(group.decision)
        failure = {"code": group.code, "reason": group.reason, "calls": group.calls}
        yield _failures_table(made), record.since_s, nobody | _of_decision(made) | failure


def _failures_table(decision: Decision | None) -> str:
    """A shadow's failures are nobody's: what counts live ones never reads them."""
    return "shadow_failures" if decision is not None and decision.role == "shadow" else "failures"


def _of_decision(decision: Decision | None) -> dict[str, Any]:
    return {name: None if decision is None else getattr(decision, name) for name in _OF_DECISION}


def _endpoint(name: str) -> str:
    """As it may stand in the name of a folder."""
    if not _ENDPOINT.fullmatch(name):
        raise ValueError(f"{name[:80]!r} is no name of an endpoint")
    return name


def _hour(at_s: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%dT%H}"
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{at_s} is no time") from None


def _values(tensor: Tensor) -> Array:
    """The tensor's rows; texts that were bytes and no UTF-8 have escapes in the place of what is none."""
    datatype, shape, raw = tensor
    if datatype == "BYTES":
        values = np.empty(len(raw), dtype=object)
        values[:] = [one.decode("utf-8", "backslashreplace") if isinstance(one, bytes) else one for one in raw]
        return values.reshape(shape)
    if datatype == "BF16":  # the upper half of a 32-bit number
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if datatype not in _DTYPES:
        raise ValueError(f"{datatype!r} is no datatype that this release knows")
    numbers = np.frombuffer(raw, _DTYPES[datatype]).reshape(shape)
    return numbers.astype("<f4") if datatype == "FP16" else numbers  # readers of Parquet that know no half floats


def _column(pieces: list[Array], datatype: str, *, listed: bool) -> pa.Array:
    """Numbers as they are; a row of several values is a list (in row-major order where it has several axes)."""
    flat = [piece.ravel() for piece in pieces]
    whole = np.concatenate(flat) if len(flat) > 1 else flat[0]
    values = pa.array(whole.tolist(), pa.string()) if datatype == "BYTES" else pa.array(whole)
    if not listed:
        return values
    widths = np.concatenate([np.full(len(piece), int(np.prod(piece.shape[1:])), np.int64) for piece in pieces])
    ends = np.zeros(len(widths) + 1, np.int64)
    np.cumsum(widths, out=ends[1:])
    return pa.LargeListArray.from_arrays(ends, values)
