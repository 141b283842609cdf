"""The hot HTTP path and clients that mean harm, or speak HTTP in ways that are rare, against a real server process."""

import json
import resource
import socket
import struct
from collections.abc import Iterator

import psutil
import pytest

from support.http_bytes import Connection, post
from support.linear import running_process, running_server
from support.wait import until

ROW = {"features": [1, 2, 3.5]}
BODY = json.dumps(ROW).encode()
LENGTH = f"content-length: {len(BODY)}"
SLOW = post("/predict", {"features": [111, 0.3, 0]})
UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
MEMORY_MORE_MAX = 64 << 20


class Server:
    """A running server, looked at from outside."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.process = psutil.Process(pid)

    def memory_bytes(self) -> int:
        return int(self.process.memory_info().rss)

    def connections(self) -> int:
        return sum(one.status == psutil.CONN_ESTABLISHED for one in self.process.net_connections("tcp"))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_process() as found:
        yield Server(*found)


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    opened = Connection(server.port)
    yield opened
    opened.close()


def is_well(server: Server) -> bool:
    """Whether another client is answered."""
    neighbour = Connection(server.port)
    try:
        neighbour.send(post("/predict", ROW))
        return neighbour.read().status == 200
    finally:
        neighbour.close()


# -- where one request ends and the next begins --------------------


def head(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: t", *headers, "", ""]).encode()


CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED: dict[str, bytes] = {
    "length and chunks": head("/predict", LENGTH, "transfer-encoding: chunked") + CHUNKED,
    "chunks and length": head("/predict", "transfer-encoding: chunked", LENGTH) + CHUNKED,
    "two lengths": head("/predict", LENGTH, LENGTH) + BODY,
    "two different lengths": head("/predict", LENGTH, "content-length: 3") + BODY,
    "a signed length": head("/predict", "content-length: +27") + BODY,
    "a length with a space before the colon": head("/predict", "content-length : 27") + BODY,
    "a folded header": head("/predict", "x: a\r\n b", LENGTH) + BODY,
    "bare line feeds": head("/predict", LENGTH).replace(b"\r\n", b"\n") + BODY,
    "chunked is not last": head("/predict", "transfer-encoding: chunked, identity") + CHUNKED,
    "an unknown transfer encoding": head("/predict", "transfer-encoding: xchunked") + CHUNKED,
    "a chunk's length that is none": head("/predict", "transfer-encoding: chunked") + b"0x5\r\nhello\r\n",
}


@pytest.mark.parametrize("name", list(SMUGGLED))
@pytest.mark.parametrize("path", ["/predict", "/nowhere"])
def test_a_request_whose_end_is_in_doubt_is_400_and_nothing_after_it_is_read(
    connection: Connection, name: str, path: str
) -> None:
    connection.send(SMUGGLED[name].replace(b"/predict", path.encode(), 1) + post("/predict", ROW))
    reply = connection.read()
    assert (reply.status, reply.json["code"], reply.headers["connection"]) == (400, "malformed_request", "close")
    assert connection.closed()


def test_the_body_of_a_request_that_offers_an_upgrade_is_no_request_of_its_own(connection: Connection) -> None:
    inner = b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n"
    connection.send(post("/predict", b"", *UPGRADE, f"content-length: {len(inner)}"))
    connection.send(inner)
    assert connection.read().status == 400  # the body is no JSON
    connection.send(post("/predict", ROW))
    assert connection.read().json["prediction"] == [6.5]


@pytest.mark.parametrize("more", [(), ("expect: 100-continue",)])
def test_an_offered_upgrade_is_declined_and_the_request_answered(connection: Connection, more: tuple[str, ...]) -> None:
    connection.send(SLOW + post("/predict", ROW, *UPGRADE, *more) + post("/predict", {"features": [9, 0, 0]}))
    assert connection.read().json["prediction"] == [111.3]
    reply = connection.read()
    if more:
        assert reply.status == 100
        reply = connection.read()
    assert reply.json["prediction"] == [6.5]
    assert connection.read().json["prediction"] == [9]


def test_connect_is_not_taken(connection: Connection) -> None:
    connection.send(b"CONNECT elsewhere:443 HTTP/1.1\r\nhost: t\r\n\r\n" + post("/predict", ROW))
    assert connection.read().status == 400
    assert connection.closed()


@pytest.mark.parametrize("target", ["http://test/predict", "/pre%64ict", "/predict?x=1"])
def test_other_ways_to_write_the_target(connection: Connection, target: str) -> None:
    connection.send(post(target, ROW) + post("/predict", {"features": [9, 0, 0]}))
    assert connection.read().json["prediction"] == [6.5]
    assert connection.read().json["prediction"] == [9]


@pytest.mark.parametrize("more", [(), ("expect: 100-continue",)])
def test_trailers_are_read_over(connection: Connection, more: tuple[str, ...]) -> None:
    trailed = CHUNKED.replace(b"0\r\n\r\n", b"0\r\nx-request-id: trailer\r\n\r\n")
    connection.send(
        head("/predict", "transfer-encoding: chunked", *more) + trailed + post("/predict", {"features": [9, 0, 0]})
    )
    first = connection.read()
    if more and first.status == 100:
        first = connection.read()
    assert (first.json["prediction"], first.json["id"] == "trailer") == ([6.5], False)
    assert connection.read().json["prediction"] == [9]


# -- order, and requests that break off --------------------


def test_what_comes_after_a_request_that_cannot_be_read_is_not_answered_in_its_place(connection: Connection) -> None:
    connection.send(SLOW + head("http://t:99999/predict", "content-length: 0") + post("/predict", ROW))
    assert connection.read().json["prediction"] == [111.3]
    assert connection.read().status == 400
    assert connection.closed()


@pytest.mark.parametrize("expects", [False, True])
@pytest.mark.parametrize("first", [b"", SLOW])
def test_a_body_that_cannot_be_read_is_answered_in_its_turn(
    connection: Connection, first: bytes, expects: bool
) -> None:
    more = ("expect: 100-continue",) if expects else ()
    connection.send(first + head("/predict", "transfer-encoding: chunked", *more) + b"5\r\nhello\r\nZZ\r\n")
    if first:
        assert connection.read().json["prediction"] == [111.3]
    reply = connection.read()
    if reply.status == 100:
        reply = connection.read()
    assert reply.status == 400
    assert connection.closed()


def test_a_slow_body_is_cut_also_on_the_asgi_way(connection: Connection) -> None:
    connection.send(post("/predict", ROW, "expect: 100-continue")[:-4])
    assert connection.read().status == 100
    assert (reply := connection.read()).status == 408, reply.body
    assert connection.closed()


def test_hundreds_of_pipelined_refusals_come_in_order(connection: Connection) -> None:
    count = 1000
    connection.send(SLOW + post("/predict", {"features": [1]}) * count + post("/predict", ROW))
    assert connection.read().json["prediction"] == [111.3]
    assert [connection.read().status for _ in range(count)] == [422] * count
    assert connection.read().json["prediction"] == [6.5]


@pytest.mark.parametrize("body", [BODY[:-4], b""])
@pytest.mark.parametrize("framing", [LENGTH, "transfer-encoding: chunked"])
@pytest.mark.parametrize("way", ["x-way: hot", "expect: 100-continue"])
def test_a_request_that_its_client_breaks_off_is_400_at_once(
    connection: Connection, way: str, framing: str, body: bytes
) -> None:
    """The server's timeout for slow requests, which would be 408, is not waited for."""
    cut = b"%x\r\n%b" % (len(BODY), body) if "chunked" in framing else body
    connection.send(post("/predict", {"features": [9, 0, 0]}) + head("/predict", framing, way) + cut)
    connection.socket.shutdown(socket.SHUT_WR)
    assert connection.read().json["prediction"] == [9]
    reply = connection.read()
    if reply.status == 100:
        reply = connection.read()
    assert (reply.status, "ends early" in reply.json["error"]) == (400, True)
    assert connection.closed()


