"""Loads a gRPC server as fast as it answers: one call at a time on each of N connections, messages in turn.

Run by serving_grpc.py in a process of its own: `python grpc_load.py PORT SECONDS CONNECTIONS FILE` prints its figures
as JSON. Speaks just enough HTTP/2, with frames made beforehand: a Python gRPC client would be the slower side. Like
gRPC's own clients, it sends its header fields once and their indices afterwards.
"""

from __future__ import annotations

import json
import pickle
import selectors
import socket
import struct
import sys
import time
from collections.abc import Sequence

PATH = "/inference.GRPCInferenceService/ModelInfer"
WARM_UP_S = 2.0
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
FIELDS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
    ("user-agent", "tidegate-benchmark"),
)
FIRST_HEAD = b"".join(
    b"\x40" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode() for name, value in FIELDS
)
LATER_HEAD = bytes(0x80 | (62 + len(FIELDS) - 1 - index) for index in range(len(FIELDS)))


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return struct.pack(">BHBBI", size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


class Connection:
    """One connection with one call at a time."""

    def __init__(self, port: int, messages: Sequence[bytes]) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.started_s = 0.0
        self.answered = False
        self._bodies = [b"\x00" + struct.pack(">I", len(message)) + message for message in messages]
        self._calls = 0
        self._rest = b""
        wide = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 2**31 - 1)) + frame(
            WINDOW, 0, 0, struct.pack(">I", 2**31 - 65536)
        )
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + wide)

    def call(self) -> None:
        """Send the next message."""
        stream_id, body = 2 * self._calls + 1, self._bodies[self._calls % len(self._bodies)]
        head = LATER_HEAD if self._calls else FIRST_HEAD
        self._calls += 1
        self.answered = False
        self.started_s = time.perf_counter()
        self.sock.sendall(frame(HEADERS, 4, stream_id, head) + frame(DATA, 1, stream_id, body))

    def receive(self) -> bool:
        """Read; whether the call is over. `answered` says whether it had a message."""
        data, offset, over = self._rest + self.sock.recv(1 << 16), 0, False
        while len(data) - offset >= 9:
            high, low, kind, flags, _ = struct.unpack_from(">BHBBI", data, offset)
            end = offset + 9 + (high << 16 | low)
            if end > len(data):
                break
            over = self._frame(kind, flags, data[offset + 9 : end]) or over
            offset = end
        self._rest = data[offset:]
        return over

    def _frame(self, kind: int, flags: int, payload: bytes) -> bool:
        if kind in (SETTINGS, PING) and not flags & 1:
            self.sock.sendall(frame(kind, 1, 0, payload if kind == PING else b""))
        elif kind == GOAWAY:
            raise SystemExit(f"the server ended the connection: {payload!r}")
        self.answered |= kind == DATA and len(payload) > 5
        return kind == RESET or (kind in (DATA, HEADERS) and bool(flags & 1))


def load(port: int, seconds: float, connections: int, messages: Sequence[bytes]) -> dict[str, float]:
    """Requests per second, percentiles in milliseconds, and calls without an answer, after a warm-up."""
    selector = selectors.DefaultSelector()
    for number in range(connections):
        connection = Connection(port, messages[number::connections])
        selector.register(connection.sock, selectors.EVENT_READ, connection)
        connection.call()
    begin_s = time.perf_counter() + WARM_UP_S
    taken_s: list[float] = []
    failed = 0
    while (now_s := time.perf_counter()) < begin_s + seconds:
        for key, _ in selector.select(1.0):
            if key.data.receive():
                now_s = time.perf_counter()
                if now_s >= begin_s:
                    taken_s.append(now_s - key.data.started_s)
                    failed += not key.data.answered
                key.data.call()
    taken_s.sort()
    p50, p99 = (1000 * taken_s[int(len(taken_s) * share)] for share in (0.5, 0.99))
    return {"requests_per_s": len(taken_s) / seconds, "p50_ms": p50, "p99_ms": p99, "failed": failed}


if __name__ == "__main__":
    with open(sys.argv[4], "rb") as file:  # noqa: PTH123 (this file imports as little as it can)
        bodies = pickle.load(file)
    print(json.dumps(load(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), bodies)))
