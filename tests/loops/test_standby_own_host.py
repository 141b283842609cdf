"""What a control plane ends while another leads: its own host's replicas, and nobody else's."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from support.memory_backend import MemoryBackend
from tidegate.adapters.backends import Backends
from tidegate.core.engines.placement import Placement
from tidegate.core.ports import ReplicaSpec
from tidegate.core.reconcile.fleet import ReconcileLimits
from tidegate.loops.reconcile.adoption import stop_replicas
from tidegate.loops.reconcile.standby import Standby
from tidegate.services.gateways.snapshots import Broadcast, Snapshots


@dataclass
class LeaderSeen:
    """Of the snapshots: whether a leader wrote one, and its replicas serve."""

    known_: bool = True
    serves: bool = True
    holding: threading.Event = field(default_factory=threading.Event)

    def known(self) -> bool:
        return self.known_

    def newest(self) -> int:
        return 1

    def served_elsewhere(self) -> bool:
        return self.serves


class Two:
    """An engine of this host and one that hosts share, with a replica on each."""

    def __init__(self) -> None:
        self.own, self.shared = MemoryBackend("own"), MemoryBackend("cluster", shared=True)
        self.both = Backends(self.own, self.shared)
        self.leader = LeaderSeen()
        self.now = 0.0
        snapshots = cast(Snapshots, self.leader)
        limits = ReconcileLimits(drain_s=0.0)
        self.standby = Standby(self.both, snapshots, Broadcast(), lambda: (), 60.0, limits, lambda: self.now)
        for backend in (self.own, self.shared):
            spec = ReplicaSpec(f"r-{backend.name}", "churn", "churn", "1", Path("m"), 1, Placement(backend.name))
            self.both.start(spec)
        self.standby.begin()

    def step(self) -> None:
        self.standby.step(threading.Event())


@pytest.fixture
def two() -> Two:
    return Two()


def test_a_standby_ends_what_runs_on_its_host_and_not_the_leaders_fleet_on_a_shared_engine(two: Two) -> None:
    two.step()
    assert two.own.running == {}
    assert two.shared.running == {"r-cluster": "churn"}
    assert two.shared.done == [("start", "r-cluster")], "it was not even asked to stop"
    assert not two.leader.holding.is_set()


def test_what_runs_on_a_standbys_host_waits_for_the_leaders_replicas_and_no_longer_than_it_may(two: Two) -> None:
    two.leader.serves = False
    two.step()
    assert two.own.running == {"r-own": "churn"}
    two.now = 60.0
    two.step()
    assert (two.own.running, two.shared.running) == ({}, {"r-cluster": "churn"})


def test_without_a_leader_nothing_is_ended(two: Two) -> None:
    two.leader.known_ = False
    two.step()
    assert set(two.own.running) == {"r-own"}


def test_a_platform_that_stops_here_leaves_what_runs_on_a_shared_engine(two: Two) -> None:
    stop_replicas(two.both, 1.0, threading.Event())
    assert (two.own.running, set(two.shared.running)) == ({}, {"r-cluster"})


def test_the_leader_still_finds_what_runs_without_a_row_wherever_it_runs(two: Two) -> None:
    assert {handle.data["replica"] for handle in two.both.orphans([])} == {"r-own", "r-cluster"}
