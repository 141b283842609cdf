"""A capture journal as gateways write it, for tests of the store that is made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from tidegate.gateway.capture.segments import Dropped, Segments
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import BatchRecord, CapturedRequest

AT_S = datetime(2026, 11, 29, 1, 59, 59, tzinfo=UTC).timestamp()


class Gateway:
    """Writes a journal as a gateway does, with a small bound where it is to drop segments."""

    def __init__(self, folder: Path, total_bytes_max: int = 1 << 30, name: str = "gateway-0") -> None:
        self.segments = Segments(folder, name, total_bytes_max)
        self.dropped: list[Dropped] = []

    def write(self, record: Any, at_s: float = AT_S) -> None:
        payload = msgspec.msgpack.encode(record)
        ended = self.segments.end() if self.segments.is_full(len(payload), at_s) else None
        if ended is not None or not self.segments.is_open:
            self.dropped += self.segments.settle(ended, len(payload))
        self.segments.append(payload, at_s)

    def seal(self) -> None:
        self.segments.settle(self.segments.end())


def batch(name: str, at_s: float = AT_S, rows: int = 1, part: Any = None, **more: Any) -> BatchRecord:
    version, dtype = more.get("version", "7"), more.get("dtype", "FP64")
    kinds = {"FP64": np.float64, "INT64": np.int64}
    request = CapturedRequest(name, "anna", 0, at_s, 0.25, rows, 200, part)
    numbers = ["7"] * rows if dtype == "BYTES" else np.arange(rows, dtype=kinds[dtype]).tobytes()
    decision = Decision("control", "control", version, role=more.get("role", "live"))
    outputs: dict[str, Any] = {"prediction": ("INT64", (rows,), np.arange(rows).tobytes())}
    inputs: dict[str, Any] = {more.get("column", "age"): (dtype, (rows,), numbers)}
    return BatchRecord(more.get("endpoint", "churn"), version, [decision], [request], inputs, outputs)
