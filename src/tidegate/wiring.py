"""Settings → objects: the only composition root of the control plane. `control` builds its process around it."""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry

from tidegate import clock as clocks
from tidegate.adapters.artifacts.store import DirectoryArtifacts, ManifestFiles
from tidegate.adapters.backends import EngineParts, build_engines
from tidegate.adapters.celery_queue import CeleryQueue
from tidegate.adapters.leader_link import LeaderLink
from tidegate.adapters.locks import FileLock
from tidegate.adapters.mlflow.registry import MlflowRegistry
from tidegate.adapters.prometheus import Prometheus
from tidegate.adapters.redis_probe import RedisProbe
from tidegate.adapters.sandbox import confinement
from tidegate.api.sessions import LoginCodes
from tidegate.child_env import inherited_env
from tidegate.clock import Clock
from tidegate.core.engines.placement import Placement, check_backend, check_limits
from tidegate.core.ports import Backend
from tidegate.core.scaling.policy import ScalingDefaults
from tidegate.job_wiring import job_parts
from tidegate.jobs import pool as pools
from tidegate.jobs.bench import Bench
from tidegate.jobs.pool import JobPool
from tidegate.jobs.report import LEASE_S
from tidegate.jobs.spec import Schedule
from tidegate.loops import dispatch
from tidegate.loops.dispatch import Dispatcher
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.runner import Loop, Runner
from tidegate.services.audit import Audit
from tidegate.services.endpoints.follows import Follows
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.endpoints.scaling import Decisions, Scales
from tidegate.services.gateways.answered import SILENT_S, Answered
from tidegate.services.gateways.load import GONE_S, Load, LoadIntake
from tidegate.services.gateways.snapshots import Broadcast, GatewayRevisions, Snapshots
from tidegate.services.gateways.wanted import WantedEndpoints
from tidegate.services.images.builds import Images
from tidegate.services.images.replica_images import ReplicaImages
from tidegate.services.jobs.queue import Jobs, forget_old
from tidegate.services.jobs.uploads import Uploads
from tidegate.services.leadership import Leadership, Term
from tidegate.services.models.catalog import Models
from tidegate.services.models.files_home import files_home
from tidegate.services.models.registry_health import RegistryHealth
from tidegate.services.overview.measures import Measures
from tidegate.services.overview.performance import Performance
from tidegate.services.overview.status import StatusReport
from tidegate.services.platform_keys import PlatformKeys, check_kept_keys, platform_keys
from tidegate.settings import Settings
from tidegate.store.engine import Store, open_store, store_url
from tidegate.store.leases import Candidate
from tidegate.wire import rest
from tidegate.wire.parts import EngineView

STOP_TIMEOUT_S = 5.0
KEEP_HOUSE_EVERY_S = 60.0
HOST_CHARS_MAX = 255


class JobRunner(Protocol):
    """What the control plane does about jobs: runs them in its own pool, or tells workers over a broker."""

    def take_over(self) -> None: ...
    def notify(self) -> None: ...


@dataclass
class Container:
    """Everything the control plane's process, API, loops and jobs share. `start` and `close` it."""

    settings: Settings
    clock: Clock
    host: str
    keys: PlatformKeys
    login_codes: LoginCodes
    gateway_url: str
    store: Store
    fenced: Store
    leadership: Leadership
    registry: MlflowRegistry
    artifacts: DirectoryArtifacts
    files_lock: FileLock
    manifests: ManifestFiles
    backend: Backend
    placement: Placement
    models: Models
    endpoints: Endpoints
    scales: Scales
    jobs: Jobs
    images: Images
    uploads: Uploads
    status: StatusReport
    measures: Measures
    performance: Performance
    job_runner: JobRunner
    follows: Follows
    registry_health: RegistryHealth
    registry_changed: threading.Event
    spec_changed: threading.Event
    scaling_changed: threading.Event
    snapshot_changed: Broadcast
    snapshots: Snapshots
    gateway_revisions: GatewayRevisions
    answered: Answered
    audit: Audit
    load: LoadIntake
    wanted: WantedEndpoints
    leader_link: LeaderLink
    loops: tuple[Loop, ...] = ()
    redis: RedisProbe | None = None
    bench: Bench | None = None
    runner: Runner | None = None
    gateway_views: Callable[[], list[rest.GatewayView]] = field(default=list)

    def forget_gateway(self, gateway: str) -> None:
        """It was ended on purpose: nothing waits for it, and nobody misses it."""
        self.gateway_revisions.forget(gateway)
        self.load.load.forget(gateway)

    def start(self, metrics: LoopMetrics | None = None) -> None:
        """Start the loops, which run jobs from `take_over` on; import MLflow, and see how to confine models, beside."""
        self.registry.warm()
        threading.Thread(target=confinement.find_out, name="confinement", daemon=True).start()
        self.runner = Runner(self.loops, metrics or LoopMetrics(CollectorRegistry()), self.leadership.leads)
        self.runner.start()

    def snapshot_written(self) -> None:
        """Tell the gateways that wait here; those of a standby see it in the database."""
        self.snapshot_changed.notify()

    def take_over(self, term: Term | None = None) -> None:
        """At the start of a term: clean up after a crash, of this control plane or of the leader before it, run jobs.

        Raises `NotLeader`: files may be shared, and are the leader's to clean up. Only `term` (the one under way where
        it is None) is taken over, whatever term has begun by the end.
        """
        under_way = self.leadership.must_lead()
        if self.files_lock.acquire(0.0):  # else a worker moves files in just now: the next start sweeps
            try:
                self.artifacts.sweep()
                self.manifests.sweep(self.clock())
            finally:
                self.files_lock.release()
        self.models.environments.refresh()
        self.job_runner.take_over()
        (term or under_way).taken_over.set()
        self.job_runner.notify()

    def close(self) -> None:
        """End long polls and jobs within a bound (a job that is cut off runs again), then close the store."""
        self.snapshot_changed.close()
        self.leader_link.close()
        if self.bench is not None:
            self.bench.end()
        if self.runner is not None:
            self.runner.stop(STOP_TIMEOUT_S)
        self.leadership.end()
        self.store.close()


