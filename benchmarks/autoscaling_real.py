"""A step of load on a real platform that follows it: from one replica to --max of them and back, by load alone.

Starts a platform of its own on free ports in a temporary folder, with a model that takes --service-s a request and
waits meanwhile, so that clients and not processors are what is measured. `--clients` (as many as --max) keep one
request in progress each, and one more asks now and then from beginning to end. First with a target of 50 requests in
progress a replica, then with a target of 1. Exit code 1 when a target is missed: all replicas ready within 120 s of the
step, back at one within what the windows allow, no request failed, the control plane at most 5 % of a core while
nothing changes, and at most 4 replicas with a target of 50.

python benchmarks/autoscaling_real.py --max 100
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from lib.openloop import http_request
from lib.platform import Platform, memory_mb, platform
from lib.tables import table
from tidegate.client import Client

UP_S_MAX, WIDE_MAX, LOOPS_PERCENT_MAX = 120.0, 4, 5.0
HALVING_S, LOOK_S = 14.0, 2.0
"""A fleet shrinks to no less than half in so long, where a cold start takes up to 8 s; and is looked at so often."""
MODEL = """
import time


class Model:
    example = [[0.0, 1.0]]

    def predict(self, inputs):
        time.sleep({service_s})
        return [0.0 for _ in range(len(inputs))]
"""


@dataclass
class Asked:
    """What clients saw."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


@dataclass(frozen=True)
class Step:
    """How one step went; seconds count from its begin, and for `down_s` from its end. None: not within the time."""

    up_s: float | None
    down_s: float | None
    most: int
    replicas_mb: float
    busy_percent: float
    rest_percent: float


