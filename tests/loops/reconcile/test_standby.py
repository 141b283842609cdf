"""Replicas of a host whose control plane leads no more: they end when the leader serves and gateways have let go."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from support.control import container_at
from tidegate.core.engines.placement import Placement
from tidegate.core.ports import Handle, ReplicaObservation, ReplicaSpec
from tidegate.core.reconcile.fleet import GatewayFacts, ReconcileLimits
from tidegate.loops.reconcile.standby import Standby
from tidegate.services.gateways.snapshots import Broadcast, Snapshots
from tidegate.store.fleet import fleet as rows
from tidegate.wire.gateways.snapshot import Snapshot, encode_snapshot


class OneReplica:
    """A backend with one replica that runs until it is stopped."""

    name = "local"
    stopped = False

    def check(self, placement: Placement) -> None:
        pass

    def start(self, spec: ReplicaSpec) -> Handle:
        raise AssertionError(f"{spec.id} is not this control plane's to start")

    def orphans(self, known: Sequence[Handle]) -> list[Handle]:
        return [] if self.stopped else [Handle("local", {"replica": "r-1", "token": 1})]

    def on_this_host(self) -> list[Handle]:
        return self.orphans([])

    def stop(self, handle: Handle) -> None:
        self.stopped = True

    kill = stop

    def cpu_s(self, handles: Sequence[Handle]) -> list[float | None]:
        return [None for _ in handles]

    def observe(self, handles: Sequence[Handle]) -> list[ReplicaObservation | None]:
        return [ReplicaObservation(not self.stopped, not self.stopped) for _ in handles]

    def unavailable_reason(self) -> str | None:
        return None

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        return []


def test_the_replicas_end_once_the_gateways_have_let_go_of_them(tmp_path: Path) -> None:
    container = container_at(tmp_path / "data")
    said: list[GatewayFacts] = [GatewayFacts("g-0", 8)]
    try:
        with container.store.transaction() as tx:
            rows.save_snapshot(tx, 9, encode_snapshot(Snapshot(9, ())).decode(), 0.0, "another host")
        backend, passed = OneReplica(), [100.0]
        snapshots, limits = Snapshots(container.store, "this host"), ReconcileLimits()
        standby = Standby(backend, snapshots, Broadcast(), lambda: tuple(said), 120, limits, lambda: passed[0])
        standby.begin()
        assert snapshots.newer(8) is None, "the gateways keep what they have"
        standby.step(threading.Event())
        passed[0] += 20
        standby.step(threading.Event())
        assert not backend.stopped
        assert snapshots.newer(8) is not None, "they are told"
        said[:] = [GatewayFacts("g-0", 9, in_use=frozenset({"r-1"}))]
        standby.step(threading.Event())
        assert not backend.stopped
        said[:] = [GatewayFacts("g-0", 9)]
        standby.step(threading.Event())
        assert backend.stopped
    finally:
        container.close()
