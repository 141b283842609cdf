"""The tables of what runs, written by loops/reconcile alone. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from tidegate.store.tables.base import SIZE, Base, Stamped

INSTANCE_CHARS_MAX = 128
"""Of a replica's id. Engines elsewhere name theirs: on Kubernetes a pod of 63 characters, and how often it started."""


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


class SnapshotRow(Base):
    """The newest routing snapshot (one row, id 1; written by loops/reconcile alone)."""

    __tablename__ = "snapshots"

    id: Mapped[int] = mapped_column(primary_key=True)
    revision: Mapped[int]
    body: Mapped[str]  # wire.gateways.snapshot.Snapshot as JSON
    written_at: Mapped[float]
    host: Mapped[str] = mapped_column(String(255), default="", server_default="")  # whose sockets it names; "" unknown
