"""The running platform: its store, loops, gateways, replicas and API, started and ended in order. Called by `run`."""

from __future__ import annotations

import hashlib
import logging
import resource
import socket
import threading
from collections.abc import Callable

import uvicorn

from tidegate import wiring
from tidegate.clock import monotonic
from tidegate.control.bounded_http import BACKLOG, Waiting
from tidegate.control.descriptors import connections_max
from tidegate.control.leading import LEASE_TROUBLE, Leading
from tidegate.control.limits import limits_of
from tidegate.control.options import Options
from tidegate.control.site import Site
from tidegate.core.reconcile.fleet import GatewayFacts
from tidegate.loops.follow import FollowDependencies, RegistryWatch
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.processes import gateways
from tidegate.loops.processes.compactor import CompactorSupervisor
from tidegate.loops.processes.gateways import GatewaySupervisor
from tidegate.loops.reconcile.adoption import stop_replicas
from tidegate.loops.reconcile.publish import KeyHashes
from tidegate.loops.reconcile.reconcile import ReconcileDependencies, Reconciler
from tidegate.loops.reconcile.replica_engine import ReplicaEngine
from tidegate.loops.reconcile.workload_engines import ENGINES_USED_DIR, EnginesUsed, WorkloadEngines
from tidegate.loops.runner import Loop, Runner
from tidegate.loops.scaling import autoscale
from tidegate.services.leadership import Term
from tidegate.services.platform_keys import PlatformKeys
from tidegate.settings import Settings

log = logging.getLogger(__name__)

GATEWAYS_END_S, REPLICAS_END_S, LOOPS_END_S, API_END_S = 10.0, 10.0, 6.0, 3.0


