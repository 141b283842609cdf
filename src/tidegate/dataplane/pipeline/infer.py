"""`infer`: the one way of a prediction, whatever its protocol. Edges decode and encode; this orders the steps.

    bytes → edge.decode → choose version → fit to its signature → batcher → target → edge.encode → bytes

An `Exchange` is one request and its one response. The hot HTTP path and the ASGI path differ only in how its bytes
leave.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
import orjson

from tidegate.dataplane.base.amounts import check_room
from tidegate.dataplane.base.content_type import JSON, kind_of
from tidegate.dataplane.base.cooperative_scheduler import CooperativeScheduler
from tidegate.dataplane.base.incidents import as_error, identified, new_id
from tidegate.dataplane.base.tensors import dtype_of
from tidegate.dataplane.calls.batch import Batch, Observer
from tidegate.dataplane.calls.call import Call, Destination
from tidegate.dataplane.calls.directory import Directory, Service
from tidegate.dataplane.calls.guarded import Guarded
from tidegate.dataplane.calls.limits import DataplaneLimits
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.dataplane.codec.fit import Fitted
from tidegate.dataplane.pipeline.access import Access
from tidegate.dataplane.pipeline.assignment import tell_refused
from tidegate.dataplane.pipeline.buffered import Body, Buffered, hold_values
from tidegate.dataplane.pipeline.encodings import deflate_answer, inflate_body
from tidegate.dataplane.pipeline.long_answers import answer_in_turns
from tidegate.errors import (
    MalformedRequest,
    TidegateError,
    TooLarge,
    Unauthenticated,
    UnknownEndpoint,
    WrongContentType,
)
from tidegate.wire.gateways.decision import AssignmentContext, Decision

REQUEST_ID_LENGTH_MAX = 128
ROWS_FREE_MAX, ANSWER_VALUE_BYTES = 64, 300
"""Answers of more rows are written only where there is room for them: about so many bytes for each number."""
_LENGTHS_REMEMBERED = 1024


class Edge(Protocol):
    """One protocol: how its bytes become a call and how its answers become bytes.

    `protocols/pieces.py` says what an edge has beside it whose large bodies are read in pieces. Where a new one is
    registered: `http/routes.py`.
    """

    def decode(self, exchange: Exchange, service: Service) -> Call:
        """Read the body, choose the version, fit the values; raises `TidegateError`. Does not submit the call."""

    def encode(self, exchange: Exchange, call: Call, outputs: Outputs, first_row: int) -> bytes:
        """The answer's body; may set `exchange.content_type` and `exchange.extra_head`."""


@dataclass(slots=True, frozen=True)
class PredictionRoute:
    """What a path asks for: a protocol, a name (None on a replica's plain route) and perhaps a version."""

    edge: Edge
    name: str | None
    version: str | None = None


class Limiter(Protocol):
    """Who says how many requests a client may send."""

    def check(self, endpoint: str, headers: Mapping[bytes, bytes]) -> None:
        """Raise `RateLimited` for one too many."""


@dataclass(slots=True)
class InferenceEngine:
    """What every exchange of a server shares."""

    directory: Directory
    limits: DataplaneLimits
    observer: Observer
    access: Access
    clock: Callable[[], float]
    limiter: Limiter | None = None
    draining: bool = False
    """The server ends: each connection is closed with its next answer."""
    buffered: Buffered = field(init=False)
    scheduler: CooperativeScheduler = field(init=False, default_factory=CooperativeScheduler)

    def __post_init__(self) -> None:
        self.observer = Guarded(self.observer)
        self.buffered = Buffered(self.limits)

    def abandon(self, call: Call | None) -> None:
        """The client went away: nobody waits for this call any more. What shares a batch with it goes on."""
        if call is not None and not call.done:
            call.cancel()
            self.observer.abandoned(call, self.clock())


