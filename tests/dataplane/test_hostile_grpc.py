"""gRPC and clients that mean harm, against a real server process: it lives, is bounded, and neighbours are answered.

Also the other way round: `h2`, a strict HTTP/2 of others, finds nothing wrong in what the server sends.
"""

import random
import select
import socket
import struct
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import grpc
import h2.config
import h2.connection
import h2.events
import h2.settings
import numpy as np
import psutil
import pytest
from tritonclient.grpc import service_pb2

from support.grpc_process import LINEAR, Server, refusal, request, serving, stub
from tidegate.dataplane.grpc import protobuf
from tidegate.dataplane.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    INITIAL_WINDOW,
    PING,
    PREFACE,
    RST_STREAM,
    SETTING,
    SETTINGS,
    U32,
    WINDOW_UPDATE,
    frame,
    literal,
)

ROW = np.array([[1.0, 2.0, 3.0]])
MEMORY_MORE_MAX = 64 << 20
NEIGHBOUR_WITHIN_S = 10.0
METHOD = "/inference.GRPCInferenceService/ModelInfer"
FIELDS = [
    (":method", "POST"), (":scheme", "http"), (":path", METHOD), (":authority", "t"),
    ("content-type", "application/grpc"), ("te", "trailers"),
]  # fmt: skip
HEAD = b"".join(literal(name.encode(), value.encode()) for name, value in FIELDS)
NO_WINDOW = SETTING.pack(INITIAL_WINDOW, 0)
KEY = "sesame"


def message(data: bytes) -> bytes:
    return struct.pack(">BI", 0, len(data)) + data


ASK = message(request("linear", ROW).SerializeToString())


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(LINEAR, TIDEGATE_RECEIVE_TIMEOUT_S="5") as running:
        yield running


def memory_bytes(server: Server) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


def open_raw(server: Server, settings: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", server.grpc_port), timeout=NEIGHBOUR_WITHIN_S)
    made.sendall(PREFACE + frame(SETTINGS, 0, 0, settings))
    return made


def asks(stream_id: int, head: bytes) -> bytes:
    return frame(HEADERS, END_HEADERS, stream_id, head) + frame(DATA, END_STREAM, stream_id, message(b""))


def asked(stream_id: int) -> bytes:
    return frame(HEADERS, END_HEADERS, stream_id, HEAD) + frame(DATA, END_STREAM, stream_id, ASK)


def neighbour_is_answered(server: Server) -> None:
    with stub(server.address) as calls:
        for _ in range(3):
            answer = calls.ModelInfer(request("linear", ROW), timeout=NEIGHBOUR_WITHIN_S)
            assert np.frombuffer(answer.raw_output_contents[0]).tolist() == [6.0]


STALLED = b"".join(asked(stream_id) for stream_id in range(1, 512, 2))
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "settings": (STALLED, frame(SETTINGS, 0, 0, NO_WINDOW) * 1000),
    "many settings in one": (STALLED, frame(SETTINGS, 0, 0, NO_WINDOW * 2730) * 10),
    "the connection's window, byte by byte": (STALLED, frame(WINDOW_UPDATE, 0, 0, U32.pack(1)) * 1000),
    "a window, byte by byte": (STALLED, frame(WINDOW_UPDATE, 0, 511, U32.pack(1)) * 1000),
    "empty data": (frame(HEADERS, END_HEADERS, 1, HEAD), frame(DATA, 0, 1) * 1000),
    "unknown frames": (b"", frame(77, 0, 0) * 1000),
    "pings": (b"", frame(PING, 0, 0, bytes(8)) * 1000),
    "heads of what is over": (b"", frame(HEADERS, END_HEADERS | END_STREAM, 1, HEAD) * 1000),
    "requests that are taken back": (
        b"",
        b"".join(asked(number) + frame(RST_STREAM, 0, number, U32.pack(8)) for number in range(1, 6000, 2)),
    ),
}


@pytest.mark.parametrize("name", list(FLOODS))
def test_neighbours_of_a_flood_are_answered(server: Server, name: str) -> None:
    before = memory_bytes(server)
    start, piece = FLOODS[name]
    with open_raw(server, NO_WINDOW) as flooding:
        flooding.setblocking(False)
        pending = start + piece * 20
        while pending:
            readable, writable, _ = select.select([flooding], [flooding], [], NEIGHBOUR_WITHIN_S)
            try:
                if readable and not flooding.recv(1 << 20):
                    break
                if writable:
                    pending = pending[flooding.send(pending) :]
            except ConnectionError:
                break
        neighbour_is_answered(server)
    assert memory_bytes(server) - before < MEMORY_MORE_MAX