class RunningPlatform:
    """Everything of one control plane between its checks and its end."""

    def __init__(
        self,
        settings: Settings,
        options: Options,
        supervisor: GatewaySupervisor,
        compactor: CompactorSupervisor,
        metrics: LoopMetrics,
    ) -> None:
        self._supervisor, self._compactor = supervisor, compactor
        self._ending = threading.Event()
        self._listening_since = monotonic()
        addresses = wiring.Addresses(options.gateway_url, options.public_url, options.host)
        container = wiring.build(settings, addresses, own_gateways=supervisor.views)
        self.container = container
        supervisor.on_retired = container.forget_gateway
        self._settings, self._metrics = settings, metrics
        if container.redis is not None:
            metrics.watch(container.redis)
        self._leading = Leading(container, self._reconciler, self._ending, lambda: self._gateways_heard()[0])
        waiting = Waiting(connections_max(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        self._site = Site(container, waiting.connections_max)
        self._api = uvicorn.Server(
            uvicorn.Config(
                self._site,
                http=waiting.protocol(),
                ws="none",
                backlog=BACKLOG,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=2,
            )
        )
        self._api_thread = threading.Thread(target=self._serve_api, name="api", daemon=True)
        leads = container.leadership.leads
        self._loops = Runner(self._loops_that_act(), metrics, leads)
        # Not waited for at the end: a registry that hangs holds its client for a minute, and the lease is kept as long
        # as this process may still write.
        self._others = Runner((self._registry_loop(), self._lease_loop()), metrics, leads)

    def _reconciler(self, term: Term) -> Reconciler:
        """For this term alone, with nothing in mind from an earlier one."""
        return Reconciler(self._reconcile_dependencies(term, self._settings, self._metrics))

    def _reconcile_dependencies(self, term: Term, settings: Settings, metrics: LoopMetrics) -> ReconcileDependencies:
        container = self.container
        store, backend, path = container.fenced, container.backend, container.manifests.path
        return ReconcileDependencies(
            store=store,
            engine=ReplicaEngine(backend, store, path, container.clock, term.token),
            placement=container.placement,
            snapshot_written=container.snapshot_written,
            gateways=self._gateways_heard,
            metrics=metrics,
            limits=limits_of(settings),
            starts_max=settings.starts_max,
            key_hashes=key_hashes(container.keys),
            host=container.leadership.me.host,
            clock=container.clock,
            workloads=WorkloadEngines(
                container.workloads,
                path,
                container.clock,
                term.token,
                EnginesUsed(settings.data_dir / ENGINES_USED_DIR),
            ),
        )

    def _loops_that_act(self) -> tuple[Loop, ...]:
        leading, supervisor = self._leading, self._supervisor
        return (
            Loop("reconcile", leading.step, self.container.spec_changed, close=leading.step_down),
            Loop("gateways", supervisor.step, backoff=gateways.TROUBLE),
            Loop("compactor", self._compactor.step),
            self._autoscale_loop(),
        )

    def _autoscale_loop(self) -> Loop:
        container = self.container
        dependencies = autoscale.AutoscaleDependencies(
            store=container.fenced,
            load=container.load.load,
            cpu_of=container.backend.cpu_s,
            wanted=container.wanted.now,
            decisions=container.scales.decisions,
            changed=container.spec_changed.set,
            placement=container.placement,
            host=container.leadership.me.host,
            clock=container.clock,
        )
        return Loop("autoscale", autoscale.Autoscaler(dependencies).step, container.scaling_changed, leader_only=True)

    def _lease_loop(self) -> Loop:
        return Loop("lease", self._leading.elect, backoff=LEASE_TROUBLE)

    def _registry_loop(self) -> Loop:
        container = self.container
        dependencies = FollowDependencies(
            registry=container.registry,
            follows=container.follows,
            health=container.registry_health,
            leads=lambda: container.leadership.term is not None,
            poll_s=self._settings.registry_poll_s,
            clock=container.clock,
            write_aliases=container.kept_aliases.write,
        )
        watch = RegistryWatch(dependencies)
        return Loop("registry", watch.step, container.registry_changed, on_wake=watch.look_again)

    def start(self, api_socket: socket.socket) -> None:
        """Lead or stand by; as leader take over what runs and make one pass. Then listen, and start the loops."""
        self._leading.begin()
        self._listener, self._listening_since = api_socket, monotonic()
        self._api_thread.start()
        self._loops.start()
        self._others.start()
        self.container.start(self._metrics)

    def _serve_api(self) -> None:
        self._api.run(sockets=[self._listener])

    def wait_for_answers(self, timeout_s: float, stop: threading.Event) -> bool:
        """True once the API and every gateway answer (or `stop` is set); after the time, whether any gateway does."""
        deadline = monotonic() + timeout_s
        while not (self._api.started and self._supervisor.ready()) and not stop.wait(0.02):
            if monotonic() >= deadline:
                return self._api.started and self._supervisor.any_ready()
        return True

    def ended_by_itself(self) -> bool:
        """Whether the API's server is gone, so that nothing could ever ask this process to do anything."""
        return not self._api_thread.is_alive()

    def stop(self, at_once: threading.Event) -> None:
        """Gateways finish what they have, then replicas, then the API; each within its bound, or `at_once`."""
        log.info("stopping the gateways")
        self._end_loops(lambda: self._supervisor.stop_all(GATEWAYS_END_S, at_once))
        self._compactor.stop(at_once)
        log.info("stopping the replicas")
        stop_replicas(self.container.backend, REPLICAS_END_S, at_once)
        self._end_api()

    def leave(self) -> None:
        """End what is this process alone; gateways and replicas serve on until another control plane adopts them."""
        self._end_loops()
        self._end_api()

    def _end_loops(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self._ending.set()
        self._loops.end()
        meanwhile()
        self._loops.stop(LOOPS_END_S)

    def _end_api(self) -> None:
        self.container.snapshot_changed.close()
        self._site.close_pages()
        self._api.should_exit = True
        if self._api_thread.ident is not None:
            self._api_thread.join(API_END_S)
        self._site.close()
        self.container.close()
        self._others.end()

    def _gateways_heard(self) -> tuple[tuple[GatewayFacts, ...], float]:
        """What gateways that may be routing said last, and for how long they could have said something."""
        facts = self.container.gateway_revisions.facts(self._supervisor.running_since())
        return facts, monotonic() - self._listening_since


def key_hashes(keys: PlatformKeys) -> KeyHashes:
    """What the snapshot says of the keys in force."""

    def hashed(key: str | None) -> tuple[str, ...]:
        return (hashlib.sha256(key.encode()).hexdigest(),) if key else ()

    return KeyHashes(hashed(keys.predict), hashed(keys.metrics))
