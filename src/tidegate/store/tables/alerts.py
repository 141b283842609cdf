"""The tables of alerts, written by `services.alerting` alone. Times are seconds since the epoch."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from tidegate.store.tables.base import Base


class AlertRow(Base):
    """One episode of an alert. It refers to no table: it outlives its endpoint, until it is forgotten."""

    __tablename__ = "alerts"
    __table_args__ = (Index("ix_alerts_endpoint_condition", "endpoint", "condition"),)

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(16), index=True)
    endpoint: Mapped[str] = mapped_column(String(63))
    labels: Mapped[dict[str, str]]
    condition: Mapped[str] = mapped_column(String(16))  # core.alerting.model.Condition
    state: Mapped[str] = mapped_column(String(16))  # core.alerting.model.State
    severity: Mapped[str] = mapped_column(String(16))
    message: Mapped[str]
    evidence: Mapped[dict[str, Any]]
    since: Mapped[float] = mapped_column(index=True)
    fired_at: Mapped[float | None]
    ok_since: Mapped[float | None]
    unknown_since: Mapped[float | None]
    ended_at: Mapped[float | None]
    ended_because: Mapped[str]
    quiet_because: Mapped[str]
    acknowledged_by: Mapped[str] = mapped_column(String(255))
    told: Mapped[dict[str, Any]]  # receiver -> [status, at]
    acted: Mapped[dict[str, float]]  # action -> at


class OutboxRow(Base):
    """A message for a notifier, or an action, that is due (`loops/notify`); done ones are kept for a while."""

    __tablename__ = "alert_outbox"
    __table_args__ = (Index("ix_alert_outbox_state_target", "state", "target", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # notice, test, webhook, rollback
    target: Mapped[str]  # the notifier's name; of an action its key
    endpoint: Mapped[str] = mapped_column(String(63), index=True)
    payload: Mapped[dict[str, Any]]  # Alertmanager's webhook payload, version 4; of a rollback services.alerting.acting
    alerts: Mapped[list[str]]  # ids
    state: Mapped[str] = mapped_column(String(16))  # pending, sent, dead, refused
    attempts: Mapped[int]
    created_at: Mapped[float]
    next_at: Mapped[float]
    done_at: Mapped[float | None]
    outcome: Mapped[str]  # the last failure, or what an action did


class SilenceRow(Base):
    """Alerts of which nobody is told for a while."""

    __tablename__ = "silences"

    id: Mapped[str] = mapped_column(String(12), primary_key=True)
    matchers: Mapped[dict[str, str]]
    starts_at: Mapped[float]
    ends_at: Mapped[float] = mapped_column(index=True)
    comment: Mapped[str]
    created_by: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[float]


class AlertRulesRow(Base):
    """What people changed of an endpoint's rules; gone with the endpoint."""

    __tablename__ = "alert_rules"

    endpoint: Mapped[str] = mapped_column(
        String(63), ForeignKey("endpoints.name", ondelete="CASCADE"), primary_key=True
    )
    rules: Mapped[dict[str, Any]]  # type -> what is not as by default of core.alerting.model.Rule


class NotifierRow(Base):
    """Where notices go. `config` holds secrets: it never leaves but to the adapter that sends."""

    __tablename__ = "notifiers"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # webhook, alertmanager, slack, smtp, apprise
    config: Mapped[dict[str, str]]
    endpoint: Mapped[str] = mapped_column(String(63))  # "": of all
    severity_min: Mapped[str] = mapped_column(String(16))
    resolved: Mapped[bool]
    created_at: Mapped[float]
