"""What an experiment costs on the hot path: a gateway asked in turns with and without one, and the decision by itself.

    python benchmarks/assignment.py                     12 rounds of 4 s, some four minutes
    python benchmarks/assignment.py --rounds 3 --seconds 2

One gateway process has several endpoints with the same two replicas behind them; wrk sends each in turn the same
requests, a row and a key. The figure is processor time of the gateway per request: it hardly depends on what else the
machine does, and is the inverse of throughput where the gateway is what limits it. Throughput stands beside it, and the
ratio of the least figures of all rounds, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import timeit
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from msgspec.structs import replace

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from lib import wrk
from lib.tables import table
from lib.targets import Target, targets_table
from support.gateway_bed import Bed, Gateway
from tidegate.core.routing.assign import Allocation, Arm, Decider
from tidegate.wire.gateways.decision import AssignmentContext
from tidegate.wire.gateways.snapshot import RoutedEndpoint

UNITS = 2_000
COST_MAX = 1.02
DECISIONS = 200_000


@dataclass
class Case:
    """An endpoint, and in each round the gateway's processor time per request (µs) and requests a second.

    `of` is the place of the case that is the same without the experiment.
    """

    name: str
    endpoint: RoutedEndpoint
    of: int | None = None
    cpu_us: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)

    @property
    def url_name(self) -> str:
        """As the path names it."""
        return self.endpoint.name


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="what an experiment costs on the hot path")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    print(_decisions())
    with tempfile.TemporaryDirectory() as folder:
        bed = Bed(Path(folder) / "data")
        try:
            for version in ("1", "2"):
                bed.replica(version)
            gateway = bed.gateway()
            cases = _cases(bed)
            bed.publish_endpoints(*(case.endpoint for case in cases))
            _measure(gateway, cases, Path(folder), options)
        finally:
            bed.close()
    return _report(cases)


def _cases(bed: Bed) -> list[Case]:
    """Without an experiment by one version and by two; with one, for everybody and in a ramp."""
    halves = bed.endpoint({"1": 50.0, "2": 50.0}, name="split")
    one, two = halves.variants
    arms = (replace(one, name="control"), replace(two, name="treatment"))
    blue = replace(halves, name="blue", variants=arms, experiment="blue", phase=1, assignment_salt="blue")
    of_ramp = (
        replace(one, name="control", weight=75.0, share=50.0),
        replace(two, name="treatment", weight=25.0, share=50.0),
    )
    ramp = replace(blue, name="ramp", variants=of_ramp, coverage=0.5, uncovered="control")
    single = bed.endpoint({"1": 100.0}, name="single")
    (whole,) = single.variants
    same = replace(
        single,
        name="same",
        variants=tuple(replace(whole, name=name, weight=50.0) for name in ("a", "b")),
        experiment="same",
        phase=1,
        assignment_salt="same",
    )
    return [
        Case("one version", single),
        Case("one version, A/A experiment", same, of=0),
        Case("two versions, split by weight", halves),
        Case("two versions, experiment", blue, of=2),
        Case("two versions, experiment at half coverage", ramp, of=2),
    ]


def _measure(gateway: Gateway, cases: list[Case], folder: Path, options: argparse.Namespace) -> None:
    bodies = [json.dumps({"features": [1, 2, n], "user_id": f"user-{n}"}).encode() for n in range(UNITS)]
    lua = wrk.script(folder, "keys", bodies)
    process = psutil.Process(gateway.process.pid)
    for number in range(options.rounds + 1):
        for case in cases if number % 2 else cases[::-1]:
            before = process.cpu_times()
            url = f"http://127.0.0.1:{gateway.port}/predict/{case.url_name}"
            found = wrk.load(url, lua, seconds=options.seconds, connections=options.connections, core=None)
            after = process.cpu_times()
            if found.failed:
                raise SystemExit(f"{found.failed} requests of {case.name!r} failed")
            if number:  # the first round warms up
                spent_s = after.user + after.system - before.user - before.system
                case.cpu_us.append(1e6 * spent_s / (found.requests_per_s * options.seconds))
                case.per_s.append(found.requests_per_s)


def _report(cases: list[Case]) -> int:
    rows, targets = [], []
    for case in cases:
        base = case if case.of is None else cases[case.of]
        ratios = [own / other for own, other in zip(case.cpu_us, base.cpu_us, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows.append(
            (
                case.name,
                f"{statistics.median(case.per_s):.0f}",
                f"{statistics.median(case.cpu_us):.1f}",
                f"{middle:.3f}",
                f"{low:.3f} to {high:.3f}",
                f"{min(case.cpu_us) / min(base.cpu_us):.3f}",
            )
        )
        if case.of is not None:
            targets.append(Target(case.name, COST_MAX, middle, at_most=True))
    headers = ("endpoint", "requests/s", "gateway µs a request", "of the same without", "quartiles", "of the least")
    print(table(headers, rows))
    print(targets_table(targets))
    return 0 if all(one.met for one in targets) else 1


def _decisions() -> str:
    """Nanoseconds of processor time that a decision takes, in this process: the least of many runs."""
    everybody = frozenset({"control", "treatment"})

    def cost(allocation: Allocation, units: int = UNITS) -> str:
        contexts = [AssignmentContext("sums", "id", f"user-{number}") for number in range(units)]
        decide = Decider(allocation).decide

        def run() -> None:
            for context in contexts:
                decide(context, everybody)

        best_s = min(timeit.repeat(run, timer=time.process_time, number=1, repeat=DECISIONS // units))
        return f"{1e9 * best_s / units:.0f}"

    arms = (Arm("control", "1", 75.0, share=50.0), Arm("treatment", "2", 25.0, share=50.0))
    rows = [
        ("one version", cost(Allocation("salt", (Arm("control", "1", 100.0),), 1))),
        ("experiment, of units that came before", cost(Allocation("salt", arms, 1, "blue", 1))),
        ("experiment, of new ones", cost(Allocation("salt", arms, 1, "blue", 1), 5 * UNITS)),
        ("experiment at half coverage", cost(Allocation("salt", arms, 1, "blue", 1, 0.5, "control"))),
    ]
    return table(("decision", "ns"), rows)


if __name__ == "__main__":
    sys.exit(main())
