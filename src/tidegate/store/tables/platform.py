"""The tables of who leads the platform, and of who changed what. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tidegate.store.tables.base import Base


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
