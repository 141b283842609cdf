"""The decision that runs in production, behind a virtual clock on generated load, with cold starts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise

import pytest

from lib.fleet import LOOK_S, TRACES, World, arrivals, autoscaled, spike, static, static_as_good
from tidegate.core.scaling.autoscale import Memory, ScalingFacts, decide
from tidegate.core.scaling.load import Point, Samples
from tidegate.core.scaling.policy import Scaling

SPEC = Scaling(1, 100, "concurrency", 0.7)
"""A simulated replica computes one request at a time; at 0.7 there is room for what comes in bursts."""
WORLD = World(1500)


@pytest.mark.parametrize("trace", TRACES)
def test_it_turns_round_at_most_once_in_a_cold_start_and_keeps_up(trace: str) -> None:
    rate, shape = TRACES[trace]
    outcome = autoscaled(SPEC, WORLD, arrivals(rate, WORLD, shape))
    assert all(later - before >= WORLD.cold_start_s for before, later in pairwise(outcome.reversals()))
    assert outcome.share > 0.75
    assert max(count for _, count in outcome.desired) < 100


def test_a_spike_takes_fewer_replica_hours_than_a_static_fleet_that_is_as_good() -> None:
    times = arrivals(spike, WORLD)
    ours = autoscaled(SPEC, WORLD, times)
    replicas, theirs = static_as_good(ours.share, WORLD, times)
    assert theirs.share >= ours.share
    assert static(replicas - 1, WORLD, times).share < ours.share
    assert ours.replica_hours < theirs.replica_hours


def _followed(spec: Scaling, load: Callable[[int], float], seconds: int, cold_start_s: float) -> dict[int, int]:
    """What is desired from each second on, of a fleet whose clients keep so many requests in progress."""
    desired, memory, found = spec.min_replicas, Memory(), {0: spec.min_replicas}
    points: deque[Point] = deque(maxlen=60)
    for second in range(1, seconds):
        points.append(Point(float(second), 1.0, load(second)))
        if second % LOOK_S == 0:
            series = Samples({"g-0": tuple(points)})
            decision = decide(spec, ScalingFacts(desired, desired, series, series, cold_start_s), memory, float(second))
            if decision.desired != desired:
                found[second] = decision.desired
            desired, memory = decision.desired, decision.memory
    return found


@pytest.mark.parametrize("cold_start_s", [1.0, 8.0])
def test_a_step_from_one_to_a_hundred_and_back(cold_start_s: float) -> None:
    step = range(100, 400)
    changes = _followed(Scaling(1, 100, "concurrency", 1.0), lambda at: 100.0 * (at in step), 1000, cold_start_s)
    full = next(at for at, count in changes.items() if count == 100)
    assert full + cold_start_s < step.start + 120
    counts = list(changes.values())
    top = counts.index(100)
    assert counts[: top + 1] == sorted(counts[: top + 1])
    assert counts[top:] == sorted(counts[top:], reverse=True)
    assert changes[list(changes)[-1]] == 1
    first_down = list(changes)[top + 1]
    assert step.stop - LOOK_S + 300 <= first_down  # the window before shrinking, from the last look that needed them
    assert list(changes)[-1] <= step.stop + 300 + 60 + 7 * 14 + 4  # window, stable window, seven halvings, and looks


def test_the_same_step_with_a_larger_target_stays_small() -> None:
    changes = _followed(Scaling(1, 100, "concurrency", 50.0), lambda at: 100.0 * (at >= 100), 400, 1.0)
    assert max(changes.values()) <= 4


def test_what_is_simulated_adds_up() -> None:
    world = World(200, service_s=0.1)
    outcome = static(20, world, arrivals(lambda _: 10.0, world))
    assert outcome.within_deadline / outcome.requests > 0.999
    assert outcome.replica_s == pytest.approx(20 * 200)
    assert outcome.requests == pytest.approx(2000, rel=0.1)
    late = static(1, world, arrivals(lambda _: 20.0, world))
    assert late.share < 0.2  # one replica computes ten a second: each waits as long as it may and ends just too late
