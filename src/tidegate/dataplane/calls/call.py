"""A prediction on its way through a process: calls, batches, outputs, and the ports between edge, batcher and target.

A `Call` is made by an edge (one request of one protocol) and answered exactly once. A `Batch` is what one target
computes at a time. Nothing here does I/O; everything runs on the event loop's thread and needs no lock.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from tidegate.dataplane.base.incidents import internal
from tidegate.dataplane.base.tensors import rows_array
from tidegate.error_kinds import Kind
from tidegate.errors import TidegateError
from tidegate.wire.signature import PREDICTION

if TYPE_CHECKING:
    from tidegate.dataplane.calls.destination import Destination
    from tidegate.settings import Settings

logger = logging.getLogger(__name__)

Tensors = dict[str, np.ndarray[Any, Any]]
"""Arrays by tensor name, row axis first. BYTES tensors are object arrays of `str` (or `bytes` that are no UTF-8)."""


AT_ONCE_VALUES_MAX = 1 << 14
"""Answers of so many values are written in one go, which takes up to 15 ms (rows of records, NaN among them)."""

_CONFIDENCE = "\0confidence"
"""Under this name, which no tensor has, the highest probabilities are kept beside the tensors' lists."""


class TargetLost(TidegateError):
    """The replica went away before it answered."""

    code, kind = "target_lost", Kind.UNAVAILABLE


class TargetUnreached(TidegateError):
    """The replica went away before it was asked: it has seen nothing of the batch."""

    code, kind = "target_unreached", Kind.UNAVAILABLE


class TargetUnread(TargetUnreached):
    """The replica went away before it had read all of the batch: it computed none of it, but may have died of it."""

    code = "target_unread"


class TargetHung(TargetLost):
    """The replica does not answer any more, not even whether it is ready."""

    code = "target_hung"


class ModelFailed(TidegateError):
    """The model raised an error while it predicted."""

    code, kind = "model_failed", Kind.INTERNAL


class Outputs:
    """A batch's answer: tensors by name, row axis first; lists that many encoders need are made once, on demand."""

    __slots__ = ("_lists", "is_long", "tensors", "texts", "values")

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        self.values = 0
        for array in tensors.values():
            self.values += array.size
        self.is_long = self.values > AT_ONCE_VALUES_MAX
        """Whether its answers may be long: then none of them uses lists of the whole batch."""
        self.texts: list[bytes] | None = None
        """What an edge has written for each row; see `protocols/plain.py`."""
        self._lists: dict[str, list[Any]] = {}

    def as_list(self, name: str) -> list[Any]:
        """All rows of one tensor as nested Python lists."""
        rows = self._lists.get(name)
        if rows is None:
            rows = self._lists[name] = self.tensors[name].tolist()
        return rows

    @property
    def prediction_name(self) -> str:
        """The tensor that answers the question: `prediction`, or the first one of a model that names its own."""
        return PREDICTION if PREDICTION in self.tensors else next(iter(self.tensors))

    def confidences(self, name: str | None) -> list[float] | None:
        """The highest class probability of each row, from the tensor `name`; None where there is none."""
        found = self._lists.get(_CONFIDENCE)
        if found is None:
            if name is None or not self.has_rows_of_numbers(name):
                return None
            found = self._lists[_CONFIDENCE] = np.maximum.reduce(self.tensors[name], axis=1).tolist()
        return found

    def has_rows_of_numbers(self, name: str) -> bool:
        """Whether there is such a tensor, with some numbers in each row."""
        found = self.tensors.get(name)
        return found is not None and found.ndim == 2 and found.shape[1] > 0


class Sink(Protocol):
    """Where a call's answer goes: the connection it came from, or a future in a test."""

    @property
    def connection(self) -> object:
        """Who asks, where no key says it: equal for the calls of one connection. Asked only when some must wait."""

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None:
        """The call's rows are `first_row` to `first_row + call.rows` of `outputs`."""

    def fail(self, call: Call, error: TidegateError) -> None:
        """The call has no answer, and why."""


