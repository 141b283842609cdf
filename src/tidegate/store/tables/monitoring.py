"""The tables of monitoring. Rows of an endpoint have its uid: one that is made anew under a name begins anew."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from tidegate.store.tables.base import Base

_NUMBER = BigInteger().with_variant(Integer(), "sqlite")


class BaselineRow(Base):
    """What a version's data is compared with; the newest counts (written by services/monitoring)."""

    __tablename__ = "baselines"

    model: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[str] = mapped_column(String(20), primary_key=True)
    file: Mapped[str] = mapped_column(String(64))  # the document's and the sample's name in the folder of baselines
    view: Mapped[dict[str, Any]]  # wire.monitoring.BaselineView
    made_at: Mapped[float]


class MonitorRow(Base):
    """How an endpoint is monitored (services/monitoring), and how that goes (written by loops/monitor)."""

    __tablename__ = "monitors"

    endpoint_uid: Mapped[str] = mapped_column(String(32), primary_key=True)
    endpoint: Mapped[str] = mapped_column(String(63), index=True)
    # spec
    settings: Mapped[dict[str, Any]]  # core.monitoring.settings.MonitorSettings
    # status
    evaluated_at: Mapped[float | None]
    trouble: Mapped[str] = mapped_column(default="", server_default="")
    summary: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")  # store.monitoring.Summary


class MonitorBlockRow(Base):
    """Rows that are gathered to be judged: since when, and up to when the budget is spent (by loops/monitor)."""

    __tablename__ = "monitor_blocks"

    endpoint_uid: Mapped[str] = mapped_column(String(32), primary_key=True)
    version: Mapped[str] = mapped_column(String(20), primary_key=True)  # "" of the endpoint as a whole
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)  # data, drift, performance, calls
    since: Mapped[float]
    judged_at: Mapped[float]
    counted_to: Mapped[float | None]
    gathered: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # services.monitoring.gathered


class MonitorResultRow(Base):
    """What a monitor found (written by loops/monitor); the oldest are forgotten."""

    __tablename__ = "monitor_results"
    __table_args__ = (Index("ix_monitor_results_of_endpoint", "endpoint_uid", "monitor", "id"),)

    id: Mapped[int] = mapped_column(_NUMBER, primary_key=True)
    endpoint_uid: Mapped[str] = mapped_column(String(32))
    monitor: Mapped[str] = mapped_column(String(32))
    feature: Mapped[str | None] = mapped_column(String(255))
    evaluated_at: Mapped[float] = mapped_column(index=True)
    body: Mapped[dict[str, Any]]  # wire.monitoring.MonitorResult