def test_a_client_that_asks_and_does_not_read_is_not_read(server: Server) -> None:
    before = memory_bytes(server)
    widest = 2**31 - 1
    live = METHOD.replace("ModelInfer", "ServerLive").encode()
    alive = HEAD.replace(literal(b":path", METHOD.encode()), literal(b":path", live))
    with open_raw(server, SETTING.pack(INITIAL_WINDOW, widest)) as greedy:
        greedy.sendall(frame(WINDOW_UPDATE, 0, 0, U32.pack(widest - 65535)))
        greedy.settimeout(1)
        ids = count(1, 2)
        piece = iter(lambda: b"".join(asks(next(ids), alive) for _ in range(500)), b"")
        with pytest.raises(TimeoutError):
            any(map(greedy.sendall, piece))
        neighbour_is_answered(server)
        assert memory_bytes(server) - before < MEMORY_MORE_MAX


def test_random_frames_on_many_connections(server: Server) -> None:
    before = memory_bytes(server)
    dice = random.Random(9113)
    for _ in range(150):
        wire = b"".join(random_frame(dice) for _ in range(dice.randrange(1, 60)))
        if dice.random() < 0.2:
            wire = wire[: dice.randrange(len(wire))] + dice.randbytes(20)
        with open_raw(server, SETTING.pack(dice.randrange(8), dice.randrange(2**17))) as wild:
            try:
                wild.sendall(wire)
                wild.shutdown(socket.SHUT_WR)
                while wild.recv(1 << 16):
                    pass
            except (ConnectionError, OSError):
                pass
    neighbour_is_answered(server)
    assert memory_bytes(server) - before < MEMORY_MORE_MAX
    assert server.process.poll() is None


def random_frame(dice: random.Random) -> bytes:
    stream_id = dice.choice((0, 1, 1, 3, 3, 5, 7, 2, 2**31 - 1))
    kind = dice.randrange(0, 11)
    flags = dice.choice((0, END_STREAM, END_HEADERS, END_HEADERS | END_STREAM, dice.randrange(256)))
    if dice.random() < 0.5:
        payload = dice.choice((HEAD, ASK, ASK[:9], b"", U32.pack(dice.randrange(2**32)), bytes(8), NO_WINDOW))
    else:
        payload = dice.randbytes(dice.choice((0, 1, 4, 5, 8, 30, 300)))
    return frame(kind, flags, stream_id, payload)


def test_names_of_any_length_are_not_kept(server: Server) -> None:
    before = memory_bytes(server)
    with grpc.insecure_channel(server.address) as channel:
        infer = channel.unary_unary(METHOD)
        for number in range(12):
            long = f"{number}" + "x" * (8 << 20)
            assert "longer than" in refusal(infer, protobuf.text(1, long))[1]
            assert (
                "longer than"
                in refusal(infer, protobuf.text(1, "linear") + protobuf.blob(6, protobuf.text(1, long)))[1]
            )
    assert memory_bytes(server) - before < MEMORY_MORE_MAX


def described(shape: bytes, datatype: str, contents: bytes) -> bytes:
    head = protobuf.text(1, "input") + protobuf.text(2, datatype) + protobuf.blob(3, shape)
    return protobuf.text(1, "linear") + protobuf.blob(5, head + protobuf.blob(5, contents))


