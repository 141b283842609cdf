"""What a pass of the reconcile loop and `GET /status` cost with 1,000 endpoints: `python benchmarks/store_at_scale.py`.

Every model has 10 versions, each with a share of the traffic and a replica; nothing changes. The engine answers at
once: what is measured is the store, the decisions and the answer. Figures are of this machine, in this process;
the processor's time says more than the clock's where the machine is busy with something else.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter, process_time

from lib.fleets import ReadyEngine, fill, reconciler
from tidegate.api.app import create_app
from tidegate.client.transport.base import ApiCall
from tidegate.client.transport.in_process import InProcess
from tidegate.settings import Settings
from tidegate.wiring import build

ROUNDS = 7
PASS_MS, STATUS_MS = 100.0, 150.0
"""What they shall stay within; a page of a list as `/status`."""


def times_ms(do: Callable[[], object], rounds: int) -> tuple[float, float, float]:
    """The median and the longest by the clock, and the median of the processor, after one round that is not counted."""
    do()
    clock_ms, processor_ms = [], []
    for _ in range(rounds):
        begun, begun_cpu = perf_counter(), process_time()
        do()
        clock_ms.append((perf_counter() - begun) * 1000)
        processor_ms.append((process_time() - begun_cpu) * 1000)
    return statistics.median(clock_ms), max(clock_ms), statistics.median(processor_ms)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 when one is above its bound."""
    options = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        container = build(Settings.from_env({}, data_dir=Path(folder)))
        container.leadership.step()
        engine = ReadyEngine()
        fill(container.store, container.leadership.me.host, options.endpoints, options.versions, options.running)
        loop, api = reconciler(container, engine), InProcess(create_app(container))
        headers = {"Host": "localhost", "Authorization": f"Bearer {container.keys.token}"}
        measured = [
            ("an unchanged pass", loop.step, PASS_MS),
            ("GET /api/v1/status", lambda: api.call(ApiCall("GET", "/api/v1/status"), headers, 60.0), STATUS_MS),
            ("GET /api/v1/endpoints", lambda: api.call(ApiCall("GET", "/api/v1/endpoints"), headers, 60.0), STATUS_MS),
        ]
        print(f"{options.endpoints} endpoints, {options.versions} versions each, {options.running} of them running")
        late = False
        for name, do, bound_ms in measured:
            clock_ms, longest_ms, processor_ms = times_ms(do, options.rounds)
            late = late or clock_ms > bound_ms
            told = f"{longest_ms:.1f} ms the longest, {processor_ms:.1f} ms of a processor (bound {bound_ms:g} ms)"
            print(f"{name:<24}{clock_ms:8.1f} ms, {told}")
            if options.profile:
                _profile(do)
        api.close()
        container.close()
    return int(late)


def _profile(do: Callable[[], object]) -> None:
    profile = cProfile.Profile()
    profile.runcall(do)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(25)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=1000)
    parser.add_argument("--versions", type=int, default=10, help="of each model")
    parser.add_argument("--running", type=int, default=10, help="of them, with a share of the traffic and a replica")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", action="store_true", help="also print where the time goes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
