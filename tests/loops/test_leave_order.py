"""Replicas leave under a real gateway and load, and nobody's request fails: also where the gateway hears of it late."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from support.control import ME, add_version, container_at, served
from support.gateway_bed import REPLICA, Gateway, Load, is_ready
from support.gateway_replica import SIGNATURE
from support.platform import clean_env
from support.wait import free_ports, until
from tidegate import clock
from tidegate.core.engines.placement import PROCESSES, Placement
from tidegate.core.ports import Handle, ReplicaObservation, ReplicaSpec
from tidegate.core.reconcile.fleet import ReconcileLimits
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.reconcile.reconcile import ReconcileDependencies, Reconciler
from tidegate.loops.reconcile.replica_engine import ReplicaEngine
from tidegate.loops.runner import Loop, Runner
from tidegate.services.gateways.snapshots import Snapshots
from tidegate.store.endpoints.endpoints import replicas_of
from tidegate.system.run_dir import make_run_dir
from tidegate.wire.rest import DeployRequest, ScaleRequest
from tidegate.wiring import Container

ROUNDS = 3
DRAIN_S = 1.0


@dataclass
class Processes:
    """A backend of real replica processes that load in no time."""

    folder: Path
    name: str = "processes"
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def check(self, placement: Placement) -> None:
        pass

    def unavailable_reason(self) -> str | None:
        return None

    def start(self, spec: ReplicaSpec) -> Handle:
        argv = [sys.executable, "-P", str(REPLICA), "--uds", str(self.path(spec.id))]
        argv += ["--version", spec.version, "--scale", spec.version]
        self.running[spec.id] = subprocess.Popen(argv, env=clean_env(TIDEGATE_DRAIN_S=f"{DRAIN_S}"))
        return Handle(self.name, {"replica": spec.id, "token": spec.token})

    def cpu_s(self, handles: Sequence[Handle]) -> list[float | None]:
        return [None for _ in handles]

    def observe(self, handles: Sequence[Handle]) -> list[ReplicaObservation | None]:
        return [self._seen(str(handle.data["replica"])) for handle in handles]

    def stop(self, handle: Handle) -> None:
        self.running[str(handle.data["replica"])].send_signal(signal.SIGTERM)

    def kill(self, handle: Handle) -> None:
        self.running[str(handle.data["replica"])].kill()

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        return []

    def orphans(self, known: Sequence[Handle]) -> list[Handle]:
        return []

    def on_this_host(self) -> list[Handle]:
        return []

    def path(self, replica: str) -> Path:
        return self.folder / f"{replica}.sock"

    def _seen(self, replica: str) -> ReplicaObservation:
        alive = self.running[replica].poll() is None
        path = self.path(replica)
        return ReplicaObservation(alive, alive and is_ready(path), f"unix:{path}")


class HeldBack(Snapshots):
    """Gateways get no newer snapshot before `let_go` is set."""

    let_go = threading.Event()

    def newer(self, after: int) -> str | None:
        body = super().newer(after)
        return body if body is None or self.let_go.wait(30) else None


class Platform:
    """A control plane's reconcile loop and API in this process, a gateway and replicas in theirs."""

    def __init__(self, data_dir: Path, limits: ReconcileLimits) -> None:
        self.container = container_at(data_dir)
        for version in ("1", "2"):
            add_version(self.container, "sums", version, signature=SIGNATURE)
        self.snapshots = HeldBack(self.container.store, self.container.snapshots.host)
        self.snapshots.let_go.set()
        self.container.snapshots = self.snapshots
        self.backend = Processes(make_run_dir(data_dir))
        self.ahead_s = 0.0  # of the clock: time that passes at the test's word
        self._limits = limits

    def loop(self) -> Loop:
        container = self.container
        around = ReconcileDependencies(
            store=container.store,
            engine=ReplicaEngine(self.backend, container.store, container.manifests.path, self.now),
            placement=PROCESSES,
            snapshot_written=container.snapshot_written,
            gateways=lambda: (container.gateway_revisions.facts({}), 60.0),
            metrics=LoopMetrics(CollectorRegistry()),
            limits=self._limits,
            clock=self.now,
            ticks=lambda: clock.monotonic() + self.ahead_s,
        )
        return Loop("reconcile", Reconciler(around).step, container.spec_changed)

    def now(self) -> float:
        return clock.now() + self.ahead_s

    def gateway(self, control_url: str) -> Gateway:
        port, grpc_port = free_ports(2)
        argv = [sys.executable, "-m", "tidegate.gateway", "--data-dir", str(self.container.settings.data_dir)]
        argv += ["--port", str(port), "--grpc-port", str(grpc_port), "--id", "g-0", "--control-url", control_url]
        return Gateway(subprocess.Popen(argv, env=clean_env(), stderr=subprocess.DEVNULL), "g-0", port, grpc_port)

    def shift(self, version: str) -> None:
        self.container.endpoints.deploy("sums", DeployRequest("sums", version), ME)
        self.serves(version, 1)

    def serves(self, version: str, replicas: int) -> None:
        until(lambda: self.states(version) == ["ready"] * replicas, what=f"{replicas} of version {version}")

    def scale(self, replicas: int) -> None:
        self.container.endpoints.scale("sums", ScaleRequest(replicas), ME)

    def states(self, version: str) -> list[str]:
        with self.container.store.reading() as tx:
            return [row.state for row in replicas_of(tx, "sums") if row.version == version]

    def took_it_late(self, load: Load, leaves: str) -> None:
        """Let replicas of this version leave while the gateway hears of nothing, and tell it much later."""
        until(lambda: "draining" in self.states(leaves), what=f"version {leaves} leaving")
        self.ahead_s += 5 * DRAIN_S
        load.wait_for(100)
        self.snapshots.let_go.set()
        until(lambda: set(self.states(leaves)) <= {"ready"}, what=f"the end of what leaves of version {leaves}")


