"""`inference.GRPCInferenceService` over HTTP/2, and the health and reflection services. Started by `serve.py`.

ModelInfer goes the way of every prediction (`infer`); the others are answered at once.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator

from tidegate.dataplane.base.cooperative_scheduler import LARGE_BYTES_MIN, while_wanted
from tidegate.dataplane.base.incidents import as_error, identified, new_id
from tidegate.dataplane.base.stepwise import in_steps
from tidegate.dataplane.base.ticking import sweep_or_cut
from tidegate.dataplane.calls.call import Destination
from tidegate.dataplane.grpc.heads import (
    NOT_GRPC,
    OK_TRAILERS,
    PREFIX_BYTES,
    Head,
    error_fields,
    framed,
    read_head,
    response_fields,
)
from tidegate.dataplane.grpc.health import CHECK, WATCH, HealthService
from tidegate.dataplane.grpc.infer import EDGE, route_of
from tidegate.dataplane.grpc.messages import (
    read_infer_request,
    read_name_and_version,
    write_flag,
    write_model_metadata,
    write_server_metadata,
)
from tidegate.dataplane.grpc.reflection import REFLECTIONS, SERVICES, Reflection
from tidegate.dataplane.http2.connection import Http2Connection
from tidegate.dataplane.http2.flow import NOBODY, Request, Stream
from tidegate.dataplane.http2.frames import HEADER_BYTES_MAX
from tidegate.dataplane.http2.share import TurnShare
from tidegate.dataplane.pipeline.encodings import inflate_held
from tidegate.dataplane.pipeline.infer import (
    Exchange,
    InferenceEngine,
    PredictionRoute,
    find_service,
    infer,
    that_matter,
)
from tidegate.dataplane.protocols.pieces import infer_in_pieces
from tidegate.dataplane.protocols.v2_metadata import EXTENSIONS, destination_of, metadata
from tidegate.errors import DeadlineExceeded, MalformedRequest, MethodNotAllowed, TidegateError, TooLarge
from tidegate.version import __version__

_OPEN_METHODS = frozenset({"ServerLive", "ServerReady", CHECK, WATCH})
"""Answered without a key, as the health routes of HTTP are."""
_TOO_LONG = TooLarge(f"the call's metadata is longer than the {HEADER_BYTES_MAX} bytes this server takes")


def _message(exchange: GrpcExchange, body: bytes) -> bytes:
    """The one message of a unary call's body."""
    if len(body) < PREFIX_BYTES or int.from_bytes(body[1:PREFIX_BYTES], "big") != len(body) - PREFIX_BYTES:
        raise MalformedRequest("the call needs one whole message")
    message = body[PREFIX_BYTES:]
    if body[0] == 0:
        return message
    encoding = exchange.head.encoding
    if body[0] != 1 or encoding == b"identity":
        raise MalformedRequest("the message is flagged as compressed, but grpc-encoding does not say how")
    return inflate_held(exchange, message, encoding, exchange.engine.limits.body_bytes_max)


# -- calls --------------------


class GrpcExchange(Exchange):
    """One call: the sink of a prediction, or one of the others with one answer, which `simple` gives."""

    __slots__ = ("head", "is_over", "simple", "stream")

    def __init__(self, engine: InferenceEngine, stream: Stream, head: Head) -> None:
        super().__init__(engine, _NOWHERE, that_matter(head.headers))
        self.stream = stream
        self.head = head
        self.simple: Callable[[bytes], bytes] | None = None
        self.is_over = False

    @property
    def connection(self) -> object:
        """The HTTP/2 connection that carries the stream."""
        return self.stream.connection

    @property
    def is_wanted(self) -> bool:
        """Whether the call goes on."""
        return not self.is_over

    def complete(self, body: bytes) -> None:
        """All of the request arrived: answer it, or take it to the batcher."""
        if len(body) >= LARGE_BYTES_MIN or body[:1] == b"\1":  # compressed: it may inflate to anything
            pieces = self._in_pieces(body, self.engine.clock())
            self.engine.scheduler.take(asyncio.get_running_loop(), while_wanted(pieces, lambda: self.is_wanted))
            return
        try:
            answer = self._read(body)
        except Exception as error:
            self.refuse(as_error(error))
        else:
            if answer is None:
                infer(self)
            else:
                self._answer_simple(answer)

    def _in_pieces(self, body: bytes, arrived_s: float) -> Iterator[bool]:
        try:
            answer = yield from in_steps(lambda: self._read(body))
        except Exception as error:
            self.refuse(as_error(error))
        else:
            if answer is None:
                yield from infer_in_pieces(self, arrived_s)
            else:
                self._answer_simple(answer)

    def _read(self, body: bytes) -> bytes | None:
        """The answer to a simple call; None for a prediction, whose message is `meta` then."""
        if self.head.wrong:
            raise MalformedRequest(self.head.wrong)
        message = _message(self, body)
        if self.simple is not None:
            return self.simple(message)
        self.meta = read_infer_request(message)
        self.route = route_of(self.meta.model_name, self.meta.model_version)
        return None

    def _answer_simple(self, answer: bytes) -> None:
        self.request_id = new_id()
        self.send(200, None, answer)

    def too_large(self, size_bytes: int) -> None:
        """Refuse while it is still arriving."""
        size_max = self.engine.limits.body_bytes_max
        self.refuse(
            TooLarge(
                f"the message is larger than the {size_max} bytes this server takes", expected=size_max, got=size_bytes
            )
        )

    def grew(self, body: bytes | bytearray) -> None:
        """Refuse what there is no room for; the first bytes of a message say how much it will be."""
        try:
            if not self.held_bytes and len(body) >= PREFIX_BYTES:
                self.announce(int.from_bytes(body[1:PREFIX_BYTES], "big"))
            self.hold(len(body))
        except TidegateError as error:
            self.refuse(error)

    def too_slow(self) -> None:
        """Refuse what does not arrive."""
        timeout_s = self.engine.limits.receive_timeout_s
        self.refuse(DeadlineExceeded(f"the request did not arrive within {timeout_s:g} s"))

    def abandon(self) -> None:
        """Nobody waits any more; what shares a batch with it goes on."""
        self.is_over = True
        self.engine.abandon(self.call)
        self.let_go()

    def send(self, status: int, destination: Destination | None, body: bytes) -> None:  # noqa: ARG002 (errors go below)
        """An answer: header fields, one message, status 0."""
        self.let_go()
        self.stream.respond(response_fields(destination, self.request_id), framed(body), OK_TRAILERS)

    def _send_error(self, error: TidegateError, destination: Destination | None) -> None:
        self.request_id = self.request_id or new_id()
        self.let_go()
        self.stream.respond_head(response_fields(destination, self.request_id) + error_fields(identified(error)))


