"""What a client without a key may take of the control plane's API: a connection for a while, and no more."""

from __future__ import annotations

import asyncio
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from support.wait import free_ports, until
from tidegate.api.guard import PRINCIPAL
from tidegate.control import bounded_http
from tidegate.control.bounded_http import HEAD_BYTES_MAX, Waiting
from tidegate.control.descriptors import CONNECTIONS_MAX, CONNECTIONS_MIN, RESERVED, connections_max

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n"
KEY = b"authorization: k\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\ny\r\n"
Connect = Callable[[], socket.socket]


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body's length; `/refused` before any of it came. Every key is good."""
    headers = dict(scope["headers"])
    scope[PRINCIPAL] = headers.get(b"authorization", b"").decode()
    if scope["path"] == "/endless":
        await _endless(receive, send)
        return
    if scope["path"] == "/refused":
        response: Response = PlainTextResponse("no", 401)
    else:
        body = await Request(scope, receive).body()
        response = PlainTextResponse(str(len(body)), headers={"x-headers": str(len(scope["headers"]))})
    await response(scope, receive, send)


OPEN: set[asyncio.Future[None]] = set()
"""Endless answers that are under way."""


async def _endless(receive: Receive, send: Send) -> None:
    """An answer that goes on until its client has left."""
    gone = asyncio.ensure_future(_left(receive))
    OPEN.add(gone)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while not gone.done():
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0)
    OPEN.remove(gone)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@contextmanager
def _server(connections: int) -> Iterator[Connect]:
    (port,) = free_ports(1)
    config = uvicorn.Config(
        _app, port=port, lifespan="off", http=Waiting(connections).protocol(), log_config=None, timeout_keep_alive=60
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, what="the server")
    with ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))

        yield connect
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_WITHIN_S", 0.5)
    monkeypatch.setattr(bounded_http, "BODY_PAUSE_S", 0.5)


def _is_cut(one: socket.socket) -> bool:
    """Whether the server ends the connection by itself, within the socket's timeout."""
    try:
        while one.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


def _refused(one: socket.socket) -> bytes:
    """What is said to a connection that has asked nothing yet."""
    one.settimeout(0.5)
    try:
        return one.recv(1 << 16)
    except OSError:
        return b""


def _asked(one: socket.socket, request: bytes = GET) -> bytes:
    one.sendall(request)
    return one.recv(1 << 16)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        GET[:-2] + b"x-more: 1\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf",
        b"POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf",
        GET,
        GET + b"GET / HT",
    ],
)
def test_a_client_that_does_not_go_on_is_cut(sent: bytes) -> None:
    with _server(10) as connect:
        one = connect()
        one.sendall(sent)
        assert _is_cut(one)


def test_a_head_that_drips_is_cut_and_a_body_that_drips_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_WITHIN_S", 0.5)
    with _server(10) as connect:
        slow, steady = connect(), connect()
        steady.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
        cut, sent = threading.Event(), 0

        def wait() -> None:
            _is_cut(slow)
            cut.set()

        threading.Thread(target=wait, daemon=True).start()
        while not cut.wait(0.05):
            steady.sendall(b"y")
            sent += 1
            assert sent < 1000
            with suppress(OSError):
                slow.sendall(b"G")
        steady.sendall(b"y" * (1000 - sent))
        assert steady.recv(1 << 16).endswith(b"1000")


def test_a_head_without_an_end_is_refused() -> None:
    with _server(10) as connect:
        one = connect()
        one.sendall(GET[:-2] + b"x: " + b"a" * HEAD_BYTES_MAX)
        assert b" 413 " in one.recv(1 << 16)
        assert _is_cut(one)


def test_where_all_places_are_taken_the_one_that_owes_a_head_longest_gives_way() -> None:
    with _server(3) as connect:
        silent = connect()
        kept = connect()
        assert _asked(kept).endswith(b"0")
        connect().sendall(b"GET")
        fresh = connect()
        assert _is_cut(silent)
        assert _asked(fresh).endswith(b"0")
        assert _asked(kept).endswith(b"0")


def _held(connect: Connect, head: bytes) -> socket.socket:
    """A connection in the middle of a body that the application waits for."""
    one = connect()
    one.sendall(head + b"a")
    assert b" 100 " in one.recv(1 << 16)
    return one


def test_where_all_are_being_answered_the_new_one_is_told() -> None:
    with _server(2) as connect:
        held = [_held(connect, POST + KEY), _held(connect, POST + KEY)]
        answer = until(lambda: _refused(connect()), what="a refusal")
        assert b" 503 " in answer
        assert b"out_of_resources" in answer
        for one in held:
            one.sendall(b"b")
            assert one.recv(1 << 16).endswith(b"2")


