"""Sleeps and wakes of an endpoint on a real platform: an accelerated model in a process, woken by its next request.

Starts a platform of its own on free ports in a temporary folder, has the endpoint sleep after --idle-s without a
request, and asks it --count times, each time once it sleeps. The gateway's share is what is left of a wake after the
control plane wrote that the replica is ready. Exit code 1 when a request failed or the worst wake took more than 1 s.

python benchmarks/sleeping.py --count 50
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from lib.platform import Platform, platform
from lib.small_forest import ROW, write_forest
from tidegate.client import Client

WAKE_S_MAX = 1.0
SLEEPS_WITHIN_S = 120.0


@dataclass(frozen=True)
class Wake:
    """One request that woke the endpoint. `after_ready_s` is None where the replica was not seen afterwards."""

    status: int
    cold: bool
    took_s: float
    after_ready_s: float | None


def main() -> int:
    """Carry it out and print the figures."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder, platform(Path(folder)) as running:
        client = Client(url=running.url, data_dir=running.data_dir)
        write_forest(Path(folder) / "forest.joblib")
        running.cli("deploy", str(Path(folder) / "forest.joblib"), "--name", "sleeper", "--allow-pickle")
        form = client.models.get("sleeper").versions[0].accelerated
        bounds = ["--min", "0", "--max", "2", "--target", "concurrency=4", "--idle", f"{options.idle_s:g}s"]
        running.cli("scale", "sleeper", *bounds)
        print(f"accelerated form: {form}; asleep after {options.idle_s:g} s without a request")
        wakes = [_wake(running, client) for _ in range(options.count)]
    return _report(wakes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50, help="sleeps and wakes (default 50)")
    parser.add_argument("--idle-s", type=float, default=2.0, help="without a request before it sleeps (default 2)")
    return parser.parse_args()


def _wake(running: Platform, client: Client) -> Wake:
    _until(lambda: client.endpoints.get("sleeper").status == "asleep" and not running.replicas("sleeper"))
    began, began_at = time.perf_counter(), time.time()
    answer = httpx.post(f"{running.gateway_url}/predict/sleeper", json={"features": ROW}, timeout=60)
    took_s = time.perf_counter() - began
    ready_at = _ready_at(running)
    after_ready_s = None if ready_at is None else took_s - (ready_at - began_at)
    return Wake(answer.status_code, answer.headers.get("x-tidegate-cold-start") == "true", took_s, after_ready_s)


def _ready_at(running: Platform) -> float | None:
    """When the control plane saw that the replica is ready, from its own row."""
    import sqlite3

    assert running.data_dir is not None
    found = next(running.data_dir.glob("*.db"), None)
    if found is None:
        return None
    with sqlite3.connect(f"file:{found}?mode=ro", uri=True) as store:
        row = store.execute("SELECT max(ready_at) FROM replicas WHERE endpoint = 'sleeper'").fetchone()
    return None if row is None else row[0]


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SLEEPS_WITHIN_S
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"it did not sleep within {SLEEPS_WITHIN_S:g} s")
        time.sleep(0.1)


def _report(wakes: list[Wake]) -> int:
    failed = [wake for wake in wakes if wake.status != 200 or not wake.cold]
    took_s = sorted(wake.took_s for wake in wakes)
    shares_s = [wake.after_ready_s for wake in wakes if wake.after_ready_s is not None]
    print(f"wakes: {len(wakes)}, failed: {len(failed)} {sorted({wake.status for wake in failed}) or ''}")
    print(f"wake: median {statistics.median(took_s):.3f} s, worst {took_s[-1]:.3f} s")
    if shares_s:
        print(f"after the replica was ready: median {statistics.median(shares_s):.3f} s, worst {max(shares_s):.3f} s")
    return 1 if failed or took_s[-1] > WAKE_S_MAX else 0


if __name__ == "__main__":
    sys.exit(main())
