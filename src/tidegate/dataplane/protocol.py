"""The hot HTTP path: from the parser's callback into the batch, and from the batch to the socket, no task in between.

`HotProtocol` is uvicorn's httptools protocol with a short cut for POSTs on prediction paths. Everything else on the
connection (other routes, limits, upgrades, shutdown) stays uvicorn's work. It leans on private parts of that class, so
uvicorn's version is pinned (docs/decisions/0003-hot-path.md).

Requests of one connection are answered one after the other, in order; a pipelined one waits its turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tidegate.dataplane.destination import Destination
from tidegate.dataplane.infer import Engine, Exchange, Route, encode_error, infer, new_id, response_head
from tidegate.dataplane.routes import RouteTable
from tidegate.errors import MalformedRequest, TidegateError, TooLarge

LINGER_S = 2.0
"""How long what a client still sends is thrown away after it was told that its request is too large."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class HotExchange(Exchange):
    """A prediction on the hot path. Has the attributes that uvicorn's protocol asks of its request cycles."""

    __slots__ = (
        "current",
        "disconnected",
        "keep_alive",
        "message_event",
        "protocol",
        "received",
        "response_complete",
        "too_large",
    )

    def __init__(self, engine: Engine, route: Route, protocol: HotProtocol) -> None:
        super().__init__(engine, route, protocol.headers)
        self.protocol = protocol
        self.keep_alive = protocol.parser.should_keep_alive() and protocol.parser.get_http_version() != "1.0"
        self.current = False
        self.received = False
        self.response_complete = False
        self.disconnected = False
        self.too_large = False

    def announce(self, length: bytes) -> None:
        """The client says how long the body is: too long is known before a byte of it came."""
        if length.isdigit() and int(length) > self.engine.limits.body_bytes_max:
            self.refuse_body()

    def feed(self, data: bytes) -> None:
        """Take a piece of the body; refuse once it is larger than the server takes."""
        if self.too_large:
            return
        if not self.body:
            self.body = data
        else:
            if type(self.body) is bytes:
                self.body = bytearray(self.body)
            self.body += data
        if len(self.body) > self.engine.limits.body_bytes_max:
            self.refuse_body()

    def refuse_body(self) -> None:
        """Answer 413 at once, or when this request's turn has come."""
        self.too_large = True
        self.body = b""
        if self.current:
            self.protocol.refuse_body(self)

    def start(self) -> None:
        """The body is complete and it is this request's turn."""
        if self.too_large:
            self.protocol.refuse_body(self)
        else:
            infer(self)

    def send(self, status: int, destination: Destination | None, body: bytes) -> None:
        """One write: status line, the server's own headers, ours, body."""
        if self.disconnected:
            return
        protocol = self.protocol
        close = b"" if self.keep_alive else b"connection: close\r\n"
        head = response_head(self, destination, len(body))
        protocol.transport.write(b"".join((_STATUS_LINES[status], protocol.default_head(), close, head, body)))
        self.response_complete = True
        if not self.keep_alive and not protocol.discarding:
            protocol.transport.close()
        protocol.on_response_complete()

    def abandon(self) -> None:
        """The client went away."""
        self.disconnected = True
        if self.call is not None:
            self.call.cancel()


