"""`inference.GRPCInferenceService` over HTTP/2: the six calls, their metadata and status codes. Started by `serve.py`.

ModelInfer goes the way of every prediction (`infer`); the other five are answered at once.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from tidegate.dataplane.app import EXTENSIONS, destination_of, metadata
from tidegate.dataplane.destination import Destination
from tidegate.dataplane.grpc_edge import EDGE, route_of
from tidegate.dataplane.grpc_messages import (
    read_infer_request,
    read_name_and_version,
    write_flag,
    write_model_metadata,
    write_server_metadata,
)
from tidegate.dataplane.http2 import Connection
from tidegate.dataplane.http2_flow import Request, Stream
from tidegate.dataplane.http2_frames import Pairs, literal
from tidegate.dataplane.http2_share import Share
from tidegate.dataplane.incidents import identified, internal, new_id
from tidegate.dataplane.infer import Engine, Exchange, Route, find_service, infer, that_matter
from tidegate.dataplane.inflate import inflate_held
from tidegate.errors import DeadlineExceeded, MalformedRequest, MethodNotAllowed, TidegateError, TooLarge
from tidegate.version import __version__

SERVICE = "/inference.GRPCInferenceService/"
MESSAGE_BYTES_MAX = 2048
"""Of an error's text: clients bound the size of trailers."""

_PREFIX_BYTES = 5
_STATUS_200 = b"\x88"
_CONTENT_TYPE = literal(b"content-type", b"application/grpc")
_NOT_GRPC = literal(b":status", b"415")
_OK_TRAILERS = literal(b"grpc-status", b"0")
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_MS = {b"H": 3_600_000, b"M": 60_000, b"S": 1000, b"m": 1, b"u": 1e-3, b"n": 1e-6}
_OF_HTTP = frozenset({b"accept-encoding", b"content-encoding", b"content-type"})
"""Fields that mean a body of HTTP; a message's compression is agreed on by gRPC's own, so these say nothing here."""
_OPEN_METHODS = frozenset({"ServerLive", "ServerReady"})
"""Answered without a key, as the health routes of HTTP are."""
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if code != ord("%"))


# -- what a header block says --------------------


@dataclass(slots=True, frozen=True)
class Head:
    """A request's header block: the method (None: no gRPC), the fields as HTTP names them, and how it is compressed."""

    method: str | None
    headers: Pairs
    encoding: bytes
    wrong: str = ""


def read_head(pairs: Pairs) -> Head:
    """From the fields; the client's deadline becomes `x-tidegate-timeout-ms`, the shorter one where both are given."""
    fields = dict(pairs)
    if not fields.get(b"content-type", b"").startswith(b"application/grpc") or fields.get(b":method") != b"POST":
        return Head(None, [], b"")
    path = fields.get(b":path", b"").decode("latin-1")
    method = path.removeprefix(SERVICE) if path.startswith(SERVICE) else path
    headers = [(name, value) for name, value in pairs if name not in _OF_HTTP]
    try:
        timeout_ms = _timeout_ms(fields)
    except MalformedRequest as error:
        return Head(method, headers, b"", error.message)
    if timeout_ms is not None:
        headers = [(name, value) for name, value in headers if name != b"x-tidegate-timeout-ms"]
        headers.append((b"x-tidegate-timeout-ms", b"%d" % timeout_ms))
    return Head(method, headers, fields.get(b"grpc-encoding", b"identity"))


def _timeout_ms(fields: dict[bytes, bytes]) -> int | None:
    given = fields.get(b"grpc-timeout")
    if given is None:
        return None
    match = _TIMEOUT.fullmatch(given)
    if match is None:
        raise MalformedRequest(f"grpc-timeout is {given.decode('latin-1')!r}: up to 8 digits and a unit are expected")
    timeout_ms = max(1, round(int(match[1]) * _UNIT_MS[match[2]]))
    own = fields.get(b"x-tidegate-timeout-ms", b"")
    # float takes any number of digits, int does not
    return int(float(own)) if own.isdigit() and 0 < float(own) < timeout_ms else timeout_ms


# -- what an answer says --------------------


