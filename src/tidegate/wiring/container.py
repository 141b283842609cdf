"""What the parts of a control plane's process share, and how it starts, takes over and ends."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import CollectorRegistry

from tidegate.adapters.artifacts.store import DirectoryArtifacts, ManifestFiles
from tidegate.adapters.leader_calls import LeaderCalls
from tidegate.adapters.leader_link import LeaderLink
from tidegate.adapters.locks import FileLock
from tidegate.adapters.mlflow.registry import MlflowRegistry
from tidegate.adapters.redis_probe import RedisProbe
from tidegate.adapters.sandbox import confinement
from tidegate.api.sessions import LoginCodes
from tidegate.clock import Clock
from tidegate.core.captured import CapturedRows
from tidegate.core.engines.placement import Placement
from tidegate.core.ports import Backend
from tidegate.core.workloads import Workloads
from tidegate.jobs.bench import Bench
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.runner import Loop, Runner
from tidegate.services.audit import Audit
from tidegate.services.canaries.use_cases import Canaries
from tidegate.services.capture.queries import CapturedData
from tidegate.services.capture.settings import CaptureRulesOf
from tidegate.services.declared.documents import Documents
from tidegate.services.endpoints.follows import Follows
from tidegate.services.endpoints.imports import Imports
from tidegate.services.endpoints.kept_aliases import KeptAliases
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.endpoints.scaling import Scales
from tidegate.services.experiments.lifecycle import Experiments
from tidegate.services.gateways.answered import Answered
from tidegate.services.gateways.id_tokens import GatewayIdTokens
from tidegate.services.gateways.load import LoadIntake
from tidegate.services.gateways.load_series import EndpointLoads, LoadOverview
from tidegate.services.gateways.snapshots import Broadcast, GatewayRevisions, Snapshots
from tidegate.services.gateways.wanted import WantedEndpoints, WantedIntake
from tidegate.services.images.builds import Images
from tidegate.services.images.packages import Packages
from tidegate.services.jobs.queue import Jobs
from tidegate.services.jobs.uploads import Uploads
from tidegate.services.leadership import Leadership, Term
from tidegate.services.models.catalog import Models
from tidegate.services.models.registry_health import RegistryHealth
from tidegate.services.monitoring.baselines import Baselines
from tidegate.services.monitoring.monitoring import Monitoring
from tidegate.services.monitoring.replays import Replays
from tidegate.services.overview.measures import Measures
from tidegate.services.overview.performance import PerformanceReports
from tidegate.services.overview.status import StatusReport
from tidegate.services.platform_keys import PlatformKeys
from tidegate.services.shadows.shadows import Shadows
from tidegate.settings import Settings
from tidegate.store.database.engine import Store
from tidegate.wiring.alerts import Alerts

STOP_TIMEOUT_S = 5.0


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
    workloads: Mapping[str, Workloads]
    placement: Placement
    models: Models
    endpoints: Endpoints
    imports: Imports
    scales: Scales
    canaries: Canaries
    jobs: Jobs
    images: Images
    packages: Packages
    uploads: Uploads
    status: StatusReport
    measures: Measures
    performance: PerformanceReports
    job_runner: JobRunner
    follows: Follows
    registry_health: RegistryHealth
    registry_changed: threading.Event
    spec_changed: threading.Event
    scaling_changed: threading.Event
    snapshot_changed: Broadcast
    snapshots: Snapshots
    id_tokens: GatewayIdTokens
    gateway_revisions: GatewayRevisions
    answered: Answered
    audit: Audit
    load: LoadIntake
    load_overview: LoadOverview
    endpoint_loads: EndpointLoads
    wanted: WantedEndpoints
    wake_requests: WantedIntake
    leader_link: LeaderLink
    capture: CapturedRows
    monitoring: Monitoring
    replays: Replays
    baselines: Baselines
    alerts: Alerts
    experiments: Experiments
    leader_calls: LeaderCalls
    captured: CapturedData
    capture_rules: CaptureRulesOf
    documents: Documents
    kept_aliases: KeptAliases
    shadows: Shadows
    loops: tuple[Loop, ...] = ()
    redis: RedisProbe | None = None
    bench: Bench | None = None
    runner: Runner | None = None

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
        self.leader_calls.close()
        if self.bench is not None:
            self.bench.end()
        if self.runner is not None:
            self.runner.stop(STOP_TIMEOUT_S)
        self.leadership.end()
        self.store.close()
