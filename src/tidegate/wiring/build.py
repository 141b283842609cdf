"""Settings → objects: the only composition root of the control plane. `control` builds its process around it."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tidegate import clock as clocks
from tidegate.adapters.backends import EngineParts, build_engines
from tidegate.adapters.capture.dropped import dropped_records
from tidegate.adapters.capture.forgetting import ForgetFiles
from tidegate.adapters.capture.imports import CaptureImports
from tidegate.adapters.capture.queries import SqlProcesses
from tidegate.adapters.capture.results import ResultParquet
from tidegate.adapters.capture.rows import StoredRows
from tidegate.adapters.celery_queue import CeleryQueue
from tidegate.adapters.cloudrun.credentials import GoogleCredentials
from tidegate.adapters.leader_calls import LeaderCalls
from tidegate.adapters.leader_link import LeaderLink
from tidegate.adapters.notifiers.reach import read_networks
from tidegate.adapters.prometheus.endpoint_history import EndpointHistory
from tidegate.adapters.prometheus.server import Prometheus
from tidegate.adapters.redis_probe import RedisProbe
from tidegate.adapters.sandbox import confinement
from tidegate.api.sessions import LoginCodes
from tidegate.capture.location import Location
from tidegate.clock import Clock
from tidegate.core.engines.placement import Placement
from tidegate.core.images.contents import read_registry
from tidegate.core.manifests.served import ExportSettings
from tidegate.core.ports import Backend
from tidegate.core.workloads import Workloads
from tidegate.job_wiring import job_parts
from tidegate.loops.monitor import MonitorLoop
from tidegate.loops.runner import Loop
from tidegate.services.audit import Audit
from tidegate.services.canaries.use_cases import Canaries
from tidegate.services.capture.queries import CapturedData
from tidegate.services.capture.settings import CaptureRulesOf
from tidegate.services.declared.documents import Documents
from tidegate.services.declared.manifests import Manifests
from tidegate.services.declared.use_cases import UseCases
from tidegate.services.endpoints.follows import Follows
from tidegate.services.endpoints.guards import Guarding
from tidegate.services.endpoints.imports import Imports
from tidegate.services.endpoints.kept_aliases import KeptAliases
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.endpoints.scaling import Decisions, Scales
from tidegate.services.gateways.answered import SILENT_S, Answered
from tidegate.services.gateways.id_tokens import GatewayIdTokens
from tidegate.services.gateways.listed import ListedGateways, OwnGateways, none_of_its_own
from tidegate.services.gateways.load import GONE_S, Load, LoadIntake
from tidegate.services.gateways.load_series import EndpointLoads, LoadOverview
from tidegate.services.gateways.snapshots import Broadcast, GatewayRevisions, Snapshots
from tidegate.services.gateways.wanted import WantedEndpoints, WantedIntake
from tidegate.services.images.builds import Images
from tidegate.services.images.packages import Packages
from tidegate.services.images.replica_images import ReplicaImages
from tidegate.services.jobs.queue import Jobs, forget_old
from tidegate.services.jobs.uploads import Uploads
from tidegate.services.leadership import Leadership
from tidegate.services.models.files_home import files_home
from tidegate.services.models.registry_health import RegistryHealth
from tidegate.services.monitoring.kept_results import ResultsKept
from tidegate.services.monitoring.monitoring import Monitoring
from tidegate.services.monitoring.replays import Replays
from tidegate.services.overview.measures import Measures
from tidegate.services.overview.performance import PerformanceReports
from tidegate.services.overview.status import StatusReport
from tidegate.services.platform_id import platform_id
from tidegate.services.platform_keys import check_kept_keys, platform_keys
from tidegate.services.shadows.shadows import Shadows
from tidegate.settings import Settings
from tidegate.store.database.engine import Store, open_store, store_url
from tidegate.store.leases import Candidate
from tidegate.system.child_env import inherited_env
from tidegate.wire.capture.capture import CaptureView, capture_view, read_state
from tidegate.wiring.alerts import alert_parts, reach_of
from tidegate.wiring.canaries import canary_loop
from tidegate.wiring.container import Container
from tidegate.wiring.defaults import default_placement, host_id, scaling_defaults
from tidegate.wiring.deliveries import version_delivery
from tidegate.wiring.experiments import experiment_parts
from tidegate.wiring.running_jobs import running_jobs

KEEP_HOUSE_EVERY_S = 60.0


@dataclass(frozen=True)
class Addresses:
    """Where clients reach the gateways and the control plane, and the host that its own server is bound to."""

    gateway_url: str = "http://127.0.0.1:8000"
    control_url: str = "http://127.0.0.1:8800"
    host: str = "127.0.0.1"


LOOPBACK = Addresses()


def build(
    settings: Settings,
    addresses: Addresses = LOOPBACK,
    *,
    own_gateways: OwnGateways = none_of_its_own,
    backend: Backend | None = None,
    workloads: Mapping[str, Workloads] | None = None,
    clock: Clock = clocks.now,
) -> Container:
    """Open and migrate the store in a data directory that exists, and wire the rest. Starts nothing yet.

    Raises `DataDirUnusable`, `StoreUnavailable`, `InvalidArgument`.
    """
    data_dir = settings.data_dir
    store = open_store(store_url(data_dir, settings.database_url))
    store.migrate(host_id(data_dir))
    leadership = Leadership(store, Candidate(secrets.token_hex(8), host_id(data_dir), addresses.control_url))
    fenced = store.fenced(leadership.fence)
    keys, placement = platform_keys(settings), default_placement(settings)
    location = Location.of(settings)
    spec_changed, scaling_changed, registry_changed = threading.Event(), threading.Event(), threading.Event()
    weights_changed = _all_set(spec_changed, scaling_changed)

    files_dir = files_home(store, settings.files_home)
    parts = job_parts(settings, store, files_dir, clock)
    models, registry = replace(parts.models, changed=registry_changed.set), parts.registry
    health = RegistryHealth(registry.where)
    uploads = replace(parts.uploads, store=fenced)

    running = running_jobs(settings, fenced, leadership, parts, uploads)
    jobs, fenced_jobs = (Jobs(one, clock, running.runner.notify) for one in (store, fenced))
    images = Images(models, jobs, parts.build.images, settings.image_base, read_registry(settings.image_registry))
    replica_images = ReplicaImages(fenced_jobs)
    engine_parts = EngineParts(
        settings,
        files_dir,
        inherited_env(),
        replica_images.make,
        platform_id(store),
        keys.node,
        version_delivery(settings, models, replica_images, addresses.control_url).deliver,
    )
    engines = build_engines(engine_parts)
    if workloads is not None:
        engines = replace(engines, workloads=workloads)
    backend = backend or engines.backend

    revisions = GatewayRevisions(clocks.monotonic)
    listed = ListedGateways(revisions, addresses.gateway_url, own_gateways, clocks.monotonic)
    answered = Answered(clock, lambda: revisions.heard_within(SILENT_S))
    leader_link, leader_calls = LeaderLink(keys.node), LeaderCalls(keys.node)
    samples = Load(clocks.monotonic, lambda: revisions.heard_within(GONE_S), settings.load_samples_max)
    load = LoadIntake(samples, leadership, leader_link.pass_on)

    endpoints = Endpoints(
        store,
        registry,
        backend,
        clock,
        addresses.gateway_url,
        weights_changed,
        placement,
        scaling_defaults(settings),
        can_start=_while_leading(leadership, backend),
        answered=answered.of,
        load=load.view,
        guarding=Guarding(settings.guard_s, answered.of),
    )
    reach = reach_of(settings, addresses.host)
    alerts = alert_parts(endpoints, fenced, reach, addresses.control_url, clock)
    monitoring = Monitoring(
        store,
        fenced,
        StoredRows(data_dir, location),
        replace(parts.baselines, store=fenced),
        clock,
        observe=alerts.observing.observe,
        recording=_captured(data_dir, clock),
        wake=(monitor_woken := threading.Event()).set,
    )
    capture_rules = CaptureRulesOf(store, clock, spec_changed.set, ForgetFiles(data_dir, location))
    canaries = canary_loop(fenced, StoredRows(data_dir, location), answered, clock, weights_changed)
    captured = StoredRows(data_dir, location)
    experiments = experiment_parts(settings, endpoints, fenced, captured, alerts.state.told)
    asked_canaries = Canaries(store, registry, clock, weights_changed, canaries.wake.set)
    shadows = Shadows(store, clock, spec_changed.set, captured)
    decisions = Decisions()
    redis = RedisProbe(settings.redis_url) if settings.redis_url else None
    history = EndpointHistory(Prometheus(settings.prometheus_url)) if settings.prometheus_url else None
    report = StatusReport(
        store,
        endpoints,
        str(data_dir),
        clock(),
        listed.views,
        leader=leadership.view,
        engine=lambda: engines.view(placement.backend),
        queue=running.view,
        registry=health.view,
        redis=redis.view if redis else lambda: None,
        confinement=confinement.said_so_far,
        capture=_captured(data_dir, clock),
    )
    return Container(
        settings=settings,
        clock=clock,
        host=addresses.host,
        keys=keys,
        login_codes=LoginCodes(clock),
        gateway_url=addresses.gateway_url,
        store=store,
        fenced=fenced,
        leadership=leadership,
        registry=registry,
        artifacts=parts.artifacts,
        files_lock=parts.files_lock,
        manifests=models.manifests,
        backend=backend,
        workloads=engines.workloads,
        models=models,
        endpoints=endpoints,
        scales=Scales(endpoints.shown, decisions, leadership, leader_calls.scale),
        canaries=asked_canaries,
        imports=Imports(replace(endpoints, store=fenced), uploads, CaptureImports(location, clock), clock),
        jobs=jobs,
        images=images,
        packages=Packages(models),
        uploads=uploads,
        status=report,
        placement=placement,
        measures=Measures(store, report, clock, decisions),
        performance=PerformanceReports(endpoints, history, clock),
        job_runner=running.runner,
        follows=Follows(fenced, replace(endpoints, store=fenced), fenced_jobs, clock),
        registry_health=health,
        registry_changed=registry_changed,
        spec_changed=spec_changed,
        scaling_changed=scaling_changed,
        snapshot_changed=Broadcast(),
        snapshots=(snapshots := Snapshots(store, leadership.me.host)),
        id_tokens=GatewayIdTokens(snapshots, GoogleCredentials().id_token),
        gateway_revisions=revisions,
        answered=answered,
        loops=(
            *running.loops,
            _housekeeping(fenced, uploads, monitoring, settings),
            Loop("monitor", MonitorLoop(monitoring, clock).step, monitor_woken, leader_only=True),
            Loop("results", ResultsKept(store, ResultParquet(location), clock).step, leader_only=True),
            *_redis_loops(redis),
            alerts.loop,
            experiments.loop,
            canaries,
        ),
        audit=Audit(store, clock),
        load=load,
        load_overview=LoadOverview(samples),
        endpoint_loads=EndpointLoads(samples, leadership, leader_calls.load, clock),
        wanted=(wanted := WantedEndpoints(clocks.monotonic, scaling_changed.set)),
        wake_requests=WantedIntake(wanted, leadership, leader_calls.report_wanted),
        leader_link=leader_link,
        capture=StoredRows(data_dir, location),
        monitoring=monitoring,
        replays=Replays(monitoring),
        baselines=monitoring.baselines,
        alerts=alerts,
        experiments=experiments.experiments,
        leader_calls=leader_calls,
        captured=CapturedData(store, SqlProcesses(data_dir, location=location), clock),
        capture_rules=capture_rules,
        kept_aliases=KeptAliases(fenced, registry, clock, settings.promotion_aliases),
        documents=Documents(
            store,
            UseCases(
                endpoints,
                capture_rules,
                monitoring,
                alerts.rules,
                experiments.experiments,
                asked_canaries,
                shadows,
            ),
            Manifests(images, ExportSettings.of(settings)),
        ),
        shadows=shadows,
        redis=redis,
        bench=running.bench,
    )


def check(settings: Settings) -> None:
    """Raise what `build` would raise with these settings and this database, and change nothing."""
    check_kept_keys(settings)
    default_placement(settings)
    ExportSettings.of(settings)
    read_networks(settings.notify_networks)
    if settings.celery_broker_url:
        CeleryQueue(settings.celery_broker_url, settings.job_queue)
    if settings.redis_url:
        RedisProbe(settings.redis_url).close()
    store = open_store(store_url(settings.data_dir, settings.database_url))
    try:
        store.rehearse_migration(host_id(settings.data_dir))
    finally:
        store.close()


def _captured(data_dir: Path, clock: Clock) -> Callable[[], CaptureView | None]:
    """What the compactor and the gateways of this data directory said last."""
    return lambda: capture_view(read_state(data_dir / "capture"), clock(), dropped_records(data_dir / "gateways"))


def _housekeeping(store: Store, uploads: Uploads, monitoring: Monitoring, settings: Settings) -> Loop:
    def step() -> float:
        forget_old(store, uploads, settings.audit_rows_max)
        monitoring.forget_old(settings.monitor_results_max)
        return KEEP_HOUSE_EVERY_S

    return Loop("housekeeping", step, leader_only=True)


def _redis_loops(redis: RedisProbe | None) -> list[Loop]:
    return [Loop("redis", redis.step, close=redis.close)] if redis else []


def _while_leading(leadership: Leadership, backend: Backend) -> Callable[[Placement], None]:
    """Asks the engine whether it can start a replica; a standby's engine is not the one that will be asked."""

    def can_start(where: Placement) -> None:
        if leadership.term is not None:
            backend.check(where)

    return can_start


def _all_set(*events: threading.Event) -> Callable[[], None]:
    """Sets them all."""

    def set_all() -> None:
        for event in events:
            event.set()

    return set_all
