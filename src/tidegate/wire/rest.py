"""The REST shapes of the control plane: plain dataclasses that the API serves and the client decodes.

One definition for both sides; OpenAPI is generated from them. Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tidegate.wire.capture.capture import CaptureView

# Also names of this module, which has all shapes for those who ask.
from tidegate.wire.endpoints.registering import Follow as Follow  # noqa: PLC0414
from tidegate.wire.endpoints.registering import FollowView as FollowView  # noqa: PLC0414
from tidegate.wire.endpoints.registering import Gate as Gate  # noqa: PLC0414
from tidegate.wire.endpoints.registering import RegisterRequest as RegisterRequest  # noqa: PLC0414
from tidegate.wire.endpoints.registering import RegistryView as RegistryView  # noqa: PLC0414
from tidegate.wire.endpoints.scaling import Scale as Scale  # noqa: PLC0414
from tidegate.wire.endpoints.scaling import ScaleRequest as ScaleRequest  # noqa: PLC0414
from tidegate.wire.endpoints.scaling import ScalingView as ScalingView  # noqa: PLC0414
from tidegate.wire.exact import STRICT, Flag, Number, Whole
from tidegate.wire.experiments.shadows import ShadowSummary
from tidegate.wire.gateways.load import LoadView
from tidegate.wire.parts import (
    AnsweredView,
    AutomationView,
    DatabaseView,
    EngineView,
    LeaderView,
    QueueView,
    RedisView,
    RolloutView,
)
from tidegate.wire.replicas.images import BuildRequest as BuildRequest  # noqa: PLC0414
from tidegate.wire.replicas.images import Dockerfile as Dockerfile  # noqa: PLC0414
from tidegate.wire.replicas.images import Image as Image  # noqa: PLC0414
from tidegate.wire.replicas.replica_logs import LogLines as LogLines  # noqa: PLC0414
from tidegate.wire.replicas.replica_logs import ReplicaFailure as ReplicaFailure  # noqa: PLC0414

VersionStatus = Literal["ready", "deleted"]
EndpointStatus = Literal["deploying", "ready", "degraded", "failed", "deleting", "asleep"]
VariantStatus = Literal["starting", "ready", "degraded", "failed", "stopping", "idle", "asleep"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
JobKind = Literal["register", "build", "baseline"]


@dataclass(frozen=True)
class Version:
    """One registered version of a model. `accelerated` names the faster form served, None where it is the original."""

    version: str
    label: str | None
    digest: str
    status: VersionStatus
    score: float | None
    accelerated: str | None
    tags: dict[str, str]
    metric: str | None = None
    framework: str = ""
    description: str = ""
    run_id: str | None = None
    aliases: list[str] = field(default_factory=list)
    pickle_granted: bool = False
    size_bytes: int = 0
    created_at: float = 0.0
    signature: dict[str, Any] = field(default_factory=dict)
    validation: dict[str, Any] = field(default_factory=dict)
    example: Any = None
    acceleration: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A model and its versions, newest first: in a list the newest of `version_count`."""

    name: str
    versions: list[Version]
    description: str = ""
    pickle_trusted: bool = False
    version_count: int | None = None


@dataclass(frozen=True)
class ReplicaCount:
    """Replicas wanted and replicas that answer; one pool of them, where the variant is `managed_by` its engine."""

    desired: int
    ready: int


