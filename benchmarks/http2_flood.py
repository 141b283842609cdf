"""What floods of HTTP/2 frames cost others: one gRPC client's latencies alone and beside each flood, through a gateway.

A flood is a process with 8 connections that sends all it can for `--seconds` (or `--megabytes`), and connects again
where it was cut off. `idle` is a process that takes as much CPU of the load's core and sends nothing: what the rest of
the machine costs. Prints p50, p99 and the worst latency, the CPU that the gateway took, and what the flood sent.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lib import processes
from lib.contenders import NAME
from lib.grpc_load import FIRST_HEAD, LATER_HEAD, Connection, frame
from lib.grpc_section import ASKED, message_of
from lib.models import make_model
from lib.platform import Platform, platform

DATA, HEADERS, PRIORITY, RESET, SETTINGS, PING, WINDOW = 0, 1, 2, 3, 4, 6, 8
CONNECTIONS = 8
CONNECTION_BYTES = 6 << 20
"""What a connection sends before the next one is opened in its place."""
PAUSE_S = 0.005
"""Between two calls of the neighbour, which is no load itself."""
ANSWER_TIMEOUT_S = 60.0
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0)
NOT_GRPC = b"\x82\x86\x84\x41\x01x"
CANCEL = struct.pack(">I", 8)
SMALL_REQUEST = frame(HEADERS, 4, 1, FIRST_HEAD)


def _streams(of_stream: Callable[[int], bytes], size_bytes: int) -> bytes:
    """What `of_stream` sends on streams 1, 3, 5 and so on, as many as fit."""
    pieces: list[bytes] = []
    size, stream_id = 0, 1
    while size < size_bytes:
        pieces.append(of_stream(stream_id))
        size, stream_id = size + len(pieces[-1]), stream_id + 2
    return b"".join(pieces)


def _repeated(start: bytes, piece: bytes, size_bytes: int) -> bytes:
    return start + piece * (size_bytes // len(piece))


def _head(stream_id: int) -> bytes:
    return FIRST_HEAD if stream_id == 1 else LATER_HEAD


def _reset_literal(stream_id: int) -> bytes:
    return frame(HEADERS, 4, stream_id, _literal_head()) + frame(RESET, 0, stream_id, CANCEL)


def _literal_head() -> bytes:
    """The same fields, none of which the decoder may remember."""
    return b"".join(b"\x00" + item for item in FIRST_HEAD.split(b"\x40") if item)


def _reset_asked(stream_id: int) -> bytes:
    body = b"\x00\x00\x00\x00\x00"
    return (
        frame(HEADERS, 4, stream_id, _head(stream_id))
        + frame(DATA, 1, stream_id, body)
        + frame(RESET, 0, stream_id, CANCEL)
    )


FLOODS: dict[str, Callable[[int], bytes]] = {
    "rapid reset": lambda size: _streams(
        lambda number: frame(HEADERS, 4, number, _head(number)) + frame(RESET, 0, number, CANCEL), size
    ),
    "rapid reset, literal fields": lambda size: _streams(_reset_literal, size),
    "rapid reset of whole calls": lambda size: _streams(_reset_asked, size),
    "requests that are no gRPC": lambda size: _streams(lambda number: frame(HEADERS, 5, number, NOT_GRPC), size),
    "empty DATA": lambda size: _repeated(SMALL_REQUEST, frame(DATA, 0, 1), size),
    "WINDOW_UPDATE of 1": lambda size: _repeated(SMALL_REQUEST, frame(WINDOW, 0, 1, b"\0\0\0\1"), size),
    "PING": lambda size: _repeated(b"", frame(PING, 0, 0, bytes(8)), size),
    "SETTINGS": lambda size: _repeated(b"", frame(SETTINGS, 0, 0), size),
    "PRIORITY": lambda size: _repeated(b"", frame(PRIORITY, 0, 1, bytes(5)), size),
}


# -- the flood, in a process of its own --------------------------------------------------------------------------------


def flood(kind: str, port: int, seconds: float, megabytes: float) -> dict[str, float]:
    """Send one kind until time or bytes are used up; what was sent and how often it had to connect anew."""
    wire = memoryview(GREETING + FLOODS[kind](CONNECTION_BYTES))
    print("ready", flush=True)
    end_s = time.perf_counter() + seconds
    sent, opened = 0, 0
    pending: dict[socket.socket, memoryview] = {}
    while time.perf_counter() < end_s and sent < megabytes * 1e6:
        while len(pending) < CONNECTIONS:
            pending[_connect(port)] = wire
            opened += 1
        readable, writable, _ = select.select(list(pending), list(pending), [], 0.1)
        for one in {*readable, *writable}:
            done = _exchange(one, pending[one])
            sent += max(done, 0)
            pending[one] = pending[one][max(done, 0) :]
            if done < 0 or not pending[one]:
                del pending[one]
                one.close()
    return {"sent_mb": sent / 1e6, "connections": opened}


def _connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port))
    made.setblocking(False)
    return made


def _exchange(sock: socket.socket, wire: memoryview) -> int:
    """Send and read what goes without waiting; the bytes sent, -1 once the connection is over."""
    try:
        if not sock.recv(1 << 20):
            return -1
    except BlockingIOError:
        pass
    except OSError:
        return -1
    try:
        return sock.send(wire[: 1 << 18])
    except BlockingIOError:
        return 0
    except OSError:
        return -1


def idle(seconds: float) -> None:
    """Take the core and send nothing."""
    print("ready", flush=True)
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s:
        pass


# -- the neighbour -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """The neighbour's latencies in milliseconds, the gateway's CPU seconds, and what the flood sent."""

    p50_ms: float
    p99_ms: float
    worst_ms: float
    gateway_cpu_s: float
    flood: dict[str, float]


@dataclass(frozen=True)
class Plan:
    """What is measured where: the gateway, its gRPC port, what the neighbour asks, and the bounds of a flood."""

    running: Platform
    port: int
    message: bytes
    seconds: float
    megabytes: float


def measure(kind: str | None, plan: Plan) -> Figures:
    """One client's calls beside one kind of flood (None: beside nothing)."""
    (gateway,) = plan.running.gateways()
    before = gateway.cpu_times()
    flooding = None if kind is None else _start(kind, plan)
    taken_ms = neighbour(plan.port, plan.message, plan.seconds)
    told = {} if flooding is None else json.loads(flooding.communicate(timeout=ANSWER_TIMEOUT_S)[0] or "{}")
    after = gateway.cpu_times()
    used_s = after.user + after.system - before.user - before.system
    p50_ms, p99_ms = (sorted(taken_ms)[int(len(taken_ms) * share)] for share in (0.5, 0.99))
    return Figures(p50_ms, p99_ms, max(taken_ms), used_s, told)


