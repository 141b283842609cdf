"""The tables. Each column has one writer: specs are written by services, status by loops, a claimed job by jobs.

Times are seconds since the epoch (float). JSON columns hold the shapes named beside them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tidegate.store.tables.alerts import AlertRow as AlertRow
from tidegate.store.tables.alerts import AlertRulesRow as AlertRulesRow
from tidegate.store.tables.alerts import NotifierRow as NotifierRow
from tidegate.store.tables.alerts import OutboxRow as OutboxRow
from tidegate.store.tables.alerts import SilenceRow as SilenceRow

# Also names of this module, so that whoever knows the tables knows all of them (a backup above all).
from tidegate.store.tables.aliases import KeptAliasRow as KeptAliasRow
from tidegate.store.tables.base import SIZE, Stamped
from tidegate.store.tables.base import Base as Base
from tidegate.store.tables.canaries import CanaryRow as CanaryRow
from tidegate.store.tables.experiments import ExperimentLookRow as ExperimentLookRow
from tidegate.store.tables.experiments import ExperimentRow as ExperimentRow
from tidegate.store.tables.experiments import GuardrailFigureRow as GuardrailFigureRow
from tidegate.store.tables.experiments import RolloutRow as RolloutRow
from tidegate.store.tables.images import PushedImageRow as PushedImageRow
from tidegate.store.tables.monitoring import BaselineRow as BaselineRow
from tidegate.store.tables.monitoring import MonitorBlockRow as MonitorBlockRow
from tidegate.store.tables.monitoring import MonitorResultRow as MonitorResultRow
from tidegate.store.tables.monitoring import MonitorRow as MonitorRow

INSTANCE_CHARS_MAX = 128
"""Of a replica's id. Engines elsewhere name theirs: on Kubernetes a pod of 63 characters, and how often it started."""


