"""The tables of endpoints: what people ask for, what automations set, what changed. Times: seconds since the epoch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from tidegate.store.tables.base import SIZE, Base, Stamped
from tidegate.store.tables.fleet import VariantRow


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
    # wire.gateways.snapshot.CaptureRules, but for what is as by default
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
    options: Mapped[dict[str, Any]]  # wire.endpoints.registering.Follow: what each version must pass
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
