"""Heads found by their bytes against the parser: over mutated heads, cut and repeated, the two never differ.

Two connections get the same bytes. One has a table of heads that remembers, the other's remembers nothing.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import hypothesis.strategies as st
import uvicorn
from hypothesis import example, given, settings
from uvicorn.server import ServerState

from tidegate.dataplane.calls.limits import DataplaneLimits
from tidegate.dataplane.http import hot_exchange, protocol
from tidegate.dataplane.http.known_heads import KnownHead, KnownHeads
from tidegate.dataplane.http.protocol import HotProtocol
from tidegate.dataplane.http.routes import RouteTable
from tidegate.dataplane.pipeline.access import Access, key_hash
from tidegate.dataplane.pipeline.infer import Exchange, InferenceEngine

HEAD_BYTES_MAX = 256
"""Of the servers here: heads that are larger occur, and so do that many empty lines between requests."""
TURNS = 8
"""Turns of the event loop in which the ASGI application below answers, if it can."""


class NoHeads(KnownHeads):
    """Remembers no head, so that every request is parsed."""

    def find(self, data: bytes) -> KnownHead | None:
        return None


class Counted(KnownHeads):
    """Counts what it finds: a test in which nothing is found shows nothing."""

    found = 0

    def find(self, data: bytes) -> KnownHead | None:
        known = super().find(data)
        self.found += known is not None
        return known


class Wire(asyncio.Transport):
    """Where a connection writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Nothing:
    """A directory of no endpoints."""

    def services(self) -> dict[str, Any]:
        return {}

    def only(self) -> None:
        return None


@dataclass
class Server:
    """A server of one connection at a time. `asked`: what its predictions asked; `waiting`: those not answered."""

    heads: KnownHeads
    requires_key: bool
    asked: list[Any] = field(default_factory=list)
    waiting: list[Exchange] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.routes = RouteTable()
        self.routes.heads = self.heads
        access = Access(frozenset({key_hash("right")}), required=self.requires_key)
        limits, nothing = DataplaneLimits(body_bytes_max=60), Nothing()
        self.engine = InferenceEngine(nothing, limits, nothing, access, lambda: 0.0)  # type: ignore[arg-type]
        self.state = ServerState()

    def connect(self) -> None:
        config = uvicorn.Config(_echo, ws="none", lifespan="off", log_config=None, access_log=False)
        self.wire = Wire()
        self.connection = HotProtocol(self.engine, self.routes, config, self.state, {})
        self.connection.connection_made(self.wire)

    def infer(self, exchange: Exchange) -> None:
        """In the place of all that follows on the hot path: say what was asked."""
        route = exchange.route
        asked = type(route.edge).__name__, route.name, route.version, dict(exchange.headers), bytes(exchange.body)
        self.asked.append((asked, exchange.keep_alive))  # type: ignore[attr-defined]
        self.waiting.append(exchange)

    async def take(self, data: bytes, *, answers: bool) -> Any:
        """Have it read these bytes. Returns all that can be seen of it afterwards."""
        connection = self.connection
        with (
            patch.object(hot_exchange, "infer", self.infer),
            patch.object(hot_exchange, "start", lambda exchange, _: self.infer(exchange)),
            patch.object(hot_exchange, "new_id", lambda: "made"),
            patch.object(Exchange, "take_id", _take_no_id),
            patch.object(protocol, "HEAD_BYTES_MAX", HEAD_BYTES_MAX),
        ):
            connection.data_received(data)
            await _turns()
            while answers and self.waiting:
                exchange = self.waiting.pop(0)
                exchange.request_id = "answered"
                exchange.send(200, None, b"{}")
                await _turns()
        state = connection.between_requests, connection.discarding, connection.receiving_since_s is None
        asked, self.asked = self.asked, []
        written, self.wire.written = bytes(self.wire.written), bytearray()
        return asked, written, self.wire.closed, state

    async def lose(self) -> None:
        self.waiting.clear()
        self.connection.connection_lost(None)
        await _turns()


