"""The hot HTTP path: from the parser's callback into the batch, and from the batch to the socket, no task in between.

`HotProtocol` is uvicorn's httptools protocol with a short cut for POSTs on prediction paths. Everything else on the
connection (other routes, limits, upgrades, shutdown) stays uvicorn's work. It leans on private parts of that class, so
uvicorn's version is pinned (docs/decisions/0003-hot-path.md).

Requests of one connection are answered one after the other, in order; a pipelined one waits its turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tidegate.dataplane.http.hot_exchange import HotExchange, last_response
from tidegate.dataplane.http.known_heads import KnownHead
from tidegate.dataplane.http.refusals import HEAD_BYTES_MAX, OneTooMany, TooSlow, head_too_large, unparsed
from tidegate.dataplane.http.routes import RouteTable
from tidegate.dataplane.http.upgrades import without_upgrade
from tidegate.dataplane.pipeline.infer import InferenceEngine, that_matter
from tidegate.errors import MalformedRequest, TidegateError
from tidegate.request_head import head_fault

LINGER_S = 2.0
"""How long what a client still sends is thrown away after it was told that its request is too large."""
LAST_REQUEST_S, RECENT_S = 1.0, 5.0
"""How long a server that ends waits for one more request on a connection, if it answered one there so lately."""
RETRY_AFTER_S = 1.0
SURPLUS_MAX = 256
"""Connections past the bound that are told why they are refused; any more are cut off without a word."""


class HotProtocol(HttpToolsProtocol):
    """One connection. `hot` is the exchange whose body is being received, None for a cold request."""

    # With uvicorn's own it has more attributes than Python keeps compact in one object: those used for every request
    # have slots, and with them a request touches a third of the memory.
    __slots__ = (
        "_advancing",
        "_bodiless_bytes",
        "_broken",
        "_head",
        "_head_source",
        "_turn",
        "_unread_since_s",
        "cycle",
        "discarding",
        "engine",
        "flow",
        "hot",
        "idle_since_s",
        "pipeline",
        "receiving_since_s",
        "routes",
        "server_state",
        "transport",
    )

    cycle: Any  # uvicorn's RequestResponseCycle, a HotExchange, or None
    pipeline: deque[tuple[Any, Any]]  # also holds hot exchanges

    def __init__(
        self,
        engine: InferenceEngine,
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
        self._bodiless_bytes = 0  # since the last byte of a body, or the end of a request
        self._unread_since_s: float | None = None
        self._advancing = False
        self._turn: Any = None  # the request that is being answered, or was last
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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Be known to uvicorn; one connection too many is told so when it asks for something, and soon closed."""
        super().connection_made(transport)
        over = len(self.connections) - self.engine.limits.connections_max
        if over > SURPLUS_MAX:
            transport.abort()
        elif over > 0:
            self._broken = OneTooMany(
                f"this server has {self.engine.limits.connections_max} connections already: try again later",
                retry_after_s=RETRY_AFTER_S,
            )
            self.loop.call_later(LINGER_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel what is being computed for this client, then let uvicorn clean up."""
        for cycle in (self._turn, self.cycle, self.hot, *(waiting for waiting, _ in self.pipeline)):
            if cycle is None or cycle.response_complete:
                continue
            if isinstance(cycle, HotExchange):
                cycle.abandon()
            else:
                cycle.disconnected = True  # uvicorn tells only the one that came last
                cycle.message_event.set()
        if isinstance(self.cycle, HotExchange):
            self.cycle = None
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """A client that has said all may still wait for its answer; one that breaks off in a request is told so."""
        if self.receiving_since_s is not None and not self.discarding:
            self._break(MalformedRequest("the request ends early: the client closed its side before all of it came"))
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            return True
        return None

    def data_received(self, data: bytes) -> None:
        """Feed the parser. What does not parse is answered after the requests before it."""
        if self.discarding or self._broken is not None:
            if isinstance(self._broken, OneTooMany) and not self.discarding:
                self.discarding = True  # the answer is read before the connection is closed, which the timer does
                self.transport.write(last_response(self._broken, self.default_head()))
            return
        fresh = self.between_requests
        if fresh and (known := self.routes.heads.find(data)) is not None:
            self._answer_known(known, data)
            return
        if fresh and self.hot is not None:  # the one before: the parser skips empty lines, and they are no part of it
            self.hot, self._bodiless_bytes = None, 0  # a known one leaves the count as it was
        self._unset_keepalive_if_required()
        self._bodiless_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._broken is None:
                self._ignore_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            self._break(unparsed(error))
        if self._bodiless_bytes > HEAD_BYTES_MAX and not self.discarding:
            self._break(head_too_large())
        exchange = self.hot
        if fresh and exchange is not None and exchange.received and exchange.keep_alive and exchange.refusal is None:
            self.routes.heads.learn(data, exchange.route, exchange.headers)

    def _answer_known(self, known: KnownHead, data: bytes) -> None:
        """A whole request whose head was parsed before goes straight to where the parser would bring it."""
        exchange = HotExchange(self.engine, known.route, known.headers, self, keep_alive=not self.engine.draining)
        exchange.current = exchange.received = True
        self.hot = self.cycle = self._turn = exchange
        exchange.body = data[known.body_at :]
        if self.engine.access.required:
            exchange.ask_for_key()
        if exchange.refusal is None:
            exchange.start()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read a request that offers another protocol (Java's client does) as if it did not: there is none here.

        The parser takes such a request for one without a body, and would read its body as the next request.
        """
        first = b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        head = b"\r\n".join((first, *without_upgrade(self.headers)))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._bodiless_bytes = 0
        self.data_received(head + b"\r\n\r\n" + rest)

    def _break(self, error: TidegateError) -> None:
        """Stop reading; say so once the requests before this one are answered."""
        if self._broken is not None:
            return
        self.receiving_since_s = None
        self._broken = error
        if self.hot is not None and not self.hot.received:
            self.hot.cut_off(error)
        cycle = self.cycle
        if cycle is None or cycle.response_complete or (_is_cut(cycle) and not self.pipeline):
            self._send_broken()

    def _send_broken(self) -> None:
        """Answer what could not be read, and close: nothing after it can be trusted to be a request."""
        error, cycle = self._broken or MalformedRequest(), self.cycle
        if cycle is not None and not isinstance(cycle, HotExchange) and not cycle.response_complete:
            cycle.disconnected = True  # the application waits for a body that will never be whole
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
        if not self.transport.is_closing():
            self.transport.write(last_response(error, self.default_head()))
            self.transport.close()

    def pause_writing(self) -> None:
        """The client does not read its answers: read nothing of it either, so that what waits for it is bounded."""
        super().pause_writing()
        self._unread_since_s = self.engine.clock()
        self.flow.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again: resume writing."""
        super().resume_writing()
        self._unread_since_s = None
        if not self.transport.is_closing():
            self._advance()

    # -- the parser's callbacks ------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request; the ASGI scope is made only if the request turns out to be a cold one."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self.hot = None
        self.receiving_since_s = self.engine.clock()

    def on_headers_complete(self) -> None:
        """Choose the hot path or uvicorn's for this request, and refuse a head that is malformed."""
        parser = self.parser
        unusual = self._bodiless_bytes > HEAD_BYTES_MAX or parser.should_upgrade() or self._broken is not None
        if unusual and not self._may_be_answered():
            return
        if (fault := head_fault(parser.get_http_version(), self.headers)) is not None:
            self._break(MalformedRequest(fault))
            return
        route = self.routes.find(self.url) if parser.get_method() == b"POST" else None
        if route is None or self.expect_100_continue:
            self._cold()
            return
        previous = self.cycle
        lasts = parser.should_keep_alive() and parser.get_http_version() != "1.0"
        keep_alive = lasts and not self.engine.draining
        exchange = HotExchange(self.engine, route, that_matter(self.headers), self, keep_alive=keep_alive)
        self.hot = exchange
        self.cycle = exchange
        if (previous is None or previous.response_complete) and not self.flow.write_paused:
            exchange.current = True
            self._turn = exchange
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, None))
        if self.engine.access.required:
            exchange.ask_for_key()
        if b"content-length" in exchange.headers:
            exchange.expect(exchange.headers[b"content-length"])

    def _may_be_answered(self) -> bool:
        """False for a request whose head is refused, or will be read again (`_ignore_upgrade`)."""
        if self._bodiless_bytes > HEAD_BYTES_MAX:
            if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
                self._break(head_too_large())
        elif self.parser.get_method() == b"CONNECT":
            self._break(MalformedRequest("this server is no proxy: it does not take CONNECT"))
        return self._broken is None and not self.parser.should_upgrade()

    def _cold(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.scope["headers"], self.headers = headers, []  # where trailers go, and nobody looks
        try:
            super().on_headers_complete()
            if self.engine.draining:
                self.cycle.keep_alive = False
        except httptools.HttpParserInvalidURLError:
            self._break(MalformedRequest("the request's path is not one"))

    def on_body(self, body: bytes) -> None:
        """Collect a piece of the body."""
        self._bodiless_bytes = 0
        if self.hot is not None:
            if not self.hot.response_complete:
                self.hot.feed(body)
        elif self._broken is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is all there: go, unless an earlier one of this connection is not answered yet."""
        self._bodiless_bytes = 0
        self.receiving_since_s = None
        exchange = self.hot
        if exchange is None:
            if self._broken is None and not self.parser.should_upgrade():
                super().on_message_complete()
        elif not exchange.response_complete:
            exchange.received = True
            if exchange.current:
                exchange.start()

    # -- responses -------------------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Start a request once those before it are answered; uvicorn calls this for pipelined ones too."""
        if self._broken is not None and _is_cut(cycle):
            self._send_broken()
            return
        self._turn = cycle
        if not isinstance(cycle, HotExchange):
            super()._start_asgi_task(cycle, app)
            return
        cycle.current = True
        if cycle.received or cycle.refusal is not None:
            cycle.start()

    def on_response_complete(self) -> None:
        """As uvicorn's, but without a timer per response: the sweeper closes idle connections."""
        self.server_state.total_requests += 1
        self.idle_since_s = self.engine.clock()
        if self._advancing or self.transport.is_closing():
            return
        if self.pipeline or self.flow.write_paused or self.flow.read_paused or self._broken is not None:
            self._advance()

    @property
    def between_requests(self) -> bool:
        """Whether all that came is answered, and what comes next is the beginning of a request that may be answered."""
        return (
            self._is_free()
            and self.receiving_since_s is None
            and self._broken is None
            and not (self.pipeline or self.discarding or self.flow.write_paused or self.transport.is_closing())
        )

    def _is_free(self) -> bool:
        return self._turn is None or self._turn.response_complete

    def _advance(self) -> None:
        """Answer what is pipelined, as far as the client reads answers; read on once all of it had its turn.

        A loop, for an answer may be ready at once: a call from there to here for each would overflow the stack.
        """
        self._advancing = True
        while self.pipeline and not self.flow.write_paused and self._is_free():
            self._start_asgi_task(*self.pipeline.pop())
        self._advancing = False
        if self.pipeline or self.flow.write_paused:
            return
        if self._broken is not None:
            if self._is_free():
                self._send_broken()
        elif self.flow.read_paused:
            self.flow.resume_reading()
            if self.receiving_since_s is not None:
                self.receiving_since_s = self.engine.clock()

    def refuse_body(self, exchange: HotExchange, error: TidegateError) -> None:
        """Answer while the body is still arriving, throw the rest away for a while, then close."""
        exchange.keep_alive = False
        self.discarding = True
        self.receiving_since_s = None
        exchange.refuse_unread(error)
        self.loop.call_later(LINGER_S, self.transport.close)

    def shutdown(self) -> None:
        """The server ends. A client of a kept connection may be sending its next request just now: it is answered."""
        is_remote = bool(self.transport.get_extra_info("peername"))  # of a Unix socket the client is a gateway
        used_lately = self._turn is not None and self.engine.clock() - self.idle_since_s < RECENT_S
        if is_remote and used_lately and self.between_requests:
            self.loop.call_later(LAST_REQUEST_S, super().shutdown)
        else:
            super().shutdown()

    def sweep(self, now_s: float) -> None:
        """Close this connection if its client is too slow, or has been silent for too long. Called every second."""
        limits = self.engine.limits
        if self._unread_since_s is not None:
            if now_s - self._unread_since_s > limits.idle_timeout_s:
                self.transport.abort()
        elif self.receiving_since_s is not None and not self.flow.read_paused:
            if now_s - self.receiving_since_s > limits.receive_timeout_s:
                self._break(TooSlow(f"the request did not arrive within {limits.receive_timeout_s:g} s"))
        elif (self._is_free() or self.transport.is_closing()) and now_s - self.idle_since_s > limits.idle_timeout_s:
            if self.transport.is_closing() or self.transport.get_write_buffer_size():
                self.transport.abort()  # closing would wait for a client that does not read
            else:
                self.transport.close()


def _is_cut(cycle: Any) -> bool:
    """Whether a request's body did not arrive whole."""
    return not cycle.received if isinstance(cycle, HotExchange) else cycle.more_body