class HotProtocol(HttpToolsProtocol):
    """One connection. `hot` is the exchange whose body is being received, None for a cold request."""

    cycle: Any  # uvicorn's RequestResponseCycle, a HotExchange, or None
    pipeline: deque[tuple[Any, Any]]  # also holds hot exchanges

    def __init__(
        self,
        engine: Engine,
        routes: RouteTable,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.engine = engine
        self.routes = routes
        self.hot: HotExchange | None = None
        self.receiving_since_s: float | None = None
        self.idle_since_s = engine.clock()
        self.discarding = False
        self._broken: TidegateError | None = None
        self._head_source: list[tuple[bytes, bytes]] = []
        self._head = b""

    def default_head(self) -> bytes:
        """Uvicorn's own headers (`date`), joined once a second."""
        source = self.server_state.default_headers
        if source is not self._head_source:
            self._head_source = source
            self._head = b"".join(b"%b: %b\r\n" % pair for pair in source)
        return self._head

    # -- the connection --------------------------------------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is being computed for this client, then let uvicorn clean up."""
        for cycle in (self.cycle, self.hot, *(waiting for waiting, _ in self.pipeline)):
            if isinstance(cycle, HotExchange) and not cycle.response_complete:
                cycle.abandon()
        if isinstance(self.cycle, HotExchange):
            self.cycle = None
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """A client that has said all may still wait for its answer."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            return True
        return None

    def data_received(self, data: bytes) -> None:
        """Feed the parser. What does not parse is answered after the requests before it."""
        if self.discarding or self._broken is not None:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
        except httptools.HttpParserError as error:
            self._break(MalformedRequest(f"this is no HTTP request: {error}"))

    def _break(self, error: TidegateError) -> None:
        self.receiving_since_s = None
        self._broken = error
        waiting = self.cycle is not None and not self.cycle.response_complete and self.cycle is not self.hot
        if not waiting:
            self._send_broken()

    def _send_broken(self) -> None:
        """Answer what could not be read, and close: nothing after it can be trusted to be a request."""
        error = self._broken or MalformedRequest()
        body = encode_error(error)
        head = (
            b"x-request-id: %b\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
            % (
                new_id().encode(),
                len(body),
            )
        )
        if not self.transport.is_closing():
            self.transport.write(_STATUS_LINES[error.http_status] + self.default_head() + head + body)
            self.transport.close()

    # -- the parser's callbacks ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request; the ASGI scope is made only if the request turns out to be a cold one."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.hot = None
        self.receiving_since_s = self.engine.clock()

    def on_headers_complete(self) -> None:
        """Decide: hot or cold."""
        parser = self.parser
        route = self.routes.find(self.url) if parser.get_method() == b"POST" else None
        if route is None or self.expect_100_continue or parser.should_upgrade():
            self._cold()
            return
        previous = self.cycle
        exchange = self.hot = HotExchange(self.engine, route, self)
        self.cycle = exchange
        if previous is None or previous.response_complete:
            exchange.current = True
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, None))
        if b"content-length" in exchange.headers:
            exchange.announce(exchange.headers[b"content-length"])

    def _cold(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        try:
            super().on_headers_complete()
        except httptools.HttpParserInvalidURLError:
            self._break(MalformedRequest("the request's path is not one"))

    def on_body(self, body: bytes) -> None:
        """Collect."""
        if self.hot is not None:
            if not self.hot.response_complete:
                self.hot.feed(body)
        elif self._broken is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is all there: go, unless an earlier one of this connection is not answered yet."""
        self.receiving_since_s = None
        exchange = self.hot
        if exchange is None:
            if self._broken is None:
                super().on_message_complete()
        elif not exchange.response_complete:
            exchange.received = True
            if exchange.current:
                exchange.start()

    # -- responses -------------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Start a request whose turn it is; uvicorn calls this for pipelined ones too."""
        if not isinstance(cycle, HotExchange):
            super()._start_asgi_task(cycle, app)
            return
        cycle.current = True
        if cycle.received or cycle.too_large:
            cycle.start()

    def on_response_complete(self) -> None:
        """As uvicorn's, but without a timer per response: the sweeper closes idle connections."""
        self.server_state.total_requests += 1
        self.idle_since_s = self.engine.clock()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._broken is not None:
            self._send_broken()

    def refuse_body(self, exchange: HotExchange) -> None:
        """Answer 413 while the body is still arriving, throw the rest away for a while, then close."""
        size_max = self.engine.limits.body_bytes_max
        exchange.keep_alive = False
        exchange.request_id = exchange.request_id or new_id()
        self.discarding = True
        self.receiving_since_s = None
        exchange.refuse(TooLarge(f"the body is larger than the {size_max} bytes this server takes", expected=size_max))
        self.loop.call_later(LINGER_S, self.transport.close)

    def sweep(self, now_s: float) -> None:
        """Close this connection if its client is too slow, or has been silent for too long. Called every second."""
        limits = self.engine.limits
        if self.receiving_since_s is not None:
            if now_s - self.receiving_since_s > limits.receive_timeout_s:
                self._break(_TooSlow(f"the request did not arrive within {limits.receive_timeout_s:g} s"))
        elif (self.cycle is None or self.cycle.response_complete) and now_s - self.idle_since_s > limits.idle_timeout_s:
            self.transport.close()


class _TooSlow(MalformedRequest):
    """The request did not arrive in time."""

    code = "too_slow"

    @property
    def http_status(self) -> int:
        return HTTPStatus.REQUEST_TIMEOUT