def build(
    settings: Settings,
    *,
    gateway_url: str = "http://127.0.0.1:8000",
    control_url: str = "http://127.0.0.1:8800",
    host: str = "127.0.0.1",
    backend: Backend | None = None,
    clock: Clock = clocks.now,
) -> Container:
    """Open and migrate the store in a data directory that exists, and wire the rest. Starts nothing yet.

    Raises `DataDirUnusable`, `StoreUnavailable`, `InvalidArgument`.
    """
    data_dir = settings.data_dir
    store = open_store(store_url(data_dir, settings.database_url))
    store.migrate(host_id(data_dir))
    leadership = Leadership(store, Candidate(secrets.token_hex(8), host_id(data_dir), control_url))
    fenced = store.fenced(leadership.fence)
    files_dir = files_home(store, settings.files_home)
    parts = job_parts(settings, store, files_dir, clock)
    spec_changed, scaling_changed, registry_changed = threading.Event(), threading.Event(), threading.Event()
    models, registry = replace(parts.models, changed=registry_changed.set), parts.registry
    health = RegistryHealth(registry.where)
    uploads = replace(parts.uploads, store=fenced)
    job_runner: JobRunner
    dispatcher = bench = None
    if settings.celery_broker_url:
        queue = CeleryQueue(settings.celery_broker_url, settings.job_queue)
        job_runner = dispatcher = Dispatcher(fenced, queue, leadership.leads)
        job_loops = [_dispatch_loop(dispatcher)]
    else:
        bench = Bench(fenced, parts.specs(), uploads, LEASE_S, letters=False)
        job_runner = pool = JobPool(fenced, bench, settings.job_workers)
        job_loops = pool_loops(pool)
    jobs = Jobs(store, clock, job_runner.notify)
    schedule = Loop("schedule", Schedule(fenced, parts.specs(), job_runner.notify).step, leader_only=True)
    images = ReplicaImages(replace(jobs, store=fenced))
    engines = build_engines(EngineParts(settings, files_dir, inherited_env(), images.make))
    backend = backend or engines.backend
    placement = default_placement(settings)
    changed = _setting(spec_changed, scaling_changed)
    endpoints = Endpoints(store, registry, backend, clock, gateway_url, changed, placement, scaling_defaults(settings))

    def can_start(where: Placement) -> None:
        if leadership.term is not None:  # a standby's engine is not the one that will be asked
            backend.check(where)

    revisions = GatewayRevisions(clocks.monotonic)
    answered = Answered(clock, lambda: revisions.heard_within(SILENT_S))
    keys = platform_keys(settings)
    leader_link = LeaderLink(keys.node)
    samples = Load(clocks.monotonic, lambda: revisions.heard_within(GONE_S), settings.load_samples_max)
    load = LoadIntake(samples, leadership, leader_link.pass_on)
    endpoints = replace(endpoints, can_start=can_start, answered=answered.of, load=load.view)
    follows = Follows(fenced, replace(endpoints, store=fenced), replace(jobs, store=fenced), clock)

    def engine_view() -> EngineView | None:
        return engines.view(placement.backend)

    def views() -> list[rest.GatewayView]:
        return container.gateway_views()  # the supervisor puts its own in later

    snapshots = Snapshots(store, leadership.me.host)
    broker = dispatcher.view if dispatcher else lambda: None
    redis = RedisProbe(settings.redis_url) if settings.redis_url else None
    redis_loops = [Loop("redis", redis.step, close=redis.close)] if redis else []
    views_of = (leadership.view, engine_view, broker, health.view, redis.view if redis else lambda: None)
    report = StatusReport(store, endpoints, str(data_dir), clock(), views, *views_of, confinement.said_so_far)
    container = Container(
        settings=settings,
        clock=clock,
        host=host,
        keys=keys,
        login_codes=LoginCodes(clock),
        gateway_url=gateway_url,
        store=store,
        fenced=fenced,
        leadership=leadership,
        registry=registry,
        artifacts=parts.artifacts,
        files_lock=parts.files_lock,
        manifests=models.manifests,
        backend=backend,
        models=models,
        endpoints=endpoints,
        scales=Scales(endpoints.shown, decisions := Decisions(), leadership),
        jobs=jobs,
        images=Images(models, jobs, parts.build.images, settings.image_base),
        uploads=uploads,
        status=report,
        placement=placement,
        measures=Measures(store, report, clock, decisions),
        performance=Performance(
            endpoints, Prometheus(settings.prometheus_url) if settings.prometheus_url else None, clock
        ),
        job_runner=job_runner,
        follows=follows,
        registry_health=health,
        registry_changed=registry_changed,
        spec_changed=spec_changed,
        scaling_changed=scaling_changed,
        snapshot_changed=Broadcast(),
        snapshots=snapshots,
        gateway_revisions=revisions,
        answered=answered,
        loops=(*job_loops, schedule, _housekeeping(fenced, uploads, settings.audit_rows_max), *redis_loops),
        audit=Audit(store, clock),
        load=load,
        wanted=WantedEndpoints(clocks.monotonic, scaling_changed.set),
        leader_link=leader_link,
        redis=redis,
        bench=bench,
    )
    return container