class Exchange(Body):
    """One prediction request and its response: the sink of its call.

    Subclasses say how bytes leave (`send`). `headers` has those that matter (`that_matter`), and is never changed.
    """

    __slots__ = ("content_type", "context", "decision", "extra_head", "headers", "request_id", "route")

    engine: InferenceEngine
    admitted: ClassVar[bool] = False
    """Whether this kind of exchange was asked for its key before its body came (`admit`)."""

    def __init__(self, engine: InferenceEngine, route: PredictionRoute, headers: dict[bytes, bytes]) -> None:
        self.engine = engine
        self.route = route
        self.headers = headers
        self.body: bytes | bytearray = b""
        self.held_bytes = 0
        self.request_id = ""
        self.context: AssignmentContext | None = None
        self.decision: Decision | None = None
        self.call: Call | None = None
        self.meta: Any = None
        self.content_type = JSON
        self.extra_head = b""

    def send(self, status: int, destination: Destination | None, body: bytes) -> None:
        """Write the response: status line, headers (`response_head`), body."""
        raise TypeError(f"an Exchange needs a way out: {status}, {destination}, {len(body)} bytes have none")

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for the response."""
        return True

    @property
    def connection(self) -> object:
        """Who asks: the same object for all requests of a connection; without any, each request is a client."""
        return self

    def admit(self) -> None:
        """Raise `Unauthenticated` unless the headers carry a key in force, where one is needed."""
        self.engine.access.check(self.headers.get(b"authorization"))

    def refuse_unread(self, error: TidegateError) -> None:
        """Send the failure of a request whose body is not read, under the id it was given if that is one."""
        self.take_id()
        tell_refused(self, error)
        self.refuse(error)

    def take_id(self) -> None:
        """Be known by the id that the client gave, if that is one, else by a new one."""
        try:
            self.request_id = _request_id(self.headers[b"x-request-id"])
        except (KeyError, MalformedRequest):
            self.request_id = new_id()

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None:
        """Encode and send the call's rows of the outputs."""
        self.call = None  # each knows the other: both would lie about until the garbage collector came by
        if outputs.is_long:
            answer_in_turns(self, call, outputs, first_row)
            return
        try:
            if call.rows > ROWS_FREE_MAX:
                check_room(ANSWER_VALUE_BYTES * outputs.values)
            body = self.encoded(call, outputs, first_row)
        except Exception as error:
            self.refuse(as_error(error))
        else:
            self.send(200, call.destination, body)

    def encoded(self, call: Call, outputs: Outputs, first_row: int) -> bytes:
        """The answer's body, compressed where the client asks for it."""
        body = self.route.edge.encode(self, call, outputs, first_row)
        return deflate_answer(self, body) if b"accept-encoding" in self.headers else body

    def fail(self, call: Call, error: TidegateError) -> None:
        """Send the failure of a call that was submitted."""
        self.call = None
        self._send_error(error, call.destination)

    def refuse(self, error: TidegateError) -> None:
        """Send the failure of a request that never became a call."""
        self._send_error(error, None)

    def _send_error(self, error: TidegateError, destination: Destination | None) -> None:
        error = identified(error)
        self.content_type = JSON
        self.extra_head = b""
        if error.retry_after_s is not None:
            self.extra_head += b"retry-after: %d\r\n" % max(1, round(error.retry_after_s))
        if isinstance(error, Unauthenticated):
            self.extra_head += b"www-authenticate: Bearer\r\n"
        self.send(error.http_status, destination, encode_error(error))


def encode_error(error: TidegateError) -> bytes:
    """The JSON body of a failure, whatever its details hold (a client's integers may be larger than orjson takes)."""
    try:
        return orjson.dumps(error.body(), default=str)
    except TypeError:
        return json.dumps(error.body(), default=str).encode()


_INTERESTING = frozenset(
    {
        b"accept-encoding",
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"inference-header-content-length",
        b"origin",
        b"x-request-id",
        b"x-tidegate-key",
        b"x-tidegate-timeout-ms",
        b"x-tidegate-variant",
    }
)