def test_a_head_that_its_client_breaks_off_is_400(connection: Connection) -> None:
    connection.send(b"POST /predict HTTP/1.1\r\nhost: t\r\ncontent-le")
    connection.socket.shutdown(socket.SHUT_WR)
    assert connection.read().status == 400
    assert connection.closed()


# -- bounds --------------------


def flood(connection: Connection, piece: bytes, bytes_max: int) -> int:
    """Send until the server takes no more; returns how much it took."""
    connection.socket.settimeout(1)
    sent = 0
    try:
        while sent < bytes_max:
            connection.send(piece)
            sent += len(piece)
    except OSError:
        pass
    return sent


FLOODS: dict[str, tuple[bytes, bytes]] = {
    "headers": (b"POST /predict HTTP/1.1\r\n", b"x-many: %b\r\n" % (b"a" * 1000) * 100),
    "one header": (b"POST /predict HTTP/1.1\r\nx: ", b"a" * 100_000),
    "a target": (b"POST /", b"a" * 100_000),
    "trailers": (
        head("/predict", "transfer-encoding: chunked") + b"1\r\n{\r\n0\r\n",
        b"x: %b\r\n" % (b"a" * 1000) * 100,
    ),
    "trailers of a request off the short cut": (
        head("/predict", "expect: 100-continue", "transfer-encoding: chunked") + b"1\r\n{\r\n0\r\n",
        b"x: %b\r\n" % (b"a" * 1000) * 100,
    ),
    "a chunk's extensions": (head("/predict", "transfer-encoding: chunked") + b"1;", b"a" * 100_000),
}