@lru_cache(maxsize=1024)
def _who(head: bytes) -> bytes:
    """The HTTP head of a destination as header fields, without its last, the request id's."""
    pairs = [line.split(b": ", 1) for line in head.split(b"\r\n")]
    return b"".join(literal(name, value) for name, value in pairs[:-1])


def _response_fields(destination: Destination | None, request_id: str) -> bytes:
    who = _who(destination.head) if destination is not None else b""
    return b"".join((_STATUS_200, _CONTENT_TYPE, who, literal(b"x-request-id", request_id.encode("latin-1"))))


def _error_fields(error: TidegateError) -> bytes:
    message = quote(error.message[:MESSAGE_BYTES_MAX], safe=_PRINTABLE).encode()[: 2 * MESSAGE_BYTES_MAX]
    fields = literal(b"grpc-status", b"%d" % error.grpc_status) + literal(b"grpc-message", message)
    fields += literal(b"x-tidegate-code", error.code.encode())
    if error.retry_after_s is not None:
        fields += literal(b"grpc-retry-pushback-ms", b"%d" % max(1, round(error.retry_after_s * 1000)))
    return fields


def _framed(message: bytes) -> bytes:
    return b"".join((b"\x00", len(message).to_bytes(4, "big"), message))


def _message(exchange: GrpcExchange, body: bytes) -> bytes:
    """The one message of a unary call's body."""
    if len(body) < _PREFIX_BYTES or int.from_bytes(body[1:_PREFIX_BYTES], "big") != len(body) - _PREFIX_BYTES:
        raise MalformedRequest("the call needs one whole message")
    message = body[_PREFIX_BYTES:]
    if body[0] == 0:
        return message
    encoding = exchange.head.encoding
    if body[0] != 1 or encoding == b"identity":
        raise MalformedRequest("the message is flagged as compressed, but grpc-encoding does not say how")
    return inflate_held(exchange, message, encoding, exchange.engine.limits.body_bytes_max)


# -- calls --------------------


class GrpcExchange(Exchange):
    """One call: the sink of a prediction, or one of the five others, which `simple` answers."""

    __slots__ = ("head", "simple", "stream")

    def __init__(self, engine: Engine, stream: Stream, head: Head, simple: Callable[[bytes], bytes] | None) -> None:
        super().__init__(engine, _NOWHERE, that_matter(head.headers))
        self.stream = stream
        self.head = head
        self.simple = simple

    @property
    def connection(self) -> object:
        """The HTTP/2 connection that carries the stream."""
        return self.stream.connection

    def check_key(self) -> None:
        """Refuse who may not ask before a byte of the message came."""
        access = self.engine.access
        if access.required and self.head.method not in _OPEN_METHODS:
            try:
                access.check(self.headers.get(b"authorization"))
            except TidegateError as error:
                self.refuse(error)

    def complete(self, body: bytes) -> None:
        """All of the request arrived: answer it, or take it to the batcher."""
        try:
            if self.head.wrong:
                raise MalformedRequest(self.head.wrong)
            message = _message(self, body)
            if self.simple is not None:
                self.request_id = new_id()
                self.send(200, None, self.simple(message))
                return
            self.meta = read_infer_request(message)
            self.route = route_of(self.meta.model_name, self.meta.model_version)
        except TidegateError as error:
            self.refuse(error)
        except Exception as error:
            self.refuse(internal(error))
        else:
            infer(self)

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
            if not self.held_bytes and len(body) >= _PREFIX_BYTES:
                self.announce(int.from_bytes(body[1:_PREFIX_BYTES], "big"))
            self.hold(len(body))
        except TidegateError as error:
            self.refuse(error)

    def too_slow(self) -> None:
        """Refuse what does not arrive."""
        timeout_s = self.engine.limits.receive_timeout_s
        self.refuse(DeadlineExceeded(f"the request did not arrive within {timeout_s:g} s"))

    def abandon(self) -> None:
        """Nobody waits any more; what shares a batch with it goes on."""
        if self.call is not None:
            self.call.cancel()
        self.let_go()

    def send(self, status: int, destination: Destination | None, body: bytes) -> None:  # noqa: ARG002 (errors go below)
        """An answer: header fields, one message, status 0."""
        self.let_go()
        self.stream.respond(_response_fields(destination, self.request_id), _framed(body), _OK_TRAILERS)

    def _send_error(self, error: TidegateError, destination: Destination | None) -> None:
        self.request_id = self.request_id or new_id()
        self.let_go()
        fields = _response_fields(destination, self.request_id) + _error_fields(identified(error))
        self.stream.respond_head(fields)