class Call:
    """One request: its rows (either packed, or tensors), who asked, until when, and where the answer goes.

    `packed` holds whole rows for a signature whose rows travel as one 2-D tensor: a list of lists of numbers, or a 2-D
    array. `tensors` holds everything else. Exactly one of the two is set. `params` is one JSON object, with its keys
    in order, for models that take some: only calls with the same ones share a batch.
    """

    completes: ClassVar[Any] = True
    """Whether its answer answers a request. Of the parts that a large request is cut into only the last one's does."""
    place: ClassVar[Any] = None
    """Of a part: its first row in the whole request, and how many rows that has."""

    __slots__ = (
        "attempts",
        "deadline_s",
        "destination",
        "done",
        "packed",
        "params",
        "pinned",
        "request_id",
        "rows",
        "sink",
        "started_s",
        "tensors",
        "unit",
        "wanted",
    )

    def __init__(self, sink: Sink, destination: Destination, request_id: str, rows: int) -> None:
        self.sink = sink
        self.destination = destination
        self.request_id = request_id
        self.rows = rows
        self.packed: list[Any] | np.ndarray[Any, Any] | None = None
        self.tensors: Tensors | None = None
        self.params: str | None = None
        self.wanted: frozenset[str] | None = None
        self.unit: str | None = None
        self.pinned = False
        self.started_s = 0.0
        self.deadline_s = 0.0
        self.attempts = 0
        self.done = False

    @property
    def client(self) -> object:
        """In whose turn it is computed when some must wait: the key it was sent with, else its connection."""
        return self.sink.connection if self.unit is None else self.unit

    def answer(self, outputs: Outputs, first_row: int) -> None:
        """Hand the answer over; a call that was cancelled or timed out meanwhile stays as it is.

        Never raises: a sink that cannot take its answer gets a failure instead, and its neighbours in the batch theirs.
        """
        if not self.done:
            self.done = True
            try:
                self.sink.answer(self, outputs, first_row)
            except Exception as error:
                self._hand_failure(internal(error))

    def fail(self, error: TidegateError) -> None:
        """Hand the failure over, unless the call is done. Never raises."""
        if not self.done:
            self.done = True
            self._hand_failure(error)

    def _hand_failure(self, error: TidegateError) -> None:
        try:
            self.sink.fail(self, error)
        except Exception:
            logger.exception("request %s could not be told that it failed", self.request_id)

    def cancel(self) -> None:
        """Nobody waits for the answer any more: drop it before it is computed, if that is still possible."""
        self.done = True


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


Done = Callable[["Target", Batch, "Outputs | TidegateError"], None]


class Target(Protocol):
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

    def refused(self, endpoint: str, error: TidegateError) -> None:
        """A request to a known endpoint was refused before it became a call."""


class Service(Protocol):
    """One name that clients call: an endpoint on the gateway, the model on a replica."""

    name: str

    def choose(self, request_id: str, unit: str | None) -> Destination:
        """The version that answers an unpinned request; raises `NoReadyReplica`."""

    def pinned(self, version: str) -> Destination:
        """The running version with this number or label; raises `UnknownVersion` that lists those that run."""

    def destinations(self) -> list[Destination]:
        """All variants of running versions, the one with the most traffic first."""


class Directory(Protocol):
    """Everything served by this process."""

    def services(self) -> Mapping[str, Service]:
        """By name."""

    def only(self) -> Service | None:
        """The one service of a replica; None on a gateway, where every path names its endpoint."""


@dataclass(frozen=True)
class Limits:
    """Bounds of the data plane, from the settings."""

    batch_rows_max: int = 1024
    batch_latency_s: float = 0.01
    queue_rows_max: int = 4096
    body_bytes_max: int = 64 << 20
    json_bytes_max: int = 8 << 20
    buffered_bytes_max: int = 512 << 20
    timeout_s: float = 30.0
    receive_timeout_s: float = 10.0
    idle_timeout_s: float = 300.0
    connections_max: int = 8192

    @classmethod
    def from_settings(cls, settings: Settings) -> Limits:
        """As the environment says."""
        return cls(
            batch_rows_max=settings.batch_rows_max,
            batch_latency_s=settings.batch_latency_ms / 1000,
            queue_rows_max=settings.queue_rows_max,
            body_bytes_max=settings.request_bytes_max,
            json_bytes_max=settings.json_bytes_max,
            buffered_bytes_max=settings.buffered_bytes_max,
            timeout_s=settings.request_timeout_s,
            receive_timeout_s=settings.receive_timeout_s,
            idle_timeout_s=settings.idle_timeout_s,
            connections_max=settings.connections_max,
        )
