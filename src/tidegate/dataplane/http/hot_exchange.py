"""A prediction on the hot path: its body as it comes, and its answer in one write. Made by `HotProtocol` alone."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Protocol

from tidegate.dataplane.base.cooperative_scheduler import LARGE_BYTES_MIN
from tidegate.dataplane.base.incidents import new_id
from tidegate.dataplane.calls.call import Destination
from tidegate.dataplane.pipeline.assignment import tell_refused
from tidegate.dataplane.pipeline.infer import (
    Exchange,
    InferenceEngine,
    PredictionRoute,
    encode_error,
    infer,
    response_head,
)
from tidegate.dataplane.protocols.pieces import start
from tidegate.errors import TidegateError

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class HttpConnection(Protocol):
    """The HTTP connection that a prediction came on."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    discarding: bool

    def default_head(self) -> bytes:
        """The headers that all of its answers have."""

    def refuse_body(self, exchange: HotExchange, error: TidegateError) -> None:
        """Answer before all of the body came, and read no more of it than it takes to say so."""

    def on_response_complete(self) -> None:
        """The answer is written: go on to what came after it."""


class HotExchange(Exchange):
    """A prediction on the hot path. Has the attributes that uvicorn's protocol asks of its request cycles."""

    __slots__ = (
        "current",
        "disconnected",
        "keep_alive",
        "message_event",
        "protocol",
        "received",
        "refusal",
        "response_complete",
    )

    admitted = True

    def __init__(
        self,
        engine: InferenceEngine,
        route: PredictionRoute,
        headers: dict[bytes, bytes],
        protocol: HttpConnection,
        *,
        keep_alive: bool,
    ) -> None:
        super().__init__(engine, route, headers)
        self.protocol = protocol
        self.keep_alive = keep_alive
        self.current = self.received = self.response_complete = self.disconnected = False
        self.refusal: TidegateError | None = None

    @property
    def connection(self) -> object:
        """The connection's protocol."""
        return self.protocol

    @property
    def is_wanted(self) -> bool:
        """Whether the client is still connected."""
        return not self.disconnected

    def ask_for_key(self) -> None:
        """Refuse a request without a key in force before its body comes."""
        try:
            self.admit()
        except TidegateError as error:
            self.refuse_body(error)

    def expect(self, length: bytes) -> None:
        """The client says how long the body is: whether it will be taken is known before a byte of it came."""
        if self.refusal is None and length.isdigit() and int(length) > self.engine.buffered.free_bytes:
            try:
                self.announce(int(length))
            except TidegateError as error:
                self.refuse_body(error)

    def feed(self, data: bytes) -> None:
        """Take a piece of the body; refuse one that is too much for this server."""
        if self.refusal is not None:
            return
        if not self.body and len(data) <= self.engine.buffered.free_bytes:
            self.body = data  # nearly always the whole of it
            return
        try:
            self.collect(data)
        except TidegateError as error:
            self.refuse_body(error)

    def refuse_body(self, error: TidegateError) -> None:
        """Answer so at once, or when this request's turn has come; read no more of it."""
        self.refusal = error
        self.body = b""
        self.let_go()
        if self.current:
            self.protocol.refuse_body(self, error)

    def cut_off(self, error: TidegateError) -> None:
        """Its body will not be read to the end, and the connection says so: what has come of it is let go."""
        self.let_go()
        if self.refusal is None:
            self.take_id()
            tell_refused(self, error)

    def start(self) -> None:
        """The body is complete and it is this request's turn."""
        if self.refusal is not None:
            self.protocol.refuse_body(self, self.refusal)
        elif len(self.body) >= LARGE_BYTES_MIN or b"content-encoding" in self.headers:
            start(self, self.protocol.loop)
        else:
            infer(self)

    def send(self, status: int, destination: Destination | None, body: bytes) -> None:
        """One write: status line, the server's own headers, ours, body."""
        if self.held_bytes:
            self.let_go()
        if self.disconnected or self.response_complete:
            return
        protocol = self.protocol
        close = b"" if self.keep_alive else b"connection: close\r\n"
        head = response_head(self, destination, len(body))
        if len(body) < LARGE_BYTES_MIN:
            protocol.transport.write(b"".join((STATUS_LINES[status], protocol.default_head(), close, head, body)))
        else:  # without a copy of it
            head = b"".join((STATUS_LINES[status], protocol.default_head(), close, head))
            protocol.transport.writelines((head, body))
        self.response_complete = True
        if not self.keep_alive and not protocol.discarding:
            protocol.transport.close()
        protocol.on_response_complete()

    def abandon(self) -> None:
        """Cancel the request: its client has disconnected."""
        self.disconnected = True
        self.engine.abandon(self.call)
        self.let_go()
        self.body = b""


def last_response(error: TidegateError, server_head: bytes) -> bytes:
    """What a connection is told before it is closed, where no request could be read; with the server's own headers."""
    body = encode_error(error)
    head = b"x-request-id: %b\r\nconnection: close\r\n" % new_id().encode()
    if error.retry_after_s is not None:
        head += b"retry-after: %d\r\n" % max(1, round(error.retry_after_s))
    head += b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return STATUS_LINES[error.http_status] + server_head + head + body