BOMBS = {
    "a shape": described(b"\x01" * (16 << 20), "FP64", b""),
    "numbers": described(b"\x01\x03", "INT32", protobuf.blob(2, b"\x01" * (8 << 20))[:-64]),
    "more numbers than are taken": described(b"\x01\x03", "BOOL", protobuf.blob(1, b"\x01" * (16 << 20))),
    "strings": described(b"\x01\x03", "BYTES", b"\x42\x00" * (3 << 20)),
    "tensors": b"\x3a\x00" * (4 << 20),
    "parameters": b"\x22\x00" * (4 << 20),
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_message_does_not_take_many_times_its_size(server: Server, name: str) -> None:
    peak_before = peak_bytes(server)
    with grpc.insecure_channel(server.address) as channel:
        assert refusal(channel.unary_unary(METHOD), BOMBS[name])[0] in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED")
    assert peak_bytes(server) - peak_before < 2 * MEMORY_MORE_MAX


def peak_bytes(server: Server) -> int:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def test_a_key_is_asked_for_before_the_message_is_taken() -> None:
    with serving(LINEAR, TEST_KEY=KEY) as server, Strict(server) as client:
        client.connection.send_headers(1, FIELDS)
        client.read_until_over(1)
        assert dict(client.fields[1])["grpc-status"] == "16"
        client.connection.send_headers(3, [*FIELDS, ("authorization", f"Bearer {KEY}")])
        client.connection.send_data(3, ASK, end_stream=True)
        client.read_until_over(3)
        assert dict(client.fields[3])["grpc-status"] == "0"


def test_deadlines_of_any_length(server: Server) -> None:
    with Strict(server) as client:
        longest = [("grpc-timeout", "5S"), ("x-tidegate-timeout-ms", "9" * 5000)]
        client.ask(1, more=longest)
        client.ask(3, more=[("grpc-timeout", "5S"), ("x-tidegate-timeout-ms", "0" * 5000 + "5000")])
        client.read_until_over(1)
        client.read_until_over(3)
        assert dict(client.fields[1])["grpc-status"] == "0"
        assert dict(client.fields[3])["grpc-status"] == "0"


def test_metadata_that_is_too_long_fails_its_call_alone(server: Server) -> None:
    with Strict(server) as client:
        client.ask(1, more=[("x", "a" * 9000), ("y", "b" * 9000)])
        client.ask(3)
        client.read_until_over(1)
        client.read_until_over(3)
        assert dict(client.fields[1])["grpc-status"] == "8"
        assert "16384 bytes" in dict(client.fields[1])["grpc-message"]
        assert client.prediction(3) == [6.0]


# -- a strict client --------------------


class Strict:
    """`h2` at the other end: it raises where the server breaks a rule of HTTP/2."""

    def __init__(self, server: Server) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.grpc_port), timeout=NEIGHBOUR_WITHIN_S)
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.connection.initiate_connection()
        self.fields: dict[int, list[tuple[str, str]]] = {}
        self.data: dict[int, bytes] = {}
        self.over: set[int] = set()
        self.acknowledges = True
        self.settled = False

    def __enter__(self) -> "Strict":
        """Once the server took the first settings: `h2` takes the answer to those for one to any later ones."""
        while not self.settled:
            self.read()
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(
        self, stream_id: int, body: bytes = ASK, more: list[tuple[str, str]] | None = None, padding: int = 0
    ) -> None:
        self.connection.send_headers(stream_id, FIELDS + (more or []))
        while len(body) > 100:
            self.send_piece(stream_id, body[:16000], padding)
            body = body[16000:]
        self.connection.send_data(stream_id, body, end_stream=True, pad_length=padding)

    def send_piece(self, stream_id: int, piece: bytes, padding: int) -> None:
        while self.connection.local_flow_control_window(stream_id) < len(piece) + padding + 1:
            self.read()
        self.connection.send_data(stream_id, piece, pad_length=padding)

    def flush(self) -> None:
        self.socket.sendall(self.connection.data_to_send())

    def read(self) -> None:
        self.flush()
        data = self.socket.recv(1 << 16)
        assert data, "the server closed the connection"
        for event in self.connection.receive_data(data):
            self.take(event)
        self.flush()

    def take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.fields.setdefault(event.stream_id, []).extend(event.headers)  # type: ignore[arg-type]
        elif isinstance(event, h2.events.DataReceived):
            self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
            if self.acknowledges:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.over.add(event.stream_id)
        elif isinstance(event, h2.events.SettingsAcknowledged):
            self.settled = True
        elif isinstance(event, h2.events.ConnectionTerminated):
            raise AssertionError(f"the server ended the connection: {event}")

    def read_until_over(self, stream_id: int) -> None:
        while stream_id not in self.over:
            self.read()

    def prediction(self, stream_id: int) -> list[float]:
        answer = service_pb2.ModelInferResponse.FromString(self.data[stream_id][5:])
        values: list[float] = np.frombuffer(answer.raw_output_contents[0]).tolist()
        return values


def test_large_and_small_requests_interleave_under_windows_that_change(server: Server) -> None:
    rows = np.arange(3_600.0).reshape(-1, 3) + 0.5
    large = message(request("linear", rows).SerializeToString())
    with Strict(server) as client:
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 100})
        for stream_id in (1, 5, 9):
            client.ask(stream_id, large, padding=200)
            client.ask(stream_id + 2)
        for window in (70_000, 1, 0, 200_000, 16):
            client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
            client.connection.ping(b"8 bytes.")
            client.read()
        client.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        for stream_id in (1, 3, 5, 7, 9, 11):
            client.read_until_over(stream_id)
            expected = rows.sum(axis=1).tolist() if stream_id % 4 == 1 else [6.0]
            assert client.prediction(stream_id) == expected
            assert dict(client.fields[stream_id])["grpc-status"] == "0"


def test_requests_that_are_taken_back_leave_the_others_alone(server: Server) -> None:
    with Strict(server) as client:
        for stream_id in range(1, 400, 2):
            client.ask(stream_id)
            if stream_id % 4 == 1:
                client.connection.reset_stream(stream_id, 8)
            else:
                client.read_until_over(stream_id)
                assert client.prediction(stream_id) == [6.0]


def test_many_connections_that_ask_nothing_leave_the_others_alone(server: Server) -> None:
    before = memory_bytes(server)
    crowd = [open_raw(server) for _ in range(300)]
    neighbour_is_answered(server)
    assert memory_bytes(server) - before < MEMORY_MORE_MAX
    for one in crowd:
        one.close()