def main() -> int:
    """Carry it out and print the figures."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder, platform(Path(folder)) as running:
        client = Client(url=running.url, data_dir=running.data_dir)
        (Path(folder) / "slow").mkdir()
        (Path(folder) / "slow" / "model.py").write_text(MODEL.format(service_s=options.service_s))
        asked = Asked()
        print(f"{options.clients} clients, {options.service_s:g} s a request, 1 to {options.max} replicas")
        for name, target in (("wide", 50.0), ("narrow", 1.0)):
            running.cli("deploy", str(Path(folder) / "slow"), "--name", name, "--allow-pickle")
            windows = ["--stable-window", f"{options.stable_s}s", "--down-window", f"{options.down_s}s"]
            bounds = ["--min", "1", "--max", str(options.max), "--target", f"concurrency={target:g}"]
            running.cli("scale", name, *bounds, *windows)
        wide = _step(running, client, "wide", asked, options)
        narrow = _step(running, client, "narrow", asked, options)
    return _report(wide, narrow, asked, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max", type=int, default=100, help="replicas at most (default 100)")
    parser.add_argument("--clients", type=int, help="clients of the step (default: as many as --max)")
    parser.add_argument("--service-s", type=float, default=0.2, help="what a request takes (default 0.2)")
    parser.add_argument("--stable-s", type=int, default=60, help="the stable window (default 60)")
    parser.add_argument("--down-s", type=int, default=300, help="the window before shrinking (default 300)")
    parser.add_argument("--hold-s", type=float, default=30.0, help="how long the step holds at the top (default 30)")
    options = parser.parse_args()
    options.clients = options.clients or options.max
    return options


# -- one step ----------------------------------------------------------------------------------------------------------


def _step(running: Platform, client: Client, name: str, asked: Asked, options: argparse.Namespace) -> Step:
    url = f"{running.gateway_url}/predict/{name}"
    control = _control(running)
    watch = _Watch(client, name)
    full = options.max if name == "narrow" else None
    with _clients(url, 1, asked, pause_s=0.25):
        with _clients(url, options.clients, asked):
            busy = _Cpu(control)
            up_s = watch.until(lambda: full is not None and watch.ready >= full, UP_S_MAX if full else options.hold_s)
            busy_percent = busy.percent()
            rest = _Cpu(control)
            time.sleep(options.hold_s)  # nobody asks it anything: what its loops take
            rest_percent = rest.percent()
            _, replicas_mb = memory_mb(running.replicas(name))
            most = watch.most
        if full is None:
            return Step(None, None, most, replicas_mb, busy_percent, rest_percent)
        down_s = watch.until(lambda: watch.desired == watch.ready == 1, _down_s_max(options))
    return Step(up_s, down_s, most, replicas_mb, busy_percent, rest_percent)


def _down_s_max(options: argparse.Namespace) -> float:
    """Both windows, a halving after the other, and a look and a moment for each of them."""
    halvings = max(1, int(options.max - 1).bit_length())
    return float(options.stable_s + options.down_s + halvings * (HALVING_S + LOOK_S) + 15.0)


class _Watch:
    """Looks at the endpoint once a second, and prints what has changed."""

    def __init__(self, client: Client, name: str) -> None:
        self._client, self._name = client, name
        self._began = time.monotonic()
        self._told: tuple[int, int] | None = None
        self.desired = self.ready = self.most = 0

    def until(self, done: Callable[[], bool], timeout_s: float) -> float | None:
        """Seconds until it was done; None where it was not within the time."""
        began = time.monotonic()
        while not done():
            if time.monotonic() - began > timeout_s:
                return None
            time.sleep(1.0)
            self._look()
        return time.monotonic() - began

    def _look(self) -> None:
        (one,) = self._client.endpoints.get(self._name).variants
        self.desired, self.ready = one.replicas.desired, one.replicas.ready
        self.most = max(self.most, self.desired)
        if (self.desired, self.ready) != self._told:
            self._told = self.desired, self.ready
            at = time.monotonic() - self._began
            print(f"  {self._name:6} {at:6.0f} s  desired {self.desired:3}  ready {self.ready:3}", flush=True)


class _Cpu:
    """CPU that a process takes, from now on."""

    def __init__(self, process: psutil.Process) -> None:
        self._process, self._at, self._used = process, time.monotonic(), _used(process)

    def percent(self) -> float:
        """Of one core."""
        spent_s: float = _used(self._process) - self._used
        return 100 * spent_s / (time.monotonic() - self._at)


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _control(running: Platform) -> psutil.Process:
    state = json.loads((Path(str(running.data_dir)) / "control.json").read_text())
    return psutil.Process(int(state["pid"]))


# -- clients -----------------------------------------------------------------------------------------------------------


@contextmanager
def _clients(url: str, count: int, asked: Asked, pause_s: float = 0.0) -> Iterator[None]:
    """So many connections with one request in progress each, in a thread of their own."""
    ending = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_ask_all(url, count, asked, pause_s, ending)))
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


async def _ask_all(url: str, count: int, asked: Asked, pause_s: float, ending: threading.Event) -> None:
    await asyncio.gather(*(_ask(url, asked, pause_s, ending) for _ in range(count)))


async def _ask(url: str, asked: Asked, pause_s: float, ending: threading.Event) -> None:
    where, payload = urlsplit(url), http_request(url, b'{"features":[0.0,1.0]}')
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    while not ending.is_set():
        began = time.monotonic()
        writer.write(payload)
        try:
            status, body = await _answer(reader)
        except (OSError, EOFError, asyncio.IncompleteReadError) as error:
            asked.failed.append(f"no answer: {error!r}")
            reader, writer = await asyncio.open_connection(where.hostname, where.port)
            continue
        asked.slowest_s = max(asked.slowest_s, time.monotonic() - began)
        if status == 200:
            asked.answered += 1
        else:
            asked.failed.append(f"{status}: {body[:200]!r}")
        if pause_s:
            await asyncio.sleep(pause_s)
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


# -- the report --------------------------------------------------------------------------------------------------------


def _report(wide: Step, narrow: Step, asked: Asked, options: argparse.Namespace) -> int:
    down_s_max = _down_s_max(options)
    rows = [
        (
            f"{options.max} replicas ready after, s",
            narrow.up_s,
            f"at most {UP_S_MAX:g}",
            _within(narrow.up_s, UP_S_MAX),
        ),
        ("back at one after, s", narrow.down_s, f"at most {down_s_max:g}", _within(narrow.down_s, down_s_max)),
        ("replicas with a target of 50", wide.most, f"at most {WIDE_MAX}", wide.most <= WIDE_MAX),
        ("requests failed", len(asked.failed), "0", not asked.failed),
        (
            "control plane at rest, % of a core",
            narrow.rest_percent,
            f"at most {LOOPS_PERCENT_MAX:g}",
            narrow.rest_percent <= LOOPS_PERCENT_MAX,
        ),
    ]
    print()
    print(table(("", "measured", "target", "met"), [(*row[:3], "yes" if row[3] else "NO") for row in rows]))
    count = max(1, narrow.most)
    print(
        f"\n{asked.answered:,} requests answered, the slowest in {asked.slowest_s:.1f} s; {narrow.most} replicas take "
        f"{narrow.replicas_mb:,.0f} MB (PSS), {narrow.replicas_mb / count:.0f} MB each; the control plane took "
        f"{narrow.busy_percent:.0f} % of a core while they were started"
    )
    for failure in asked.failed[:5]:
        print(f"failed: {failure}")
    return 0 if all(row[3] for row in rows) else 1


def _within(value: float | None, most: float) -> bool:
    return value is not None and value <= most


if __name__ == "__main__":
    sys.exit(main())