def that_matter(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers that a prediction looks at, by their names in lower case."""
    return {name: value for name, value in headers if name in _INTERESTING}


def response_head(exchange: Exchange, destination: Destination | None, body_length: int) -> bytes:
    """Headers of a response, without the status line, `date` and `connection`; ends with the empty line."""
    who = destination.head if destination is not None else b"x-request-id: "
    what = _what_follows(exchange.content_type, body_length)
    return b"".join((who, exchange.request_id.encode("latin-1"), b"\r\n", exchange.extra_head, what))


@lru_cache(_LENGTHS_REMEMBERED)
def _what_follows(content_type: bytes, body_length: int) -> bytes:
    """Remembered: nearly all answers are of a few lengths, and formatting takes longer than all the rest of a head."""
    return b"content-type: %b\r\ncontent-length: %d\r\n\r\n" % (content_type, body_length)


def infer(exchange: Exchange) -> None:
    """Take a request whose body is complete all the way to the batcher; every failure is answered, none is raised."""
    started_s = exchange.engine.clock()
    try:
        service = service_of(exchange)
        count_request(exchange, service)
        if b"content-encoding" in exchange.headers:
            inflate_body(exchange)
        submit(exchange, exchange.route.edge.decode(exchange, service), started_s)
    except Exception as error:
        fail(exchange, error, started_s)


def service_of(exchange: Exchange) -> Service:
    """Give the request its id, ask for its key, and find what it names; raises `TidegateError`."""
    engine, headers = exchange.engine, exchange.headers
    exchange.request_id = _request_id(headers[b"x-request-id"]) if b"x-request-id" in headers else new_id()
    if engine.access.required and not exchange.admitted:
        engine.access.check(headers.get(b"authorization"))
    return find_service(engine.directory, exchange.route.name)


def count_request(exchange: Exchange, service: Service) -> None:
    """Count the request against its client's limit; raises `RateLimited`."""
    limiter = exchange.engine.limiter
    if limiter is not None:
        limiter.check(service.name, exchange.headers)


def submit(exchange: Exchange, call: Call, started_s: float) -> None:
    """Hand a call to its version; raises `TidegateError` where it has no room. `started_s`: when its body was whole."""
    engine = exchange.engine
    if exchange.held_bytes:
        hold_values(exchange, call)
    call.started_s = started_s
    timeout_s = engine.limits.timeout_s
    if b"x-tidegate-timeout-ms" in exchange.headers:
        timeout_s = min(_asked_s(exchange.headers[b"x-tidegate-timeout-ms"]), timeout_s)
    call.deadline_s = started_s + timeout_s
    exchange.call = call
    if call.rows == 0:
        _answer_empty(call, engine.observer)
    else:
        call.destination.batcher.submit(call)


def fail(exchange: Exchange, failure: Exception, started_s: float) -> None:
    """Answer with what went wrong on the way to the batcher; `started_s`: when the body was whole."""
    error = as_error(failure)
    if not exchange.request_id:
        exchange.request_id = new_id()
    if exchange.call is not None:
        exchange.call.cancel()  # no version took it: it was never in progress
    tell_refused(exchange, error, started_s)
    exchange.refuse(error)


def find_service(directory: Directory, name: str | None) -> Service:
    """The service a path names; raises `UnknownEndpoint` that lists what there is."""
    services = directory.services()
    found = services.get(name or "")
    if found is None:
        only = directory.only()
        if only is not None and name is None:
            return only
        shown = ", ".join(sorted(services)[:20]) or "none yet"
        if name is None:
            raise UnknownEndpoint(f"name the endpoint in the path, as /predict/NAME has it; there is: {shown}")
        raise UnknownEndpoint(f"nothing called {name!r} is served here; there is: {shown}", name=name)
    return found


def new_call(exchange: Exchange, destination: Destination, fitted: Fitted) -> Call:
    """A call of these rows, by the request's assignment."""
    call = Call(exchange, destination, exchange.request_id, fitted.rows)
    call.packed = fitted.packed
    call.tensors = fitted.tensors
    context = exchange.context
    call.unit = None if context is None else context.unit
    call.decision = exchange.decision
    call.params = destination.params
    return call


def _answer_empty(call: Call, observer: Observer) -> None:
    """Answer a request of no rows, which no model is asked for; it is counted and recorded as any other."""
    outputs = empty_outputs(call)
    batch = Batch(call.destination, [call], 0)
    batch.released = "empty"
    batch.sent_s = call.started_s
    observer.batch_done(batch, outputs, call.started_s)
    call.answer(outputs, 0)


def empty_outputs(call: Call) -> Outputs:
    """What a model answers to no rows: tensors of its own datatypes with a first axis of 0."""
    specs = call.destination.signature.outputs
    return Outputs(
        {
            spec.name: np.empty((0, *(max(length, 0) for length in spec.shape[1:])), dtype=dtype_of(spec.datatype))
            for spec in specs
            if call.wanted is None or spec.name in call.wanted
        }
    )


def check_json(exchange: Exchange) -> None:
    """Raise unless the body says it is JSON (see `kind_of`) and is small enough to be read on the event loop."""
    given = exchange.headers.get(b"content-type", b"")
    if given != JSON and kind_of(exchange.headers) != JSON:
        raise WrongContentType(
            f"content type {given.decode('latin-1')!r} is not taken here: send 'content-type: application/json'"
        )
    if len(exchange.body) > exchange.engine.limits.json_bytes_max:
        check_json_size(len(exchange.body), exchange.engine.limits)


def check_json_size(size: int, limits: DataplaneLimits) -> None:
    """Raise `TooLarge` for JSON that would hold up every other request while it is read."""
    if size > limits.json_bytes_max:
        raise TooLarge(
            f"the JSON has {size} bytes, and this server takes {limits.json_bytes_max}: "
            "send fewer rows a request, or binary tensors (/v2)",
            expected=limits.json_bytes_max,
            got=size,
        )


def _request_id(value: bytes) -> str:
    if 0 < len(value) <= REQUEST_ID_LENGTH_MAX and value.isascii() and value.decode().isprintable():
        return value.decode()
    raise MalformedRequest(f"X-Request-Id must be 1 to {REQUEST_ID_LENGTH_MAX} printable ASCII characters")


def _asked_s(given: bytes) -> float:
    if not given.isdigit() or not given.strip(b"0"):
        raise MalformedRequest("X-Tidegate-Timeout-Ms must be a whole number of milliseconds above 0")
    return float(given) / 1000  # float takes any number of digits, int does not