@pytest.mark.parametrize("name", list(FLOODS))
def test_what_is_not_body_has_a_bound(server: Server, connection: Connection, name: str) -> None:
    before = server.memory_bytes()
    start, piece = FLOODS[name]
    connection.send(start)
    assert flood(connection, piece, 200 << 20) < 100 << 20
    assert server.memory_bytes() - before < MEMORY_MORE_MAX
    assert is_well(server)


def test_a_head_larger_than_the_bound_is_413_also_in_one_piece(connection: Connection) -> None:
    connection.send(post("/predict", ROW, *[f"x-{number}: {'a' * 1000}" for number in range(70)]))
    reply = connection.read()
    assert (reply.status, reply.json["code"]) == (413, "too_large")
    assert "headers" in reply.json["error"]


def test_large_heads_and_many_requests_in_one_piece_are_no_large_head(connection: Connection) -> None:
    one = post("/predict", ROW, *[f"x-{number}: {'a' * 1000}" for number in range(40)])
    connection.send(one * 10)
    assert [connection.read().status for _ in range(10)] == [200] * 10


def test_a_client_that_sends_and_does_not_read_is_not_read(server: Server, connection: Connection) -> None:
    before = server.memory_bytes()
    piece = post("/predict", ROW) * 500
    taken = flood(connection, piece, 400 << 20)
    assert taken < 200 << 20
    assert server.memory_bytes() - before < MEMORY_MORE_MAX
    assert is_well(server)
    # It reads at last: every request that was sent whole is answered, in order.
    assert [connection.read().json["prediction"] for _ in range(2000)] == [[6.5]] * 2000


def test_requests_behind_a_slow_one_are_not_read_without_bound(server: Server, connection: Connection) -> None:
    before = server.memory_bytes()
    slow = post("/predict", {"features": [111, 0.05, 0]})
    assert flood(connection, slow * 1000, 400 << 20) < 200 << 20
    assert server.memory_bytes() - before < MEMORY_MORE_MAX
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    assert is_well(server)


def test_a_client_that_never_reads_its_answers_is_cut() -> None:
    with running_process(TIDEGATE_IDLE_TIMEOUT_S="1") as found:
        server = Server(*found)
        connection = Connection(server.port)
        flood(connection, post("/predict", ROW) * 500, 400 << 20)
        until(lambda: server.connections() == 0, what="the end of the connection")
        connection.close()


def test_more_connections_than_files_leave_those_that_are_open_alone() -> None:
    with running_process() as found:
        server = Server(*found)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        kept = Connection(server.port)
        crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(100)]
        kept.send(post("/predict", ROW))
        assert kept.read().json["prediction"] == [6.5]
        for one in crowd:
            one.close()

        def answered() -> bool:
            try:
                return is_well(server)
            except ConnectionResetError:
                return False  # it has not seen all of the crowd go, and drops what it has no file for

        until(answered, what="a new connection that is answered")
        kept.close()


def test_one_connection_too_many_is_told_so_and_the_others_are_served() -> None:
    with running_server(TIDEGATE_CONNECTIONS_MAX="3") as port:
        opened = [Connection(port) for _ in range(3)]
        for one in opened:
            one.send(post("/predict", ROW))
            assert one.read().status == 200
        surplus = [Connection(port) for _ in range(2)]
        for one in surplus:
            one.send(post("/predict", ROW))
            reply = one.read()
            assert (reply.status, reply.json["code"]) == (429, "too_many_connections")
            assert (reply.headers["retry-after"], reply.headers["connection"]) == ("1", "close")
        silent = Connection(port)
        assert silent.closed()
        for one in opened:
            one.send(post("/predict", ROW))
            assert one.read().status == 200
        opened.pop().close()
        for one in surplus:
            assert one.closed()

        def room_again() -> bool:
            opened.append(Connection(port))
            opened[-1].send(post("/predict", ROW))
            return opened[-1].read().status == 200

        until(room_again, what="a place for another connection")
        for one in (*opened, *surplus, silent):
            one.close()