_NOWHERE = Route(EDGE, None)
"""Stands in until the message was read, which names the model."""


class _NotGrpc:
    """A request that is no gRPC was answered at once; nothing of it is taken."""

    def complete(self, body: bytes) -> None:
        """Not reached: its stream is over."""

    def too_large(self, size_bytes: int) -> None:
        """Likewise."""

    def grew(self, body: bytes | bytearray) -> None:
        """Likewise."""

    def too_slow(self) -> None:
        """Likewise."""

    def abandon(self) -> None:
        """Likewise."""


class GrpcConnection(Connection[Head]):
    """One client's connection."""

    def __init__(self, server: GrpcServer) -> None:
        engine = server.engine
        super().__init__(read_head, engine.limits.body_bytes_max + _PREFIX_BYTES, engine.clock, server.share)
        self._server = server
        self.trusted = not engine.access.required

    def open_request(self, stream: Stream, head: Head) -> Request:
        """By its method."""
        if head.method is None:
            stream.respond_head(_NOT_GRPC)
            return _NotGrpc()
        exchange = GrpcExchange(self._server.engine, stream, head, self._server.simple(head.method))
        exchange.check_key()
        return exchange

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be known to the sweeper."""
        self._server.connections.add(self)
        super().connection_made(transport)
        if len(self._server.connections) > self._server.engine.limits.connections_max:
            self.transport.abort()  # which a gRPC client takes for UNAVAILABLE

    def connection_lost(self, exc: Exception | None) -> None:
        """Be forgotten."""
        self._server.connections.discard(self)
        super().connection_lost(exc)


class GrpcServer:
    """The service of one process. `is_ready` answers ServerReady."""

    def __init__(self, engine: Engine, is_ready: Callable[[], bool]) -> None:
        self.engine = engine
        self.connections: set[GrpcConnection] = set()
        self.share = Share()
        self._is_ready = is_ready
        self._listener: asyncio.Server | None = None
        self._simple = {
            "ServerLive": lambda _: write_flag(True),
            "ServerReady": lambda _: write_flag(self._is_ready()),
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: write_server_metadata("tidegate", __version__, EXTENSIONS),
            "ModelMetadata": self._model_metadata,
        }

    def simple(self, method: str) -> Callable[[bytes], bytes] | None:
        """What answers a method; None for ModelInfer."""
        if method == "ModelInfer":
            return None
        return self._simple.get(method) or _unknown(method)

    async def start(self, sock: socket.socket, backlog: int) -> None:
        """Serve on a bound socket."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: GrpcConnection(self), sock=sock, backlog=backlog)

    def sweep(self, now_s: float) -> None:
        """Let every connection look at its clock."""
        self.share.sweep()
        limits = self.engine.limits
        for connection in list(self.connections):
            connection.sweep(now_s, limits.receive_timeout_s, limits.idle_timeout_s)

    def drain(self) -> None:
        """Take no further request; what is here is still answered."""
        if self._listener is not None:
            self._listener.close()
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
        return write_flag(bool(destination_of(service, version or None).batcher.target_ids))

    def _model_metadata(self, message: bytes) -> bytes:
        name, version = read_name_and_version(message)
        service = find_service(self.engine.directory, name)
        return write_model_metadata(metadata(service, destination_of(service, version or None)))


_STOP_POLL_S = 0.02


def _unknown(method: str) -> Callable[[bytes], bytes]:
    def refuse(_: bytes) -> bytes:
        raise MethodNotAllowed(
            f"this server has no method {method!r}; it has those of inference.GRPCInferenceService "
            "for liveness, readiness, metadata and ModelInfer"
        )

    return refuse
