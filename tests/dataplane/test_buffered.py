"""The bound on the bytes of requests that a process holds, against real server processes, on every way in."""

from __future__ import annotations

import gzip
import json
import random
import re
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

import grpc
import numpy as np
import psutil
import pytest

from support.grpc_process import LINEAR, Server, refusal, request, serving, stub
from support.http_bytes import Connection, Reply, post
from support.wait import until
from tidegate.dataplane.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    U32,
    frame,
    literal,
)

MIB = 1 << 20
BUFFERED_BYTES_MAX = 32 * MIB
REQUEST_BYTES_MAX = 12 * MIB
TEN_MB = 10_000_000
ROW = {"features": [1, 2, 3.5]}
PATH, INFER = "/predict", "/v2/models/linear/infer"
EXPECT = "expect: 100-continue"
METHOD = "/inference.GRPCInferenceService/ModelInfer"
GRPC_HEAD = b"".join(
    literal(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", METHOD.encode()),
        (b":authority", b"t"),
        (b"content-type", b"application/grpc"),
    )
)
ENV = {
    "TIDEGATE_BUFFERED_BYTES_MAX": str(BUFFERED_BYTES_MAX),
    "TIDEGATE_REQUEST_BYTES_MAX": str(REQUEST_BYTES_MAX),
    "TIDEGATE_RECEIVE_TIMEOUT_S": "60",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(LINEAR, **ENV) as running:
        yield running


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[[], Connection]]:
    """Opens connections, which the test's end closes; then nothing may be held any more."""
    opened: list[Connection] = []

    def open_one() -> Connection:
        opened.append(Connection(server.port))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()
    until(lambda: held_bytes(server) == 0, what="an end of all that was held")


def metric(server: Server, name: str) -> int:
    connection = Connection(server.port)
    try:
        connection.send(b"GET /metrics HTTP/1.1\r\nhost: t\r\n\r\n")
        found = re.search(rf"^{name} (\S+)$", connection.read().body.decode(), re.MULTILINE)
    finally:
        connection.close()
    assert found is not None
    return int(float(found[1]))


def held_bytes(server: Server) -> int:
    return metric(server, "tidegate_buffered_bytes")


def memory_bytes(server: Server) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


def head(path: str, *headers: str) -> bytes:
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", "host: t", "content-type: application/json", *headers, "", ""]
    ).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def tensors(size_bytes: int) -> tuple[bytes, str]:
    """A request of about that size with a binary tensor, and the header with its JSON's length."""
    rows = size_bytes // 24
    described = {"name": "input", "shape": [rows, 3], "datatype": "FP64", "parameters": {"binary_data_size": rows * 24}}
    asked = {"inputs": [described], "outputs": [{"name": "prediction", "parameters": {"binary_data": True}}]}
    text = json.dumps(asked).encode()
    return text + bytes(rows * 24), f"inference-header-content-length: {len(text)}"


def refused(reply: Reply) -> bool:
    """Whether it is the refusal of a request that there is no room for, complete in all its parts."""
    if reply.status != 429:
        return False
    assert (reply.json["code"], reply.headers["retry-after"]) == ("buffers_full", "1")
    assert "try again later" in reply.json["error"]
    return True


