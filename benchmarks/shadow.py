"""What a shadow costs the gateway: the same load with and without one, in turns.

    python benchmarks/shadow.py                     10 rounds of 4 s, some four minutes
    python benchmarks/shadow.py --rounds 3 --seconds 2

One gateway process has one endpoint, one replica that answers it, and one of the shadow; wrk sends a row and a key a
request. Throughput and latency of live answers stand beside processor time of the gateway per live request, which
hardly depends on what else the machine does. All processes share the machine's cores: where they are few, the replica
of the shadow takes its part of them too. How many copies were answered and shed is counted by the gateway.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from lib import wrk
from lib.tables import table
from support.gateway_bed import Bed, Gateway
from tidegate.wire.gateways.snapshot import RoutedEndpoint, Shadow

UNITS = 2_000


@dataclass
class Case:
    """An endpoint, with or without a shadow, and what was measured of it in each round."""

    name: str
    endpoint: RoutedEndpoint
    cpu_us: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    answered: float = 0.0
    shed: float = 0.0


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="what a shadow costs the gateway")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bed = Bed(Path(folder) / "data")
        try:
            bed.replica("1")
            bed.replica("2")
            bed.replica("3", REPLICA_MISBEHAVES="hang")
            gateway = bed.gateway()
            cases = _cases(bed)
            _measure(bed, gateway, cases, Path(folder), options)
        finally:
            bed.close()
    _report(cases)
    return 0


def _cases(bed: Bed) -> list[Case]:
    live = bed.endpoint({"1": 100.0})

    def shadowed(version: str, share: float) -> RoutedEndpoint:
        return replace(live, shadow=Shadow(bed.endpoint({version: 0.0}).variants[0], share))

    return [
        Case("none", live),
        Case("20 % of the traffic", shadowed("2", 20.0)),
        Case("100 % of the traffic", shadowed("2", 100.0)),
        Case("100 %, and it hangs", shadowed("3", 100.0)),
    ]


def _measure(bed: Bed, gateway: Gateway, cases: list[Case], folder: Path, options: argparse.Namespace) -> None:
    bodies = [json.dumps({"features": [1, 2, n], "user_id": f"user-{n}"}).encode() for n in range(UNITS)]
    lua = wrk.script(folder, "keys", bodies)
    process = psutil.Process(gateway.process.pid)
    url = f"http://127.0.0.1:{gateway.port}/predict/sums"
    for number in range(options.rounds + 1):
        for case in cases if number % 2 else cases[::-1]:
            bed.publish_endpoints(case.endpoint)
            before, copies = process.cpu_times(), _copies(gateway)
            found = wrk.load(url, lua, seconds=options.seconds, connections=options.connections, core=None)
            after = process.cpu_times()
            if found.failed:
                raise SystemExit(f"{found.failed} requests failed with a shadow of {case.name!r}")
            if number:  # the first round warms up
                spent_s = after.user + after.system - before.user - before.system
                case.cpu_us.append(1e6 * spent_s / (found.requests_per_s * options.seconds))
                case.per_s.append(found.requests_per_s)
                case.p50_ms.append(found.p50_ms)
                case.p99_ms.append(found.p99_ms)
                answered, shed = _copies(gateway)
                case.answered += answered - copies[0]
                case.shed += shed - copies[1]


def _copies(gateway: Gateway) -> tuple[float, float]:
    """How many copies were answered and shed so far."""
    lines = gateway.request("GET", "/metrics").body.decode().splitlines()

    def total(name: str) -> float:
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"tidegate_shadow_{name}"))

    return total("answered_requests_total"), total("shed_requests_total")


def _report(cases: list[Case]) -> None:
    base = cases[0]
    rows = []
    for case in cases:
        cost = statistics.median(own / other for own, other in zip(case.cpu_us, base.cpu_us, strict=True))
        kept = statistics.median(own / other for own, other in zip(case.per_s, base.per_s, strict=True))
        rows.append(
            (
                case.name,
                f"{statistics.median(case.per_s):.0f}",
                f"{kept:.2f}",
                f"{statistics.median(case.p50_ms):.2f}",
                f"{statistics.median(case.p99_ms):.2f}",
                f"{statistics.median(case.cpu_us):.1f}",
                f"{cost:.2f}",
                "-" if case.endpoint.shadow is None else f"{case.answered:.0f}",
                "-" if case.endpoint.shadow is None else f"{case.shed:.0f}",
            )
        )
    headers = ("shadow", "requests/s", "of none", "p50 ms", "p99 ms", "µs a request", "of none", "copies", "shed")
    print(table(headers, rows))


if __name__ == "__main__":
    sys.exit(main())