def _take_no_id(exchange: Exchange) -> None:
    exchange.request_id = "refused"


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    """Everything that is no prediction on the hot path: answers with what it was asked."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    said = repr((scope["method"], scope["path"], scope["headers"], body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
    await send({"type": "http.response.body", "body": said})


# -- what is sent ------------------------------------------------------------------------------------------------------

PATHS = ["/predict", "/predict/a", "/predict/%61?x=1", "/v2/models/a/versions/2/infer", "/v1/models/a:predict"]
BODIES = [b"", b"{}", b"\r\n\r\n", b"0\r\n\r\n", b"[1, 2, 3]", b"x" * 59]
USUAL = [
    b"x-request-id: one",
    b"X-Request-ID:two",
    b"content-type: application/json",
    b"connection: keep-alive",
    b"content-encoding: gzip",
    b"folded: a\r\n b",
]
UNUSUAL = [
    b"authorization: Bearer wrong",
    b"connection: close",
    b"connection: Upgrade\r\nupgrade: h2c",
    b"host: again",
    b"expect: 100-continue",
    b"transfer-encoding: chunked",
    b"content-length: 0",
    b"Content-Length: +2",
    b"x: y\n",
    b"x: y\r",
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b"\n\n",
    b" ",
    b"\t",
    b":",
    b",",
    b"\0",
    b"\xe9",
    b"0",
    b"9",
    b"/",
    b"A",
    b"",
]
CHANGES = [
    (b"POST", b"GET"),
    (b"/1.1", b"/1.0"),
    (b"/predict", b"/other"),
    (b"right", b"wrong"),
    (b"length: ", b"length: 0"),
]


@st.composite
def usual(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Head and body of a prediction as most clients send it."""
    body = draw(st.sampled_from(BODIES))
    lines = [b"content-length: %d" % len(body), b"host: t", *draw(st.lists(st.sampled_from(USUAL), max_size=2))]
    if draw(st.booleans()):
        lines.append(b"authorization: Bearer right")
    first = b"POST %b HTTP/1.1" % draw(st.sampled_from(PATHS)).encode()
    return b"\r\n".join([first, *draw(st.permutations(lines))]) + b"\r\n\r\n", body


@st.composite
def changed(draw: st.DrawFn, head: bytes, body: bytes) -> bytes:
    """A request that is nearly the one given."""
    how = draw(st.sampled_from(["bytes", "line", "word", "length", "too long", "more", "more", "less"]))
    if how == "bytes":
        at, length = draw(st.integers(0, len(head))), draw(st.integers(0, 2))
        head = head[:at] + draw(st.sampled_from(PIECES)) + head[at + length :]
    elif how == "line":
        head = head.replace(b"\r\n", b"\r\n" + draw(st.sampled_from(UNUSUAL)) + b"\r\n", 1)
    elif how == "word":
        head = head.replace(*draw(st.sampled_from(CHANGES)))
    elif how == "too long":
        body = b"x" * draw(st.sampled_from([60, 61]))
        head = re.sub(rb"content-length: \d+", b"content-length: %d" % len(body), head)
    elif how == "more":
        body += draw(st.sampled_from([b"\r\n", b"\n", b"P", head + body]))
    elif how == "less":
        body = body[:-1]
    else:
        head = head.replace(b"content-length: ", b"content-length: 1")
    return head + body


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[bytes, bool]]:
    """What comes on a connection, piece by piece, and whether what was asked is answered after it."""
    head, body = draw(usual())
    other = draw(usual())
    pool = [head + body, head + body, b"".join(other), draw(changed(head, body)), draw(changed(*other)), b"\r\n"]
    sent = [(head + body, True)]
    for request in draw(st.lists(st.sampled_from(pool), min_size=3, max_size=10)):
        answers = draw(st.sampled_from([True] * 5 + [False]))
        at = draw(st.integers(0, len(request))) if draw(st.sampled_from([False] * 5 + [True])) else 0
        sent += [(request[:at], True), (request[at:], answers)] if at else [(request, answers)]
    return sent


PLAIN = b"POST /predict HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\n\r\n{}"


def test_a_head_that_is_known_is_read_as_the_parser_reads_it() -> None:
    found = 0

    @settings(deadline=None, max_examples=300)
    @given(conversations(), st.booleans(), st.integers(1, 20))
    @example([(PLAIN, True), (b"\r\n", True)] * HEAD_BYTES_MAX, False, 0)
    def holds(sent: list[tuple[bytes, bool]], requires_key: bool, revoked_after: int) -> None:
        nonlocal found
        heads = Counted()
        asyncio.run(_both(sent, Server(heads, requires_key), Server(NoHeads(), requires_key), revoked_after))
        found += heads.found

    holds()
    assert found > 2 * HEAD_BYTES_MAX, "where few heads are found, little is compared"


async def _both(sent: list[tuple[bytes, bool]], known: Server, parsed: Server, revoked_after: int) -> None:
    servers = known, parsed
    for server in servers:
        server.connect()
    for number, (data, answers) in enumerate(sent):
        if number == revoked_after:
            for server in servers:
                server.engine.access.replace_hashes(frozenset())
        assert await known.take(data, answers=answers) == await parsed.take(data, answers=answers)
        if parsed.wire.closed or parsed.connection.discarding:
            for server in servers:
                await server.lose()
                server.connect()
    for server in servers:
        await server.lose()
