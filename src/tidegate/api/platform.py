"""What the API needs of the control plane: the container that wiring builds has all of it."""

from __future__ import annotations

import threading
from typing import Annotated, Protocol

from fastapi import Depends, Request

from tidegate.api.guard import PRINCIPAL
from tidegate.api.sessions import LoginCodes
from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.services.alerting.deliveries import Deliveries
from tidegate.services.alerting.notifiers import Notifiers
from tidegate.services.alerting.rules import AlertRules
from tidegate.services.alerting.silences import Silences
from tidegate.services.alerting.state import Alerting
from tidegate.services.audit import Audit
from tidegate.services.canaries.use_cases import Canaries
from tidegate.services.capture.queries import CapturedData
from tidegate.services.capture.settings import CaptureRulesOf
from tidegate.services.declared.documents import Documents
from tidegate.services.endpoints.imports import Imports
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.services.endpoints.scaling import Scales
from tidegate.services.experiments.lifecycle import Experiments
from tidegate.services.gateways.answered import Answered
from tidegate.services.gateways.id_tokens import GatewayIdTokens
from tidegate.services.gateways.load import LoadIntake
from tidegate.services.gateways.load_series import EndpointLoads, LoadOverview
from tidegate.services.gateways.snapshots import Broadcast, GatewayRevisions, Snapshots
from tidegate.services.gateways.wanted import WantedIntake
from tidegate.services.images.builds import Images
from tidegate.services.images.packages import Packages
from tidegate.services.jobs.queue import Jobs
from tidegate.services.jobs.uploads import Uploads
from tidegate.services.leadership import Leadership
from tidegate.services.models.catalog import Models
from tidegate.services.monitoring.baselines import Baselines
from tidegate.services.monitoring.monitoring import Monitoring
from tidegate.services.monitoring.replays import Replays
from tidegate.services.overview.measures import Measures
from tidegate.services.overview.performance import PerformanceReports
from tidegate.services.overview.status import StatusReport
from tidegate.services.platform_keys import PlatformKeys
from tidegate.services.shadows.shadows import Shadows
from tidegate.settings import Settings


class AlertUseCases(Protocol):
    """What is done about alerts."""

    @property
    def state(self) -> Alerting: ...
    @property
    def silences(self) -> Silences: ...
    @property
    def rules(self) -> AlertRules: ...
    @property
    def notifiers(self) -> Notifiers: ...
    @property
    def deliveries(self) -> Deliveries: ...


class ApiServices(Protocol):
    """Read-only here: the API calls services and never the store or an adapter."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def host(self) -> str: ...
    @property
    def keys(self) -> PlatformKeys: ...
    @property
    def login_codes(self) -> LoginCodes: ...
    @property
    def models(self) -> Models: ...
    @property
    def images(self) -> Images: ...
    @property
    def packages(self) -> Packages: ...
    @property
    def endpoints(self) -> Endpoints: ...
    @property
    def scales(self) -> Scales: ...
    @property
    def canaries(self) -> Canaries: ...
    @property
    def imports(self) -> Imports: ...
    @property
    def jobs(self) -> Jobs: ...
    @property
    def uploads(self) -> Uploads: ...
    @property
    def status(self) -> StatusReport: ...
    @property
    def measures(self) -> Measures: ...
    @property
    def performance(self) -> PerformanceReports: ...
    @property
    def snapshots(self) -> Snapshots: ...
    @property
    def snapshot_changed(self) -> Broadcast: ...
    @property
    def spec_changed(self) -> threading.Event: ...
    @property
    def id_tokens(self) -> GatewayIdTokens: ...
    @property
    def gateway_revisions(self) -> GatewayRevisions: ...
    @property
    def answered(self) -> Answered: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def wake_requests(self) -> WantedIntake: ...
    @property
    def load(self) -> LoadIntake: ...
    @property
    def endpoint_loads(self) -> EndpointLoads: ...
    @property
    def load_overview(self) -> LoadOverview: ...
    @property
    def alerts(self) -> AlertUseCases: ...
    @property
    def experiments(self) -> Experiments: ...
    @property
    def replays(self) -> Replays: ...
    @property
    def monitoring(self) -> Monitoring: ...
    @property
    def baselines(self) -> Baselines: ...
    @property
    def captured(self) -> CapturedData: ...
    @property
    def capture_rules(self) -> CaptureRulesOf: ...
    @property
    def documents(self) -> Documents: ...
    @property
    def shadows(self) -> Shadows: ...
    @property
    def leadership(self) -> Leadership: ...


def _platform(request: Request) -> ApiServices:
    platform: ApiServices = request.app.state.platform
    return platform


def _who(request: Request) -> Principal:
    who: Principal = request.scope[PRINCIPAL]
    return who


def _leader_only(request: Request) -> None:
    _platform(request).leadership.must_lead()


PlatformOf = Annotated[ApiServices, Depends(_platform)]
Who = Annotated[Principal, Depends(_who)]
"""Who asks, on a route that is not open."""
LeaderOnly = Depends(_leader_only)
"""Of routes that change files: those are the leader's. What only changes rows is right from any control plane."""
