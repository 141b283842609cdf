"""The tables of jobs and of uploads. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tidegate.store.tables.base import SIZE, Base


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
