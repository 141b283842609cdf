"""Calls and feedback of an experiment as gateways record them, and a reader of them without files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from tidegate.capture.rows import SCHEMAS, Partition, RowBuffer, batch_rows, failure_rows, feedback_rows
from tidegate.capture.schemas import concat, union_schema
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import (
    BatchRecord,
    CapturedRequest,
    FailedCall,
    FailureRecord,
    FeedbackEvent,
    FeedbackRecord,
)

START_S = 1_790_000_000.0
NAME = "checkout"


def call(key: str | None, at_s: float, arm: str = "control", phase: int | None = 1, **more: Any) -> Any:
    """An answered call. `id`, `ms`, `rows`, `pinned`, `experiment`, `sample_rate` besides."""
    decision = Decision(arm, arm, "7", more.get("experiment", NAME), phase, 0.5, more.get("pinned", False))
    name = more.get("id", f"{key}-{at_s}")
    request = CapturedRequest(name, key, 0, at_s, more.get("ms", 10.0) / 1000, more.get("rows", 1), 200)
    output = np.array(more.get("output", []), np.float64)
    outputs: Any = {"prediction": ("FP64", (len(output),), output.tobytes())} if len(output) else {}
    return BatchRecord("churn", "7", [decision], [request], {}, outputs, sample_rate=more.get("sample_rate", 1.0))


def failure(key: str, at_s: float, arm: str = "control", phase: int | None = 1, code: int = 500) -> Any:
    """A call that failed."""
    decision = Decision(arm, arm, "7", NAME, phase, 0.5)
    return FailureRecord(
        "churn", [decision], [FailedCall(f"f-{key}-{at_s}", key, 0, at_s, 0.01, code, "model_error")], [], at_s, at_s
    )


def feedback(at_s: float, received_s: float | None = None, **event: Any) -> Any:
    """One event: `key` or `id`, `metrics` or `label`."""
    given: dict[str, Any] = {"id": None, "row": None, "key": None, "event": None, "endpoint": "churn"} | event
    at_us = round(at_s * 1e6)
    return FeedbackRecord([FeedbackEvent(at_us=at_us, **given)], round((received_s or at_s) * 1e6))


@dataclass(frozen=True)
class Recorded:
    """Reads records as `CaptureStore` would, from memory."""

    records: Sequence[Any]
    keep: Callable[[pa.Table], pa.Array] | None = None
    tables: dict[str, pa.Table] = field(default_factory=dict)

    def keeping(self, keep: Callable[[pa.Table], pa.Array], _wanted: object = None) -> Self:
        return replace(self, keep=keep)

    def rows(
        self, table: str, endpoint: str, since_s: float, until_s: float, columns: Sequence[str] | None = None
    ) -> pa.Table:
        if not self.tables:
            self.tables.update(self._made())
        made = self.tables.get(f"{table}/{endpoint}", SCHEMAS[table].empty_table())
        at = made["at"].cast(pa.int64()).to_numpy()
        made = made.filter(pa.array((at >= round(since_s * 1e6)) & (at < round(until_s * 1e6))))
        made = made if self.keep is None else made.filter(self.keep(made))
        if columns is None:
            return made
        has = made.column_names
        return pa.table({one: made[one] if one in has else pa.nulls(len(made)) for one in columns})

    def _made(self) -> dict[str, pa.Table]:
        held: dict[Partition, RowBuffer] = {}
        makers: dict[type, Any] = {
            BatchRecord: batch_rows,
            FailureRecord: failure_rows,
            FeedbackRecord: feedback_rows,
        }
        for one in self.records:
            makers[type(one)](one, held)
        found: dict[str, list[pa.Table]] = {}
        for place, rows in held.items():
            found.setdefault(f"{place.table}/{place.endpoint}", []).append(rows.table(place))
        return {name: concat(parts, union_schema([one.schema for one in parts])) for name, parts in found.items()}
