"""Follows generated load with the autoscaler behind a virtual clock, beside the smallest static fleet that is as good.

python benchmarks/autoscaling.py [--seconds 3600]
"""

from __future__ import annotations

import argparse

from lib.fleet import TRACES, World, arrivals, autoscaled, static_as_good
from tidegate.core.scaling.policy import Scaling

SPEC = Scaling(1, 100, "concurrency", 0.7)
"""One request at a time is what a simulated replica computes; at 0.7 there is room for what comes in bursts."""


def main() -> None:
    """Print a line for each trace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=7200)
    parser.add_argument("--cold-start-s", type=float, default=8.0)
    options = parser.parse_args()
    world = World(options.seconds, cold_start_s=options.cold_start_s)
    print(
        f"target {SPEC.target:g} in progress, {world.service_s:g} s a request, deadline {world.deadline_s:g} s, ",
        end="",
    )
    print(f"cold start {world.cold_start_s:g} s, {world.seconds} s of load")
    print("trace    requests  in time  most   hours  static   hours  saved  turns")
    for name, (rate, shape) in TRACES.items():
        times = arrivals(rate, world, shape)
        ours = autoscaled(SPEC, world, times)
        replicas, theirs = static_as_good(ours.share, world, times)
        most = max(count for _, count in ours.desired)
        saved = 1 - ours.replica_hours / theirs.replica_hours
        print(
            f"{name:8} {ours.requests:8} {ours.share:8.3%} {most:5} {ours.replica_hours:7.2f} {replicas:7} "
            f"{theirs.replica_hours:7.2f} {saved:6.0%} {len(ours.reversals()):6}"
        )


if __name__ == "__main__":
    main()