_NOWHERE = PredictionRoute(EDGE, None)
"""Stands in until the message was read, which names the model."""


class GrpcConnection(Http2Connection[Head]):
    """One client's connection."""

    def __init__(self, server: GrpcServer) -> None:
        engine = server.engine
        super().__init__(read_head, engine.limits.body_bytes_max + PREFIX_BYTES, engine.clock, server.share)
        self._server = server
        self.trusted = not engine.access.required

    def open_request(self, stream: Stream, head: Head) -> Request:
        """By its method. Who may not ask, and what there is not, is refused before a byte of the message came."""
        if head.method is None:
            stream.respond_head(NOT_GRPC)
            return NOBODY
        server = self._server
        exchange = GrpcExchange(server.engine, stream, head)
        try:
            if server.engine.access.required:
                self._check_key(head.method, exchange.headers)
            if head.method != "ModelInfer":
                streaming = server.streaming.get(head.method)
                if streaming is not None:
                    return streaming(stream, head)
                exchange.simple = server.simple(head.method)
        except TidegateError as error:
            exchange.refuse(error)
        return exchange

    def _check_key(self, method: str, headers: dict[bytes, bytes]) -> None:
        if method not in _OPEN_METHODS:
            self._server.engine.access.check(headers.get(b"authorization"))
            self.trusted = True

    def refuse_long_head(self, stream: Stream) -> None:
        """As a call's failure, which its client shows."""
        stream.respond_head(response_fields(None, new_id()) + error_fields(_TOO_LONG))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection with the server."""
        self._server.connections.add(self)
        super().connection_made(transport)
        if len(self._server.connections) > self._server.engine.limits.connections_max:
            self.transport.abort()  # which a gRPC client takes for UNAVAILABLE

    def connection_lost(self, exc: Exception | None) -> None:
        """Deregister the connection."""
        self._server.connections.discard(self)
        super().connection_lost(exc)


class GrpcServer:
    """The service of one process. `is_ready` answers ServerReady."""

    def __init__(self, engine: InferenceEngine, is_ready: Callable[[], bool]) -> None:
        self.engine = engine
        self.connections: set[GrpcConnection] = set()
        self.share = TurnShare()
        self._is_ready = is_ready
        self._listener: asyncio.Server | None = None
        self._health = HealthService(is_ready, SERVICES)
        self.streaming: dict[str, Callable[[Stream, Head], Request]] = {
            WATCH: self._health.watch,
            **{f"/{name}/ServerReflectionInfo": Reflection for name in REFLECTIONS},
        }
        self._simple = {
            CHECK: self._health.check,
            "ServerLive": lambda _: write_flag(True),
            "ServerReady": lambda _: write_flag(self._is_ready()),
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: write_server_metadata("tidegate", __version__, EXTENSIONS),
            "ModelMetadata": self._model_metadata,
        }

    def simple(self, method: str) -> Callable[[bytes], bytes]:
        """What answers a method other than ModelInfer; raises for one that there is not."""
        found = self._simple.get(method)
        if found is None:
            raise MethodNotAllowed(
                f"this server has no method {method!r}; it has those of inference.GRPCInferenceService "
                "for liveness, readiness, metadata and ModelInfer, grpc.health.v1.Health and reflection"
            )
        return found

    async def start(self, sock: socket.socket, backlog: int) -> None:
        """Serve on a bound socket."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: GrpcConnection(self), sock=sock, backlog=backlog)

    def sweep(self, now_s: float) -> None:
        """Let every connection look at its clock."""
        self.share.sweep()
        limits = self.engine.limits
        for connection in list(self.connections):
            times_s = (now_s, limits.receive_timeout_s, limits.idle_timeout_s)
            sweep_or_cut(connection.transport, connection.sweep, *times_s)
        self._health.sweep()

    def drain(self) -> None:
        """Take no further request; what is here is still answered."""
        if self._listener is not None:
            self._listener.close()
        self._health.drain()
        for connection in list(self.connections):
            connection.drain()

    async def stop(self, until_s: float) -> None:
        """Wait for the answers that are under way until then (by the engine's clock), and end."""
        self.drain()
        while self.connections and self.engine.clock() < until_s:
            await asyncio.sleep(_STOP_POLL_S)
        for connection in list(self.connections):
            connection.transport.abort()

    def _model_ready(self, message: bytes) -> bytes:
        name, version = read_name_and_version(message)
        service = find_service(self.engine.directory, name)
        return write_flag(destination_of(service, version or None).batcher.accepts)

    def _model_metadata(self, message: bytes) -> bytes:
        name, version = read_name_and_version(message)
        service = find_service(self.engine.directory, name)
        return write_model_metadata(metadata(service, destination_of(service, version or None)))


_STOP_POLL_S = 0.02