@dataclass(frozen=True)
class VariantView:
    """One variant of an endpoint: a version, named as such unless an experiment names it. Two variants may be of one
    version; then both have the same replicas. `weight` is percent of traffic as it is routed now.

    `given_up`: it failed too often, and no replica of it is started until the endpoint is changed.
    `answered`: how its requests ended recently, `load`: how busy it is; None where no gateway has told.
    `managed_by`: the engine that alone knows how many instances run (`cloudrun`); None where replicas are counted.
    """

    version: str
    weight: float
    status: VariantStatus
    reason: str
    replicas: ReplicaCount
    label: str | None = None
    target_weight: float = 0.0
    restarts: int = 0
    given_up: bool = False
    answered: AnsweredView | None = None
    load: LoadView | None = None
    name: str = ""
    managed_by: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as it is now: `traffic` is what gateways route, by version, and `target` what they shall route.

    `asked` is what people asked for last, and is the target but while `automation` sets the weights. `revision` counts
    people's changes, `generation` also those that automations made, and `observed_generation` is the one that the
    control plane has acted on.

    Answers are kept for `cache_ttl_s` (0: not at all); a client may send `rate_limit_per_s` requests a second (0: as
    the gateways' setting says).
    `backend` is where its replicas run; `cpus` and `memory_bytes` are the limits of each, None where there is none;
    `cpu_request` and `memory_request_bytes` are what its engine keeps free for each, None where it decides.
    `load` is how busy it is, with what was refused before a version was chosen; None where no gateway has told.
    `scaling` is how its replicas follow the load, None where people fixed their number.
    `shadow` is the version that gets a copy of its traffic, None where none does.
    """

    name: str
    url: str
    status: EndpointStatus
    reason: str
    traffic: dict[str, float]
    variants: list[VariantView]
    target: dict[str, float] = field(default_factory=dict)
    model: str = ""
    revision: int = 0
    example: Any = None
    created_at: float = 0.0
    cache_ttl_s: float = 0.0
    rate_limit_per_s: float = 0.0
    backend: str = "local"
    cpus: float | None = None
    memory_bytes: int | None = None
    cpu_request: float | None = None
    memory_request_bytes: int | None = None
    follow: FollowView | None = None
    load: LoadView | None = None
    asked: dict[str, float] = field(default_factory=dict)
    automation: AutomationView | None = None
    generation: int = 0
    observed_generation: int = 0
    scaling: ScalingView | None = None
    shadow: ShadowSummary | None = None


@dataclass(frozen=True)
class HistoryEntry:
    """One change of an endpoint. `restores` is the revision a rollback re-applied, `note` why it came to this.

    Entry `id` is where the next page begins. `endpoint_id` tells endpoints apart that had one name, one after the
    other. An `automated` entry leaves the revision, which is people's; `traffic` is by version.
    """

    revision: int
    at: float
    action: str
    traffic: dict[str, float]
    actor: str = ""
    restores: int | None = None
    replicas: int = 0
    note: str = ""
    id: int = 0
    endpoint_id: str = ""
    generation: int = 0
    automated: bool = False


@dataclass(frozen=True)
class Job:
    """A piece of heavy work. `progress` goes from 0 to 1; `result` and `error` are there once it has ended.

    `asked_by` is who asked for it, as the audit names them; empty where that was not kept yet. `cancelled_by` is who
    asked for its end: until the state says so too, it is being stopped.
    """

    id: str
    kind: JobKind
    state: JobState
    progress: float
    message: str
    subject: str
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    attempts: int = 0
    log: list[str] = field(default_factory=list)
    asked_by: str = ""
    cancelled_by: str = ""


@dataclass(frozen=True)
class Upload:
    """Bytes handed in; name the id in a later request within `expires_at`."""

    id: str
    size_bytes: int
    sha256: str
    expires_at: float


@dataclass(frozen=True)
class DeployRequest:
    """Give a version all of an endpoint's traffic once it is ready. `version` is a number, a label or `@alias`;
    None is the newest. `replicas` None keeps what the endpoint has (1 for a new one), and so do `cache_ttl_s`, seconds
    for which answers are kept (0: not at all), and `rate_limit_per_s`, requests of a client a second (0: as the
    gateways' setting says), `backend`, where its replicas run (`local` or `docker`), and `cpus` and `memory_bytes`, the
    limits of each container (0: none of its own). `cpu_request` and `memory_request_bytes` are what an engine with
    several machines keeps free for each (0: as it has it). What a new endpoint is not told is as the settings say.
    With `follow`, the endpoint goes on to whatever version the alias is moved to; without, it follows no alias.
    `accept_signature_change`: also a version that does not take, or answer, what clients of the live one rely on.
    `end_automation`: also while an experiment, canary or bandit sets the weights, which ends.
    `guard`: watch the version for a while, and return to what was there when it fails, hangs or answers NaN.
    """

    __pydantic_config__ = STRICT

    model: str
    version: str | None = None
    replicas: Whole | None = None
    cache_ttl_s: Number | None = None
    rate_limit_per_s: Number | None = None
    backend: str | None = None
    cpus: Number | None = None
    memory_bytes: Whole | None = None
    cpu_request: Number | None = None
    memory_request_bytes: Whole | None = None
    follow: Follow | None = None
    accept_signature_change: Flag = False
    end_automation: Flag = False
    guard: Flag = True


@dataclass(frozen=True)
class TrafficRequest:
    """Percent of traffic by version (number or label); adds up to 100.

    `accept_signature_change` as in a deployment: for each version that gets more traffic than it has. `end_automation`
    as there.
    """

    __pydantic_config__ = STRICT

    traffic: dict[str, Number]
    action: str = "traffic"
    accept_signature_change: Flag = False
    end_automation: Flag = False


@dataclass(frozen=True)
class RollbackRequest:
    """Re-apply the newest earlier traffic of people that differs from the current one, or that of revision `to`.

    An automation that sets the weights ends, and what was stable is restored.
    """

    __pydantic_config__ = STRICT

    to: Whole | None = None


@dataclass(frozen=True)
class TrustRequest:
    """Whether versions of this model may load pickles without a grant of their own."""

    __pydantic_config__ = STRICT

    pickle: Flag


@dataclass(frozen=True)
class AliasRequest:
    """Point an alias of the registry at a version."""

    __pydantic_config__ = STRICT

    version: str


@dataclass(frozen=True)
class LoginCode:
    """Opens `GET /login?code=CODE` once, within `valid_s` seconds."""

    code: str
    valid_s: int


@dataclass(frozen=True)
class GatewayView:
    """One gateway process. `revision` is the routing snapshot it last took, None when it does not answer."""

    id: str
    url: str
    pid: int | None
    revision: int | None
    status: Literal["starting", "ready", "down"]


@dataclass(frozen=True)
class Status:
    """The platform at a glance. While the database is away, endpoints, models, jobs and revision are unknown.

    `endpoints_by_status` counts them all; `endpoints` has all of a platform of up to 100, else at most 100 of those
    that are not ready or do not follow their alias, the worst first.
    """

    version: str
    data_dir: str
    started_at: float
    gateway_url: str
    gateways: list[GatewayView]
    endpoints: list[Endpoint]
    models: int | None
    jobs: dict[str, int]
    revision: int | None
    pid: int = 0
    database: DatabaseView | None = None
    leader: LeaderView | None = None
    engine: EngineView | None = None
    queue: QueueView | None = None
    registry: RegistryView | None = None
    redis: RedisView | None = None
    confinement: str | None = None
    """How models' processes are kept from the platform's files on its machine, in words; None: not known yet."""
    endpoints_by_status: dict[str, int] = field(default_factory=dict)
    capture: CaptureView | None = None
    rollouts: list[RolloutView] = field(default_factory=list)


@dataclass(frozen=True)
class ErrorBody:
    """Every failure: what was wrong, where, and what to do."""

    error: str
    code: str
    details: dict[str, Any] = field(default_factory=dict)