def test_who_has_shown_no_key_gives_way_first_whatever_it_does() -> None:
    with _server(3) as connect:
        idle = connect()
        assert _asked(idle, GET[:-2] + KEY).endswith(b"0")
        keyless, keyed = _held(connect, POST + b"\r\n"), _held(connect, POST + KEY)
        fresh = connect()
        assert _is_cut(keyless)
        assert _asked(fresh, GET[:-2] + KEY).endswith(b"0")
        assert _asked(idle).endswith(b"0")
        keyed.sendall(b"b")
        assert keyed.recv(1 << 16).endswith(b"2")


def test_a_crowd_without_a_key_keeps_nobody_out() -> None:
    with _server(8) as connect:
        crowd = [_held(connect, POST + b"\r\n") for _ in range(8)]
        for one in crowd:
            assert _asked(connect(), GET[:-2] + KEY).endswith(b"0")
            assert _is_cut(one)


def test_a_body_that_drips_comes_to_an_end_and_one_that_flows_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "BODY_WITHIN_S", 0.5)
    monkeypatch.setattr(bounded_http, "BODY_BYTES_PER_S_MIN", 100)
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    with _server(10) as connect:
        drips, flows = connect(), connect()
        drips.sendall(head)
        flows.sendall(head)
        cut, sent = threading.Event(), 0

        def wait() -> None:
            _is_cut(drips)
            cut.set()

        threading.Thread(target=wait, daemon=True).start()
        while not cut.wait(0.05):
            flows.sendall(b"y" * 100)
            sent += 100
            assert sent < 100_000
            with suppress(OSError):
                drips.sendall(b"y")
        flows.sendall(b"y" * (100_000 - sent))
        assert flows.recv(1 << 16).endswith(b"100000")


@pytest.mark.parametrize(
    "endless",
    [
        CHUNKED + b"0\r\n" + b"x: a\r\n" * (HEAD_BYTES_MAX // 2),
        CHUNKED + b"0\r\nx: " + b"a" * (HEAD_BYTES_MAX * 4),
        CHUNKED + b"1;" + b"a" * (HEAD_BYTES_MAX * 4),
    ],
    ids=["trailers", "a trailer", "a chunk's extension"],
)
def test_what_follows_a_body_has_the_bound_of_a_head(endless: bytes) -> None:
    with _server(10) as connect:
        one = connect()
        with suppress(ConnectionError):
            one.sendall(endless)
            assert b" 413 " in one.recv(1 << 16)
        assert _is_cut(one)


def test_what_is_said_to_a_large_head_is_not_taken_for_the_answer_before() -> None:
    with _server(10) as connect:
        one = _held(connect, POST + KEY)
        one.sendall(b"b" + GET + GET[:-2] + b"x: " + b"a" * (HEAD_BYTES_MAX * 4))
        said = b""
        with suppress(ConnectionError):
            while piece := one.recv(1 << 16):
                said += piece
        assert not said.startswith(b"HTTP/1.1 413")


def test_trailers_are_no_headers() -> None:
    with _server(10) as connect:
        one = connect()
        answer = _asked(one, CHUNKED + b"0\r\nauthorization: k\r\n\r\n")
        assert b"x-headers: 2\r\n" in answer
        assert answer.endswith(b"1")
        assert _asked(one).endswith(b"0")


@pytest.mark.parametrize(
    ("limit", "connections"),
    [
        (64, CONNECTIONS_MIN),
        (RESERVED + 100, 100),
        (1024, CONNECTIONS_MAX),
        (4096, CONNECTIONS_MAX),
        (resource.RLIM_INFINITY, CONNECTIONS_MAX),
    ],
)
def test_clients_leave_room_for_the_platforms_own_work(limit: int, connections: int) -> None:
    assert connections_max(limit) == connections


def test_a_client_that_takes_nothing_of_its_answer_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "UNREAD_S", 0.5)
    with _server(4) as connect:
        idle, reading = connect(), connect()
        for one in (idle, reading):
            one.sendall(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n")
        until(lambda: len(OPEN) == 2 or len(reading.recv(1 << 20)) == 0, what="both answers")
        until(lambda: len(reading.recv(1 << 20)) > 0 and len(OPEN) == 1, what="the end of the one that nobody reads")
        reading.close()
        until(lambda: not OPEN, what="the end of the other")
