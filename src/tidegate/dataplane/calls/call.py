"""One request of one protocol on its way through a process, and the model version it goes to.

A `Call` is made by an edge and answered exactly once. Nothing here does I/O; everything runs on the event loop's thread
and needs no lock.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import orjson

from tidegate.dataplane.base.amounts import ROWS_MAX, TEXT_ROWS_MAX
from tidegate.dataplane.base.incidents import internal
from tidegate.dataplane.base.tensors import dtype_of
from tidegate.dataplane.calls.outputs import Outputs, Tensors
from tidegate.errors import TidegateError, UnfitInput
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.signature import MATRIX_INPUT, PROBABILITIES, Signature

logger = logging.getLogger(__name__)


SIGNATURE_NAME = "serving_default"
SIGNATURE_PARAM = "signature_name"
"""The param, and the V2 request parameter, that names one of several signatures."""


@dataclass(frozen=True)
class Identity:
    """Names of a destination. On a replica `endpoint` is the model's name."""

    endpoint: str
    model: str
    version: str
    variant: str
    label: str | None = None


class Admission(Protocol):
    """Admits calls to a version: its batcher, or the response cache in front of that.

    Two are equal where calls end up in the same batcher: each snapshot may make its own.
    """

    @property
    def accepts(self) -> bool:
        """Whether a call that is handed in now is answered, if there is room for it."""

    def submit(self, call: Call) -> None:
        """Take a call, which is answered later; raises `NoReadyReplica` or `Overloaded`."""


class Destination:
    """A version and its batcher, with what the hot path needs worked out once."""

    __slots__ = (
        "batcher",
        "binary_outputs",
        "example",
        "head",
        "identity",
        "json_outputs",
        "n_features",
        "narrow_outputs",
        "others",
        "packed_dtype",
        "packed_name",
        "params",
        "probabilities_name",
        "rows_max",
        "signature",
        "table",
        "takes_floats",
    )

    def __init__(self, identity: Identity, signature: Signature, example: Any, batcher: Admission) -> None:
        self.identity = identity
        self.signature = signature
        self.example = example
        self.batcher = batcher
        self.n_features = signature.n_features
        datatype = signature.packed_datatype
        self.packed_dtype: np.dtype[Any] = dtype_of(datatype or "FP64")
        self.packed_name = signature.inputs[0].name if signature.kind == "tensors" else MATRIX_INPUT
        self.takes_floats = datatype in ("FP32", "FP64") and self.n_features is not None
        self.narrow_outputs = frozenset(spec.name for spec in signature.outputs if spec.datatype == "BF16")
        self.json_outputs = frozenset(spec.name for spec in signature.outputs if spec.json)
        self.binary_outputs = frozenset(spec.name for spec in signature.outputs if spec.holds == "binary")
        self.table = bool(signature.form) and len(signature.outputs) > 1
        self.head = _response_head(identity)
        self.probabilities_name = _probabilities_name(signature)
        self.rows_max = TEXT_ROWS_MAX if any(one.datatype == "BYTES" for one in signature.outputs) else ROWS_MAX
        self.params: str | None = None
        self.others = {other.name: self._under(other) for other in signature.others}

    def _under(self, other: Signature) -> Destination:
        """The same version behind the same batcher, under another of its signatures, which its calls say as a param."""
        found = Destination(self.identity, other, None, self.batcher)
        found.params = orjson.dumps({SIGNATURE_PARAM: other.name}).decode()
        return found

    def under(self, name: Any) -> Destination:
        """The version under the signature of this name; raises `UnfitInput` that lists those there are."""
        own = self.signature.name
        if name in (None, "", SIGNATURE_NAME, own):
            return self
        found = self.others.get(name) if isinstance(name, str) else None
        if found is None:
            known = [own or SIGNATURE_NAME, *self.others]
            raise UnfitInput(
                f"signature_name: the model has no signature {name!r}; it has {', '.join(known)}",
                input="signature_name",
                expected=known,
                got=name,
            )
        return found


def _probabilities_name(signature: Signature) -> str | None:
    """The output that holds class probabilities: ours by name, or the second of a classifier that names its own."""
    names = [spec.name for spec in signature.outputs]
    if PROBABILITIES in names:
        return PROBABILITIES
    return names[1] if signature.classes is not None and len(names) > 1 else None


def _response_head(identity: Identity) -> bytes:
    """The constant headers of an answer by this version, up to the value of the request id."""
    return (
        f"x-tidegate-endpoint: {identity.endpoint}\r\nx-tidegate-version: {identity.version}\r\n"
        f"x-tidegate-variant: {identity.variant}\r\nx-request-id: "
    ).encode("ascii")


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
    in order, for models that take some: only calls with the same ones share a batch. `decision` is the assignment that
    sent it to its destination.
    """

    completes: ClassVar[Any] = True
    """Whether its answer answers a request. Of the parts that a large request is cut into only the last one's does."""
    place: ClassVar[Any] = None
    """Of a part: its first row in the whole request, and how many rows that has."""

    __slots__ = (
        "attempts",
        "deadline_s",
        "decision",
        "destination",
        "done",
        "failed",
        "packed",
        "params",
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
        self.decision: Decision | None = None
        self.started_s = 0.0
        self.deadline_s = 0.0
        self.attempts = 0
        self.done = False
        self.failed = False

    @property
    def client(self) -> object:
        """Whose share of the queue it takes (`batching/fair.py`): the key it was sent with, else its connection."""
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
            self.done = self.failed = True
            self._hand_failure(error)

    def _hand_failure(self, error: TidegateError) -> None:
        try:
            self.sink.fail(self, error)
        except Exception:
            logger.exception("request %s could not be told that it failed", self.request_id)

    def cancel(self) -> None:
        """Nobody waits for the answer any more: drop it before it is computed, if that is still possible."""
        self.done = True