@pytest.fixture
def started(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Platform, Gateway]]:
    """Serving version 1, under the limits that the test asks for."""
    platform = Platform(tmp_path / "data", request.param)
    container: Container = platform.container
    runner = Runner([platform.loop()], LoopMetrics(CollectorRegistry()))
    gateways: list[Gateway] = []
    try:
        with served(container) as api:
            gateway = platform.gateway(str(api.base_url))
            gateways.append(gateway)
            runner.start()
            platform.shift("1")
            until(gateway.healthy, what="the gateway")
            until(lambda: gateway.ask([1, 2, 3]).status == 200, what="the first answer")
            yield platform, gateway
            platform.snapshots.let_go.set()
            runner.stop(5)
    finally:
        for process in [*platform.backend.running.values(), *(one.process for one in gateways)]:
            process.kill()
            process.wait(10)
        container.close()


LIMITS = ReconcileLimits(keep_previous_s=0, drain_s=DRAIN_S, stop_grace_s=DRAIN_S + 5)
TIMER_ALONE = replace(LIMITS, leave_s=DRAIN_S)


@pytest.mark.parametrize("started", [LIMITS], indirect=True)
def test_replicas_that_leave_fail_nobody_though_the_gateway_hears_of_it_late(started: tuple[Platform, Gateway]) -> None:
    platform, gateway = started
    with Load(gateway) as load:
        for number in range(ROUNDS):
            now, then = ("1", "2") if number % 2 == 0 else ("2", "1")
            platform.scale(2)
            platform.serves(now, 2)
            load.wait_for(50)
            platform.snapshots.let_go.clear()
            platform.scale(1)
            platform.took_it_late(load, now)
            platform.serves(now, 1)
            platform.snapshots.let_go.clear()
            platform.shift(then)
            platform.took_it_late(load, now)
    assert load.troubles == []


@pytest.mark.parametrize("started", [TIMER_ALONE], indirect=True)
def test_a_timer_alone_would_end_replicas_under_that_gateway(started: tuple[Platform, Gateway]) -> None:
    platform, gateway = started
    with Load(gateway) as load:
        platform.snapshots.let_go.clear()
        platform.shift("2")
        until(lambda: platform.states("1") == ["draining"], what="version 1 leaving")
        platform.ahead_s += 5 * DRAIN_S
        until(lambda: load.failures, what="a failed request")
