"""Calls that one target computes together, and the ports between the batcher, its targets and who watches."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tidegate.dataplane.base.tensors import rows_array
from tidegate.dataplane.calls.call import Call, Destination
from tidegate.dataplane.calls.failure import FailedRequest
from tidegate.dataplane.calls.outputs import Outputs, Tensors
from tidegate.errors import TidegateError


class Batch:
    """Calls that one target computes together. `inputs` is built once, when the batch is sent.

    After `hang_s` seconds its answer is late enough to ask whether the target still lives. `suspect`: a replica died of
    its call or beside it, so it may meet no other than the one set aside for such.
    """

    __slots__ = (
        "calls",
        "destination",
        "hang_s",
        "inputs",
        "params",
        "released",
        "rows",
        "sent_s",
        "suspect",
        "wanted",
    )

    def __init__(self, destination: Destination, calls: list[Call], rows: int) -> None:
        self.destination = destination
        self.calls = calls
        self.rows = rows
        self.sent_s = 0.0
        self.hang_s = math.inf
        self.released = ""
        self.suspect = False
        first = calls[0]
        self.params = first.params
        self.wanted = first.wanted if first.wanted is None or len(calls) == 1 else _union(calls)
        self.inputs: Tensors
        if first.packed is not None:
            self.inputs = {destination.packed_name: _merge_packed(calls, destination.packed_dtype)}
        else:
            self.inputs = _merge(calls)

    def had_last_attempt(self, attempts_max: int) -> bool:
        """Whether this was the last attempt of one of its calls; if not, it is counted as one of each."""
        if max(call.attempts for call in self.calls) + 1 >= attempts_max:
            return True
        for call in self.calls:
            call.attempts += 1
        return False


def _union(calls: list[Call]) -> frozenset[str] | None:
    wanted = [call.wanted for call in calls if call.wanted is not None]
    return frozenset().union(*wanted) if len(wanted) == len(calls) else None


def _merge(calls: list[Call]) -> Tensors:
    if len(calls) == 1:
        return calls[0].tensors or {}
    first = calls[0].tensors or {}
    return {name: np.concatenate([call.tensors[name] for call in calls if call.tensors]) for name in first}


def _merge_packed(calls: list[Call], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    rows: list[Any] = []
    for call in calls:
        if type(call.packed) is not list:
            return np.concatenate([np.asarray(call.packed, dtype=dtype) for call in calls])
        rows += call.packed
    return rows_array(rows, dtype)


Done = Callable[["BatchTarget", Batch, "Outputs | TidegateError"], None]


class BatchTarget(Protocol):
    """One thing that computes one batch at a time: a model in this process, or a connection to a replica."""

    id: str

    def send(self, batch: Batch, done: Done) -> None:
        """Compute the batch; call `done` exactly once, on the loop's thread, not before `send` returned.

        A target that died answers `TargetLost`, one that died before it was asked `TargetUnreached`,
        one that died before it had read what it was sent `TargetUnread`, a model that
        raised `ModelFailed` or `UnfitInput`.
        """


class Observer(Protocol):
    """Who wants to know what happened: metrics, and on the gateway the capture journal."""

    def batch_done(self, batch: Batch, outputs: Outputs, now_s: float) -> None:
        """A batch was computed; called before any of its answers leaves. `now_s` is monotonic."""

    def call_failed(self, call: Call, error: TidegateError, now_s: float) -> None:
        """A call that had a destination ended without an answer."""

    def abandoned(self, call: Call, now_s: float) -> None:
        """The client of a call that had a destination went away before it was answered."""

    def refused(self, failure: FailedRequest) -> None:
        """A request to a known endpoint was refused before it became a call, or no version took its call."""
