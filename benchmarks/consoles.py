"""What open consoles cost predictions: p99 of one load with `--consoles` pages kept fresh, and without, in turns.

Starts a platform of its own on free ports in a temporary folder. Each console is a session of its own with the stream
of the endpoint's page open; all are read in a process of their own. The load is open-loop (independent arrivals at
--rate a second), so that a stall shows in full. Exit code 1 when a request failed or the median p99 with consoles is
above the spread of those without.

python benchmarks/consoles.py --consoles 20 --rounds 5
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from lib import openloop
from lib.platform import Platform, platform
from lib.small_forest import ROW, write_forest
from tidegate.client import Client
from tidegate.client.login import login_url

NAME = "forest"
FIRST_WITHIN_S = 30.0


@dataclass(frozen=True)
class Round:
    """One run of the load."""

    p50_ms: float
    p99_ms: float
    failed: int
    events: int


def main() -> int:
    """Carry it out and print the figures."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder, platform(Path(folder)) as running:
        client = Client(url=running.url, data_dir=running.data_dir)
        write_forest(Path(folder) / "forest.joblib")
        running.cli("deploy", str(Path(folder) / "forest.joblib"), "--name", NAME, "--allow-pickle")
        without: list[Round] = []
        beside: list[Round] = []
        for turn in range(options.rounds):
            without.append(_round(running, options, turn, lambda: 0))
            with _consoles(client, running, options.consoles) as read:
                beside.append(_round(running, options, turn, read))
    return _report(options, without, beside)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--consoles", type=int, default=20, help="pages that are kept fresh (default 20)")
    parser.add_argument("--rounds", type=int, default=5, help="with and without, in turns (default 5)")
    parser.add_argument("--rate", type=int, default=300, help="requests a second (default 300)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each run (default 10)")
    return parser.parse_args()


class _Reader(threading.Thread):
    """Reads the stream of one page and counts its events."""

    def __init__(self, browser: httpx.Client) -> None:
        super().__init__(daemon=True)
        self.events = 0
        self.first = threading.Event()
        self.closed = threading.Event()
        self._browser = browser

    def run(self) -> None:
        """Until `closed`: the stream has an event a second."""
        path = f"/live?of=/endpoints/{NAME}"
        with self._browser.stream("GET", path, timeout=FIRST_WITHIN_S) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_bytes():
                self.events += chunk.count(b"event: beat")
                self.first.set()
                if self.closed.is_set():
                    return


def _read_all(links: list[str], url: str, told: Connection) -> None:
    """In a process of its own: what browsers do with what they read must not hold up the clients that are timed.

    Tells when every stream has begun, and at the end how many events were read.
    """
    with ExitStack() as browsers:
        readers = [_Reader(browsers.enter_context(_browser(url, link))) for link in links]
        for reader in readers:
            reader.start()
        told.send(all(reader.first.wait(FIRST_WITHIN_S) for reader in readers))
        before = sum(reader.events for reader in readers)
        told.recv()
        told.send(sum(reader.events for reader in readers) - before)
        for reader in readers:
            reader.closed.set()
        for reader in readers:
            reader.join(FIRST_WITHIN_S)


@contextmanager
def _consoles(client: Client, running: Platform, count: int) -> Iterator[Callable[[], int]]:
    """So many, each with its first sample read; what is given tells how many events they have read, at the end."""
    ours, theirs = multiprocessing.Pipe()
    links = [login_url(client) for _ in range(count)]
    reading = multiprocessing.get_context("spawn").Process(
        target=_read_all, args=(links, running.url, theirs), daemon=True
    )
    reading.start()
    try:
        if not (ours.poll(2 * FIRST_WITHIN_S) and ours.recv()):
            raise SystemExit(f"a console's stream told nothing within {FIRST_WITHIN_S:g} s")

        def read() -> int:
            ours.send("end")
            return int(ours.recv()) if ours.poll(FIRST_WITHIN_S) else 0

        yield read
    finally:
        reading.join(FIRST_WITHIN_S)
        reading.kill()


@contextmanager
def _browser(url: str, link: str) -> Iterator[httpx.Client]:
    """One that has logged in."""
    with httpx.Client(base_url=url, follow_redirects=True, headers={"accept": "text/html"}) as browser:
        browser.get(link).raise_for_status()
        yield browser


def _round(running: Platform, options: argparse.Namespace, seed: int, read: Callable[[], int]) -> Round:
    parts = urlsplit(running.gateway_url)
    body = json.dumps({"features": ROW}).encode()
    request = openloop.Request(
        "all", openloop.http_request(f"{running.gateway_url}/predict/{NAME}", body), lambda _body: None
    )
    times = openloop.schedule(round(options.rate * options.seconds), options.seconds, seed)
    found = asyncio.run(openloop.run((str(parts.hostname), int(parts.port or 80)), [(at, request) for at in times]))
    took_ms = sorted(one.latency_s * 1000 for one in found)
    failed = sum(one.fault is not None for one in found)
    return Round(statistics.median(took_ms), took_ms[int(len(took_ms) * 0.99)], failed, read())


def _report(options: argparse.Namespace, without: list[Round], beside: list[Round]) -> int:
    print(f"{options.rate} requests a second for {options.seconds:g} s, {options.rounds} rounds in turns")
    for name, rounds in (("no console", without), (f"{options.consoles} consoles", beside)):
        p99s = ", ".join(f"{one.p99_ms:.2f}" for one in rounds)
        p50 = statistics.median(one.p50_ms for one in rounds)
        failed, events = sum(one.failed for one in rounds), sum(one.events for one in rounds)
        print(f"{name:>12}: p50 {p50:.2f} ms, p99 {p99s} ms; {failed} failed; {events} events read")
    spread = min(one.p99_ms for one in without), max(one.p99_ms for one in without)
    median = statistics.median(one.p99_ms for one in beside)
    within = median <= spread[1]
    print(
        f"the median p99 with consoles is {median:.2f} ms, those without reach from {spread[0]:.2f} to {spread[1]:.2f}"
    )
    dead = options.consoles and not all(one.events for one in beside)
    return 0 if within and not dead and not any(one.failed for one in [*without, *beside]) else 1


if __name__ == "__main__":
    sys.exit(main())