def check(settings: Settings) -> None:
    """Raise what `build` would raise with these settings and this database, and change nothing."""
    check_kept_keys(settings)
    default_placement(settings)
    if settings.celery_broker_url:
        CeleryQueue(settings.celery_broker_url, settings.job_queue)
    if settings.redis_url:
        RedisProbe(settings.redis_url).close()
    store = open_store(store_url(settings.data_dir, settings.database_url))
    try:
        store.rehearse_migration(host_id(settings.data_dir))
    finally:
        store.close()


def _dispatch_loop(dispatcher: Dispatcher) -> Loop:
    return Loop("dispatch", dispatcher.step, dispatcher.wake, backoff=dispatch.BACKOFF, close=dispatcher.close)


def pool_loops(pool: JobPool) -> list[Loop]:
    """One for each job that may run at a time, and one that keeps the jobs' leases."""
    workers = [
        Loop(f"job-{number}", pool.work, wake, leader_only=True, backoff=pools.TROUBLE)
        for number, wake in enumerate(pool.wakes)
    ]
    return [*workers, Loop("leases of jobs", pool.bench.keep_leases)]


def _housekeeping(store: Store, uploads: Uploads, audit_rows_max: int) -> Loop:
    def step() -> float:
        forget_old(store, uploads, audit_rows_max)
        return KEEP_HOUSE_EVERY_S

    return Loop("housekeeping", step, leader_only=True)


def default_placement(settings: Settings) -> Placement:
    """Where replicas run of endpoints that do not say, and what they may use there. Raises `InvalidArgument`."""
    cpus, memory_bytes = settings.docker_cpus or None, settings.docker_memory_bytes or None
    check_limits(cpus, memory_bytes)
    return Placement(check_backend(settings.backend), cpus, memory_bytes)


def _setting(*events: threading.Event) -> Callable[[], None]:
    """Sets them all."""

    def set_all() -> None:
        for event in events:
            event.set()

    return set_all


def scaling_defaults(settings: Settings) -> ScalingDefaults:
    """What holds where people do not say how replicas follow the load, and how far they may go."""
    cpu_percent = float(settings.target_cpu_utilization)
    return ScalingDefaults(settings.min_replicas, settings.max_replicas, cpu_percent, settings.replicas_limit)


def host_id(data_dir: Path) -> str:
    """This machine and data directory, in words; unique as far as machines have names of their own."""
    whole = f"{os.uname().nodename}:{os.path.realpath(data_dir)}"
    if len(whole) <= HOST_CHARS_MAX:
        return whole
    return f"{whole[: HOST_CHARS_MAX - 17]}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
