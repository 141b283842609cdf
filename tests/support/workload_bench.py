"""A reconcile loop on a real store and an engine in memory that places replicas itself."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from support.control import ME, container_at
from support.memory_backend import MemoryBackend
from support.memory_workloads import MemoryWorkloads
from tidegate.core.engines.capabilities import KUBERNETES
from tidegate.core.engines.placement import Placement
from tidegate.core.reconcile.fleet import GatewayFacts, ReconcileLimits
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.reconcile.reconcile import ReconcileDependencies, Reconciler
from tidegate.loops.reconcile.replica_engine import ReplicaEngine
from tidegate.loops.reconcile.workload_engines import EnginesUsed, WorkloadEngines
from tidegate.store.fleet.fleet import load_snapshot
from tidegate.wire.gateways.snapshot import decode_snapshot
from tidegate.wire.rest import DeployRequest
from tidegate.wiring import Container


class Bench:
    """A control plane's loop on a real store and an engine in memory, with time in the test's hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine = MemoryWorkloads()
        self.container: Container = container_at(folder / "data", {self.engine.name: self.engine}, backend=KUBERNETES)
        self.now = 1000.0
        self.gateways: tuple[GatewayFacts, ...] = ()
        self.loop = self.new_loop(token=2)

    def new_loop(self, token: int) -> Reconciler:
        """As each term makes it: with nothing in mind."""
        store, path = self.container.store, self.container.manifests.path
        engines = WorkloadEngines(
            {self.engine.name: self.engine},
            path,
            lambda: self.now,
            token,
            EnginesUsed(self.folder / "engines"),
            lambda: self.now,
        )
        return Reconciler(
            ReconcileDependencies(
                store=store,
                engine=ReplicaEngine(MemoryBackend(), store, path, lambda: self.now, token=token),
                placement=Placement(KUBERNETES),
                snapshot_written=lambda: None,
                gateways=lambda: (self.gateways, 60.0),
                metrics=LoopMetrics(CollectorRegistry()),
                limits=ReconcileLimits(keep_previous_s=100, drain_s=5),
                clock=lambda: self.now,
                ticks=lambda: self.now,
                workloads=engines,
            )
        )

    def deploy(self, version: str = "1", replicas: int = 1) -> None:
        self.container.endpoints.deploy("churn", DeployRequest("churn", version, replicas), ME)

    def steps(self, count: int = 4, each_s: float = 0.2) -> None:
        for _ in range(count):
            self.now += each_s
            self.loop.step()

    def let_go(self) -> None:
        """The one gateway routes by the newest snapshot, and waits for nobody."""
        with self.container.store.reading() as tx:
            revision = load_snapshot(tx)[0]
        self.gateways = (GatewayFacts("gateway-0", revision),)

    def status(self) -> tuple[str, str]:
        view = self.container.endpoints.get("churn")
        return view.status, view.reason

    def routed(self) -> dict[str, tuple[float, set[str]]]:
        """By version: its weight, and the ids of its targets."""
        with self.container.store.reading() as tx:
            snapshot = decode_snapshot(load_snapshot(tx)[1].encode())
        return {
            variant.version: (variant.weight, {target.id for target in variant.targets})
            for endpoint in snapshot.endpoints
            for variant in endpoint.variants
        }
