"""How long one request's body holds up everybody else: the longest wait of a small request beside each kind of body.

    python benchmarks/stalls.py                   all kinds, 8 MiB and the largest size that is taken
    python benchmarks/stalls.py --only CSV --at-once 6

A replica on loopback, asked for one row after the other on a connection of its own while the body is read and answered.
Waits are wall-clock time: compare with the line `nothing`, and run it on a machine that has nothing else to do.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lib.bodies import EXAMPLES, KINDS, SIGNATURES, Kind, Zeros
from tidegate.dataplane.serve import Listen, open_socket, run_server
from tidegate.server.replica import build_replica
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest

BODY_BYTES_MAX = (8 << 20) - 256
TIMEOUT_S = 60.0
SMALL = {
    "matrix": {"features": [1, 2, 3]},
    "narrow": {"features": [[1]]},
    "text": {"features": [["x"]]},
    "table": {"features": [[1, "x", 2]]},
    "json": {"features": [[{"b": 1}]]},
    "binary": {"features": [["eA=="]]},
    "texts": {"features": ["x"]},
    "images": {"features": [[[1.5]]]},
}
"""A request of one row for each model of `lib/bodies.py`."""


def main() -> int:
    """Print a line for each kind and size."""
    parser = argparse.ArgumentParser(description="how long one request's body holds up everybody else")
    parser.add_argument("--only", default="", help="kinds whose name has this in it")
    parser.add_argument("--at-once", type=int, default=1, help="requests of that kind at the same time (default 1)")
    parser.add_argument("--serve", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        _serve(options.serve)
        return 0
    print(f"{'kind':32} {'bytes':>9} {'status':>6} {'answered':>9} {'others p50':>10} {'p99':>9} {'longest':>9}  (ms)")
    for model in SIGNATURES:
        kinds = [kind for kind in KINDS if kind.model == model and options.only in kind.name]
        if kinds:
            _measure(model, kinds, options.at_once)
    return 0


def _serve(name: str) -> None:
    sock = open_socket(Listen(port=0))
    print(sock.getsockname()[1], flush=True)
    manifest = Manifest("m", "1", "d" * 64, ".", "python", SIGNATURES[name], EXAMPLES.get(name), batchable=True)
    run_server(lambda: build_replica(manifest, Zeros(name), Settings.from_env(), None), sock)


def _measure(model: str, kinds: list[Kind], at_once: int) -> None:
    argv = [sys.executable, str(Path(__file__)), "--serve", model]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as server:
        try:
            port = int(server.stdout.readline() if server.stdout is not None else "")
            _show(f"nothing ({model})", 0, *_beside(port, model, _nothing))
            for kind in kinds:
                if _at(port, model, kind, BODY_BYTES_MAX, at_once) == 413:
                    _at(port, model, kind, _taken(port, kind), at_once)
        finally:
            server.terminate()


def _nothing() -> int:
    time.sleep(1)
    return 0


def _at(port: int, model: str, kind: Kind, size: int, at_once: int) -> int:
    body = kind.made(size)

    def ask() -> int:
        threads = [threading.Thread(target=_post, args=(port, kind, body)) for _ in range(at_once - 1)]
        for thread in threads:
            thread.start()
        status = _post(port, kind, body)
        for thread in threads:
            thread.join(TIMEOUT_S)
        return status

    status, answered_s, waits_s = _beside(port, model, ask)
    _show(kind.name, len(body), status, answered_s, waits_s)
    return status


def _taken(port: int, kind: Kind) -> int:
    """The largest size, about, that is not too large."""
    size = BODY_BYTES_MAX
    while size > 1 << 16 and _post(port, kind, kind.made(size)) == 413:
        size = size * 9 // 10
    return size


def _post(port: int, kind: Kind, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    headers = {name.decode(): value.decode() for name, value in kind.headers.items()}
    try:
        connection.request("POST", kind.path, body, {"content-type": "application/json", **headers})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def _beside(port: int, model: str, work: Callable[[], int]) -> tuple[int, float, list[float]]:
    """What the work returns, how long it takes, and how long each small request waited meanwhile."""
    waits_s: list[float] = []
    over = threading.Event()
    asking = threading.Thread(target=_ask_small, args=(port, json.dumps(SMALL[model]).encode(), waits_s, over))
    asking.start()
    started_s = time.monotonic()
    try:
        status = work()
    finally:
        taken_s = time.monotonic() - started_s
        over.set()
        asking.join(TIMEOUT_S)
    return status, taken_s, waits_s


def _ask_small(port: int, body: bytes, waits_s: list[float], over: threading.Event) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    while not over.is_set():
        started_s = time.monotonic()
        connection.request("POST", "/predict", body, {"content-type": "application/json"})
        connection.getresponse().read()
        waits_s.append(time.monotonic() - started_s)
    connection.close()


def _show(name: str, size: int, status: int, answered_s: float, waits_s: list[float]) -> None:
    p99_s = statistics.quantiles(waits_s, n=100)[-1] if len(waits_s) > 1 else max(waits_s)
    middle_s = statistics.median(waits_s)
    figures = " ".join(f"{1000 * one:9.1f}" for one in (answered_s, middle_s, p99_s, max(waits_s)))
    print(f"{name:32} {size:9} {status or '':>6} {figures}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