def fill(server: Server, connect: Callable[[], Connection]) -> list[Connection]:
    """Clients that send most of what they announced, until there is no room for another one."""
    filling = []
    for _ in range(4):
        filling.append(connect())
        filling[-1].send(head(PATH, f"content-length: {8 * MIB}") + bytes(8 * MIB - 1000))
    until(lambda: held_bytes(server) > BUFFERED_BYTES_MAX - MIB // 2, what="full buffers")
    return filling


def is_served(connection: Connection, *headers: str) -> bool:
    connection.send(post(PATH, ROW, *headers))
    reply = connection.read()
    if reply.status == 100:
        reply = connection.read()
    return bool(reply.json["prediction"] == [6.5])


def test_a_full_server_refuses_on_every_way_and_serves_small_requests(
    server: Server, connect: Callable[[], Connection]
) -> None:
    filling = fill(server, connect)
    refusals = metric(server, "tidegate_buffered_refusals_total")
    chunked = "transfer-encoding: chunked"
    announced = f"content-length: {MIB}"
    for headers, sent in (
        ((announced,), b""),  # before a byte of the body came
        ((chunked,), chunk(bytes(MIB))),
        ((announced, EXPECT), b""),
        ((chunked, EXPECT), chunk(bytes(MIB))),
    ):
        connection = connect()
        connection.send(head(PATH, *headers) + sent)
        reply = connection.read()
        assert refused(connection.read() if reply.status == 100 else reply), (headers, reply.status)
    blown = gzip.compress(json.dumps({"features": [[1, 2, 3]] * 80_000}).encode())
    assert len(blown) < 60_000
    for expects in ("x-way: hot", EXPECT):
        connection = connect()
        connection.send(post(PATH, blown, "content-encoding: gzip", expects))
        reply = connection.read()
        assert refused(connection.read() if reply.status == 100 else reply)
        assert is_served(connect(), expects)
    with stub(server.address) as calls:
        with pytest.raises(grpc.RpcError) as caught:
            calls.ModelInfer(request("linear", np.ones((50_000, 3))), timeout=20)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "no room" in caught.value.details()
        with pytest.raises(grpc.RpcError) as caught:
            calls.ModelInfer(request("linear", np.ones((50_000, 3))), timeout=20, compression=grpc.Compression.Gzip)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert calls.ModelInfer(request("linear", np.ones((1, 3))), timeout=20).raw_output_contents
    assert metric(server, "tidegate_buffered_refusals_total") == refusals + 8
    filling.pop().close()
    until(lambda: held_bytes(server) < BUFFERED_BYTES_MAX - 7 * MIB, what="room")
    body, length = tensors(MIB)
    connection = connect()
    connection.send(post(INFER, body, length))
    assert connection.read().status == 200


def test_memory_is_bounded_while_200_clients_send_half_of_ten_megabytes(
    server: Server, connect: Callable[[], Connection]
) -> None:
    before = memory_bytes(server)
    half = bytes(TEN_MB // 2)
    crowd = [connect() for _ in range(200)]
    for number, one in enumerate(crowd):
        chunked = number % 2
        start = head(PATH, "transfer-encoding: chunked" if chunked else f"content-length: {TEN_MB}")
        with suppress(ConnectionError):
            one.send(start + (b"%x\r\n" % TEN_MB if chunked else b"") + half)
        if number % 50 == 0:
            assert held_bytes(server) <= BUFFERED_BYTES_MAX
    assert BUFFERED_BYTES_MAX // 2 < held_bytes(server) <= BUFFERED_BYTES_MAX
    assert memory_bytes(server) - before < 4 * BUFFERED_BYTES_MAX  # a gigabyte was sent
    assert is_served(connect())
    for one in crowd[:-1]:
        one.close()
    until(lambda: held_bytes(server) == 0, what="an end of all that was held")
    body, length = tensors(TEN_MB)
    connection = connect()
    connection.send(post(INFER, body, length))
    assert connection.read().status == 200


def test_an_idle_connection_keeps_nothing_of_its_last_request(
    server: Server, connect: Callable[[], Connection]
) -> None:
    before = memory_bytes(server)
    body, length = tensors(TEN_MB)
    for _ in range(25):
        connection = connect()
        connection.send(post(INFER, body, length))
        assert connection.read().status == 200
    assert held_bytes(server) == 0
    assert memory_bytes(server) - before < 160 * MIB


def test_numbers_that_take_more_than_their_text_are_counted_as_what_they_take(
    server: Server, connect: Callable[[], Connection]
) -> None:
    """While another one is computed it waits as 8 bytes a number."""
    rows = 60_000
    text = b'{"features": [[1,1,1]' + b",[1,1,1]" * (rows - 1) + b"]}"
    slow, waiting = connect(), connect()
    slow.send(post(PATH, {"features": [111, 2, 0]}))
    waiting.send(post(PATH, text))
    until(lambda: held_bytes(server) == rows * 3 * 8, what="the numbers' own size")
    assert slow.read().status == 200
    assert waiting.read().status == 200
    assert held_bytes(server) == 0


# -- random interleavings --------------------


class Client:
    """Sends one request, or several, in pieces that somebody else chooses."""

    def __init__(self, port: int, wire: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.wire = wire

    def send(self, size_bytes: int) -> None:
        piece, self.wire = self.wire[:size_bytes], self.wire[size_bytes:]
        with suppress(ConnectionError, TimeoutError):
            self.socket.sendall(piece)

    def read_some(self) -> None:
        self.socket.setblocking(False)
        with suppress(BlockingIOError, ConnectionError):
            self.socket.recv(MIB)
        self.socket.settimeout(10)

    def end(self, dice: random.Random) -> None:
        how = dice.choice(("close", "abort", "half"))
        with suppress(OSError):
            if how == "abort":
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how == "half":
                self.socket.shutdown(socket.SHUT_WR)
        self.socket.close()


def random_body(dice: random.Random) -> tuple[bytes, list[str]]:
    size_bytes = dice.choice((10, 60_000, 70_000, 300_000, 3 * MIB, 8 * MIB))
    kind = dice.randrange(6)
    if kind == 0:
        return json.dumps(ROW).encode(), []
    if kind == 1:
        return bytes(size_bytes), []
    if kind == 2:
        return gzip.compress(bytes(size_bytes), 1), ["content-encoding: gzip"]
    if kind == 3:
        body, length = tensors(size_bytes)
        return body, [length]
    if kind == 4:
        body, length = tensors(size_bytes)
        return gzip.compress(body, 1), [length, "content-encoding: gzip"]
    return json.dumps({"features": [[111, 0.05, 0], *([[1, 2, 3]] * (size_bytes // 40))]}).encode(), []


def random_http(dice: random.Random) -> bytes:
    wire = b""
    for _ in range(dice.choice((1, 1, 2, 4))):
        body, headers = random_body(dice)
        if dice.random() < 0.2:
            headers.append(EXPECT)
        path = dice.choice((PATH, INFER, INFER, "/invocations", "/health"))
        if dice.random() < 0.4:
            pieces = b"".join(chunk(body[at : at + 100_000]) for at in range(0, len(body), 100_000))
            wire += head(path, "transfer-encoding: chunked", *headers) + pieces + dice.choice((b"0\r\n\r\n", b"XX\r\n"))
        else:
            length = dice.choice((len(body), len(body), len(body), len(body) + 5, REQUEST_BYTES_MAX + 1))
            wire += head(path, f"content-length: {length}", *headers) + body
    return wire


def random_grpc(dice: random.Random) -> bytes:
    wire = PREFACE + frame(SETTINGS, 0, 0)
    for stream_id in range(1, dice.choice((3, 9)), 2):
        body = request("linear", np.ones((dice.choice((1, 2_000, 9_000)), 3))).SerializeToString()
        announced = dice.choice((len(body), len(body), len(body) + 9, REQUEST_BYTES_MAX + 1))
        body = struct.pack(">BI", 0, announced) + body
        wire += frame(HEADERS, END_HEADERS, stream_id, GRPC_HEAD)
        for at in range(0, len(body), 16_000):
            last = END_STREAM if at + 16_000 >= len(body) and dice.random() < 0.8 else 0
            wire += frame(DATA, last, stream_id, body[at : at + 16_000])
        if dice.random() < 0.3:
            wire += frame(RST_STREAM, 0, stream_id, U32.pack(8))
    return wire + dice.choice((b"", b"", b"\xff" * 30))


@pytest.mark.parametrize("seed", range(4))
def test_whatever_clients_do_all_of_it_is_given_back(server: Server, seed: int) -> None:
    dice = random.Random(seed)
    clients: list[Client] = []
    for _ in range(300):
        if len(clients) < 12 and dice.random() < 0.5:
            is_grpc = dice.random() < 0.25
            wire = random_grpc(dice) if is_grpc else random_http(dice)
            clients.append(Client(server.grpc_port if is_grpc else server.port, wire))
        elif clients:
            client = dice.choice(clients)
            client.send(dice.choice((1, 100, 70_000, MIB, 1 << 40)))
            if dice.random() < 0.3:
                client.read_some()
            if dice.random() < 0.1 or not client.wire:
                clients.remove(client)
                client.end(dice)
        if dice.random() < 0.03:
            assert 0 <= held_bytes(server) <= BUFFERED_BYTES_MAX
    for client in clients:
        client.end(dice)
    until(lambda: held_bytes(server) == 0, what="an end of all that was held")
    connection = Connection(server.port)
    try:
        assert is_served(connection)
    finally:
        connection.close()
    with grpc.insecure_channel(server.address) as channel:
        assert refusal(channel.unary_unary(METHOD), b"\x0a\x05ab")[0] == "INVALID_ARGUMENT"