def _start(kind: str, plan: Plan) -> subprocess.Popen[str]:
    bounds = ["--port", str(plan.port), "--seconds", str(plan.seconds), "--megabytes", str(plan.megabytes)]
    argv = [sys.executable, __file__, "--flood", kind, *bounds]
    process = subprocess.Popen(processes.pinned(argv, 1), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    return process


def neighbour(port: int, message: bytes, seconds: float) -> list[float]:
    """One call after the other, with a pause between; each must be answered."""
    connection = Connection(port, [message])
    connection.sock.settimeout(ANSWER_TIMEOUT_S)
    taken_ms: list[float] = []
    end_s = time.perf_counter() + seconds
    while time.perf_counter() < end_s or not taken_ms:
        connection.call()
        while not connection.receive():
            pass
        if not connection.answered:
            raise processes.BenchmarkFailed("a call of the neighbour was not answered")
        taken_ms.append(1000 * (time.perf_counter() - connection.started_s))
        time.sleep(PAUSE_S)
    connection.sock.close()
    return taken_ms


# -- the table ---------------------------------------------------------------------------------------------------------


def compare(kinds: list[str], seconds: float, megabytes: float) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        model = make_model("logistic", Path(folder))
        message = message_of(ASKED["tidegate"], model.rows[0])
        (port,) = processes.free_ports(1)
        with platform(Path(folder), core=0, grpc_port=port) as running:
            running.cli("deploy", str(model.joblib), "--name", NAME, "--allow-pickle")
            _table(kinds, Plan(running, port, message, seconds, megabytes))


def _table(kinds: list[str], plan: Plan) -> None:
    neighbour(plan.port, plan.message, 1.0)
    print(f"| beside | p50 ms | p99 ms | worst ms | gateway's CPU s | flood, {CONNECTIONS} connections |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind in (None, "idle", *kinds):
        one = measure(kind, plan)
        flood_told = ""
        if "sent_mb" in one.flood:
            flood_told = f"{one.flood['sent_mb']:.1f} MB, connected {one.flood['connections']:.0f} times"
        latencies = f"{one.p50_ms:.1f} | {one.p99_ms:.1f} | {one.worst_ms:.1f}"
        print(f"| {kind or 'nothing'} | {latencies} | {one.gateway_cpu_s:.2f} | {flood_told} |", flush=True)


def main() -> None:
    """Compare, or be the flood."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--megabytes", type=float, default=1e6, help="that a flood sends at most")
    parser.add_argument("--kinds", nargs="*", default=list(FLOODS), choices=list(FLOODS))
    parser.add_argument("--flood", choices=[*FLOODS, "idle"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.flood is None:
        compare(given.kinds, given.seconds, given.megabytes)
    elif given.flood == "idle":
        idle(given.seconds)
        print("{}")
    else:
        print(json.dumps(flood(given.flood, given.port, given.seconds, given.megabytes)))


if __name__ == "__main__":
    try:
        main()
    except processes.BenchmarkFailed as failure:
        sys.exit(f"http2_flood.py: {failure}")
