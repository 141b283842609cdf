"""The decision that runs in production, behind a virtual clock on generated load, with cold starts."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lib.fleet import TRACES, World, arrivals, autoscaled, spike, static, static_as_good
from tidegate.core.scaling import Scaling

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


def test_what_is_simulated_adds_up() -> None:
    world = World(200, service_s=0.1)
    outcome = static(20, world, arrivals(lambda _: 10.0, world))
    assert outcome.within_deadline / outcome.requests > 0.999
    assert outcome.replica_s == pytest.approx(20 * 200)
    assert outcome.requests == pytest.approx(2000, rel=0.1)
    late = static(1, world, arrivals(lambda _: 20.0, world))
    assert late.share < 0.2  # one replica computes ten a second: each waits as long as it may and ends just too late