class ModelRow(Base):
    """A model's name and what is trusted of it."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    description: Mapped[str] = mapped_column(default="")
    pickle_trusted: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[float]


class VersionRow(Stamped, Base):
    """One version taken in; the registry (MLflow) gave it its number."""

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("model", "version"),
        UniqueConstraint("model", "digest"),
        UniqueConstraint("model", "label"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"), index=True)
    version: Mapped[str] = mapped_column(String(20))
    label: Mapped[str | None] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64), index=True)
    framework: Mapped[str] = mapped_column(String(32))
    signature: Mapped[dict[str, Any]]  # wire.signature.Signature
    example: Mapped[Any] = mapped_column(JSON)
    batchable: Mapped[bool] = mapped_column(default=False)
    pickle_granted: Mapped[bool] = mapped_column(default=False)
    validation: Mapped[dict[str, Any]]  # {"metric", "score", "min_score", "rows", "load_s", ...}
    acceleration: Mapped[dict[str, Any]]  # {"kept", "reason", "tried": [...], ...}
    tags: Mapped[dict[str, str]]
    run_id: Mapped[str | None] = mapped_column(String(64))
    description: Mapped[str] = mapped_column(default="")
    size_bytes: Mapped[int] = mapped_column(SIZE)
    created_at: Mapped[float]


class EndpointRow(Stamped, Base):
    """The spec of an endpoint (written by services) and its status (written by loops/reconcile).

    What automations set stands beside the spec, in rows of theirs: `core.endpoints.effective` says what is in effect.
    """

    __tablename__ = "endpoints"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"), index=True)
    # tells it from others that had, or will have, its name
    uid: Mapped[str] = mapped_column(String(32), unique=True, index=True, server_default="")
    salt: Mapped[str] = mapped_column(String(32))  # of weights that people set; an experiment has its own
    created_at: Mapped[float]
    # spec
    traffic: Mapped[dict[str, float]]  # version number -> percent; adds up to 100
    replicas: Mapped[int]  # per version
    revision: Mapped[int]  # of what people asked for: raised by their changes alone
    traffic_revision: Mapped[int] = mapped_column(default=0, server_default="0")  # people's word that set it last
    replicas_revision: Mapped[int] = mapped_column(default=0, server_default="0")  # ... that fixed their number last
    # raised by every change that the reconcile loop has to act on, people's or an automation's
    generation: Mapped[int] = mapped_column(default=0, server_default="0")
    retries: Mapped[dict[str, int]] = mapped_column(default=dict, server_default="{}")  # by generation
    # core.scaling.policy.Scaling, but for what is as by default; none: `replicas`, and no autoscaler
    scaling: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    backend: Mapped[str | None] = mapped_column(String(16))  # local, docker; none: as the platform's settings say
    cpus: Mapped[float | None]  # limits of each replica
    memory_bytes: Mapped[int | None] = mapped_column(SIZE)
    cpu_request: Mapped[float | None]  # what its engine keeps free for each
    memory_request_bytes: Mapped[int | None] = mapped_column(SIZE)
    deleted_at: Mapped[float | None]
    cache_ttl_s: Mapped[float] = mapped_column(default=0.0, server_default="0")  # 0: answers are not kept
    rate_limit_per_s: Mapped[float] = mapped_column(default=0.0, server_default="0")  # 0: as the gateways' setting says
    # wire.snapshot.CaptureRules, but for what is as by default
    capture: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    shadow: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")  # core.endpoints.ShadowSpec
    # status
    status: Mapped[str] = mapped_column(String(16), default="deploying")
    reason: Mapped[str] = mapped_column(default="")
    routed: Mapped[dict[str, float]]  # version number -> percent, as gateways have it
    # core.endpoints.effective.Split
    routed_split: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    observed_generation: Mapped[int] = mapped_column(default=0)

    automated_weights: Mapped[AutomatedWeightsRow | None] = relationship(cascade="all, delete-orphan", lazy="selectin")
    automated_replicas: Mapped[list[AutomatedReplicasRow]] = relationship(
        cascade="all, delete-orphan", lazy="selectin", order_by="AutomatedReplicasRow.version"
    )
    variants: Mapped[list[VariantRow]] = relationship(cascade="all, delete-orphan")
    follow: Mapped[FollowRow | None] = relationship(cascade="all, delete-orphan")


class VariantRow(Stamped, Base):
    """Status of one version of an endpoint (written by loops/reconcile alone), whatever variants it stands behind."""

    __tablename__ = "variants"
    __table_args__ = (UniqueConstraint("endpoint", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    endpoint: Mapped[str] = mapped_column(ForeignKey("endpoints.name"), index=True)
    version: Mapped[str] = mapped_column(String(20))
    status: Mapped[str] = mapped_column(String(16), default="starting")
    reason: Mapped[str] = mapped_column(default="")
    cause: Mapped[str] = mapped_column(default="")  # how its last replica that failed did fail
    idle_since: Mapped[float | None]  # at weight 0 since then
    attempts: Mapped[int] = mapped_column(default=0)  # failed starts in a row
    restarts: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[float | None]  # back-off: no start before
    crashes: Mapped[list[float]] = mapped_column(default=list)  # recent deaths of replicas that had been ready
    quarantined_generation: Mapped[
        int | None
    ]  # in quarantine since this generation of the endpoint, until it is retried
    waking: Mapped[bool] = mapped_column(default=False, server_default=false())  # slept, and no replica ready since


class ReplicaRow(Stamped, Base):
    """One replica that runs or should (written by loops/reconcile alone)."""

    __tablename__ = "replicas"

    id: Mapped[str] = mapped_column(String(INSTANCE_CHARS_MAX), primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(63), index=True)
    model: Mapped[str] = mapped_column(String(63))
    version: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(16))  # starting, ready, unready, draining, stopping
    reason: Mapped[str] = mapped_column(default="")
    backend: Mapped[str] = mapped_column(String(32))
    handle: Mapped[dict[str, Any]]  # core.ports.Handle.data; {} until it is started
    address: Mapped[str | None]
    created_at: Mapped[float]
    ready_at: Mapped[float | None]
    stopping_at: Mapped[float | None]
    unready_since: Mapped[float | None]  # alive, but does not answer since then
    draining_at: Mapped[float | None]  # left the routing snapshot then, with its revision below
    drain_revision: Mapped[int | None]
    host: Mapped[str] = mapped_column(String(255), default="")
    cpus: Mapped[float | None]  # its limits
    memory_bytes: Mapped[int | None] = mapped_column(SIZE)
    cpu_request: Mapped[float | None]
    memory_request_bytes: Mapped[int | None] = mapped_column(SIZE)
    form: Mapped[str | None] = mapped_column(String(64))  # of the model it was started with; "" the original


class FailedReplicaRow(Base):
    """A replica that failed to start or crashed (written by loops/reconcile alone); the newest few of an endpoint."""

    __tablename__ = "failed_replicas"

    id: Mapped[int] = mapped_column(primary_key=True)
    replica: Mapped[str] = mapped_column(String(INSTANCE_CHARS_MAX))
    endpoint: Mapped[str] = mapped_column(String(63), index=True)
    version: Mapped[str] = mapped_column(String(20))
    at: Mapped[float]
    kind: Mapped[str] = mapped_column(String(8))  # start, crash
    cause: Mapped[str] = mapped_column(default="")
    exit_code: Mapped[int | None]  # negative: the signal; unknown: none
    backend: Mapped[str] = mapped_column(String(32))
    handle: Mapped[dict[str, Any]]  # core.ports.Handle.data: the engine may still have its whole log
    log: Mapped[list[str]]  # its last lines, for when the engine has none


class HistoryRow(Base):
    """A change of an endpoint, by people or an automation; outlives the endpoint (bounded by `endpoints.history`)."""

    __tablename__ = "history"
    __table_args__ = (Index("ix_history_uid_automated", "endpoint_uid", "automated", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(63), index=True)
    endpoint_uid: Mapped[str] = mapped_column(String(32))
    revision: Mapped[int]  # of people's spec then
    generation: Mapped[int]
    automated: Mapped[bool]  # no change of people's spec: a rollback never goes back to it
    at: Mapped[float]
    # deploy, traffic, promote, rollback, scale, delete, follow; automated: repair, refused, and what loops call theirs
    action: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(String(64), default="")
    traffic: Mapped[dict[str, float]]
    replicas: Mapped[int]
    restores: Mapped[int | None]
    note: Mapped[str] = mapped_column(default="", server_default="")  # why it came to this, where that is a question


class AutomatedWeightsRow(Stamped, Base):
    """Weights of an endpoint's variants while an automation sets them (by loops/experiment and who acts on it)."""

    __tablename__ = "automated_weights"

    endpoint: Mapped[str] = mapped_column(ForeignKey("endpoints.name"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # core.endpoints.effective.AutomationKind
    name: Mapped[str] = mapped_column(String(63))
    revision: Mapped[int]  # of people's spec when it began
    salt: Mapped[str] = mapped_column(String(64))
    shares: Mapped[Any] = mapped_column(JSON)  # core.endpoints.effective.Share, each
    stable: Mapped[dict[str, float]]  # version number -> percent: what a rollback returns to
    coverage: Mapped[float] = mapped_column(default=1.0, server_default="1")  # of each variant's range of units
    uncovered: Mapped[str] = mapped_column(String(63), default="", server_default="")  # variant of the other units
    phase: Mapped[int | None]  # counts its splits, from 1


class AutomatedReplicasRow(Stamped, Base):
    """How many replicas a version shall have, while a loop decides that (written by loops/scaling alone)."""

    __tablename__ = "automated_replicas"

    endpoint: Mapped[str] = mapped_column(ForeignKey("endpoints.name"), primary_key=True)
    version: Mapped[str] = mapped_column(String(20), primary_key=True)
    replicas: Mapped[int]
    revision: Mapped[int]  # of people's spec when it was decided
    reason: Mapped[str] = mapped_column(default="", server_default="")
    share: Mapped[float] = mapped_column(default=0.0, server_default="0")  # percent of traffic it is enough for
    enough: Mapped[int | None]  # of these, for that share of the load there was: a switch waits for them alone


class FollowRow(Base):
    """An endpoint that follows an alias: the spec (services), and how it goes (written by loops/follow)."""

    __tablename__ = "follows"

    endpoint: Mapped[str] = mapped_column(ForeignKey("endpoints.name"), primary_key=True)
    # spec
    alias: Mapped[str] = mapped_column(String(255))
    options: Mapped[dict[str, Any]]  # wire.registering.Follow: what each version must pass
    # status
    version: Mapped[str | None] = mapped_column(String(20))  # that the alias named last
    state: Mapped[str] = mapped_column(String(16), default="current")  # core.endpoints.follow.FollowState
    code: Mapped[str] = mapped_column(String(64), default="")  # of the error it was refused with
    reason: Mapped[str] = mapped_column(default="")
    trouble: Mapped[str] = mapped_column(default="")  # why the alias cannot be read
    job: Mapped[str | None] = mapped_column(String(32))
    attempts: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[float | None]
    changed_at: Mapped[float]


class JobRow(Base):
    """A job: queued by a service in the transaction that needs it, written by jobs alone once claimed."""

    __tablename__ = "jobs"
    __table_args__ = (Index("ix_jobs_state_created", "state", "created_at"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(String(128), index=True)
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))
    progress: Mapped[float] = mapped_column(default=0.0)
    message: Mapped[str] = mapped_column(default="")
    log: Mapped[list[str]]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    attempts: Mapped[int] = mapped_column(default=0)
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[float | None]
    created_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    # with a broker (written by loops/dispatch; a claim clears the first, and an abandoned job sets the other)
    notified_at: Mapped[float | None] = mapped_column("nudged_at")  # a message went then, by the database's clock
    dead_letter: Mapped[str | None] = mapped_column(String(8))  # due, sent
    # who asked for it (core.access.Principal): what it changes is audited in that name
    asked_by_kind: Mapped[str] = mapped_column(String(16), default="unknown", server_default="unknown")
    asked_by: Mapped[str] = mapped_column(String(255), default="", server_default="")
    request_id: Mapped[str] = mapped_column(String(128), default="", server_default="")
    # who asked for its end before it is done (written by services; whatever runs the job sees to it)
    cancelled_by: Mapped[str | None] = mapped_column(String(255))


class UploadRow(Base):
    """Bytes handed in and not yet used; the file lies in DATA/uploads under the id."""

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    size_bytes: Mapped[int] = mapped_column(SIZE)
    sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float]
    expires_at: Mapped[float] = mapped_column(index=True)


class SnapshotRow(Base):
    """The newest routing snapshot (one row, id 1; written by loops/reconcile alone)."""

    __tablename__ = "snapshots"

    id: Mapped[int] = mapped_column(primary_key=True)
    revision: Mapped[int]
    body: Mapped[str]  # wire.snapshot.Snapshot as JSON
    written_at: Mapped[float]
    host: Mapped[str] = mapped_column(String(255), default="", server_default="")  # whose sockets it names; "" unknown


class LeaseRow(Base):
    """Which control plane leads (one row; written by services/leadership alone). Its times are the database's own."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    token: Mapped[int]  # grows with each new leader
    holder: Mapped[str] = mapped_column(String(64))  # the leader's process; "" nobody
    host: Mapped[str] = mapped_column(String(255))  # the leader's machine and data directory
    url: Mapped[str]  # the leader's API
    acquired_at: Mapped[float]
    renewed_at: Mapped[float]
    expires_at: Mapped[float]
    files_dir: Mapped[str]  # where the versions' files lie; "" not known yet
    files_id: Mapped[str] = mapped_column(String(32))  # and what the file `files.id` there says
    # what engines elsewhere know this platform by; "" not made yet
    platform: Mapped[str] = mapped_column(String(16), server_default="")


class AuditRow(Base):
    """Who changed what (written by services, in the change's transaction). It refers to no table: it outlives them."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_subject", "subject_kind", "subject", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float]
    who_kind: Mapped[str] = mapped_column(String(16))  # wire.audit.PrincipalKind
    who: Mapped[str] = mapped_column(String(255))
    request_id: Mapped[str] = mapped_column(String(128))  # "": no request began it
    action: Mapped[str] = mapped_column(String(32))
    subject_kind: Mapped[str] = mapped_column(String(16))  # endpoint, model, version, session
    subject: Mapped[str] = mapped_column(String(255))
    changes: Mapped[dict[str, Any]]  # name -> [before, after]
    note: Mapped[str]
    outcome: Mapped[str] = mapped_column(String(16))  # done, started, failed
