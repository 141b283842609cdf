"""Rows of alerts as the API shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from tidegate.core.alerting.rules import shown_action, shown_url
from tidegate.store.tables.alerts import AlertRow, NotifierRow, OutboxRow, SilenceRow
from tidegate.wire.monitoring import alerts as wire


def alert_view(row: AlertRow, actions: Iterable[OutboxRow] = ()) -> wire.AlertView:
    """An alert, and what was done because of it."""
    labels = row.labels
    return wire.AlertView(
        id=row.id,
        type=labels["alertname"],
        endpoint=row.endpoint,
        monitor=labels.get("monitor", ""),
        severity=cast(wire.AlertSeverity, row.severity),
        state=cast(wire.AlertState, row.state),
        message=row.message,
        since=row.since,
        fingerprint=row.fingerprint,
        version=labels.get("version"),
        feature=labels.get("feature"),
        metric=labels.get("metric"),
        segment=labels.get("segment"),
        fired_at=row.fired_at,
        ended_at=row.ended_at,
        ended_because=row.ended_because,
        quiet_because=row.quiet_because,
        acknowledged_by=row.acknowledged_by,
        evidence=row.evidence,
        actions=[_done(one) for one in actions if row.id in one.alerts],
    )


def _done(row: OutboxRow) -> str:
    what = row.outcome or ("due" if row.state == "pending" else row.state)
    return f"{shown_action(row.target)}: {what}"


def silence_view(row: SilenceRow, now: float) -> wire.SilenceView:
    """A silence as it is at `now`."""
    active = row.starts_at <= now < row.ends_at
    return wire.SilenceView(
        row.id, row.matchers, row.starts_at, row.ends_at, row.comment, row.created_by, active=active
    )


def notifier_view(row: NotifierRow, counts: dict[tuple[str, str], int], secret: str | None = None) -> wire.NotifierView:
    """A notifier without its secrets, but for one that was made just now."""
    return wire.NotifierView(
        name=row.name,
        kind=cast(wire.NotifierKind, row.kind),
        address=shown_url(row.config["url"]),
        endpoint=row.endpoint or None,
        severity_min=cast(wire.AlertSeverity, row.severity_min),
        resolved=row.resolved,
        created_at=row.created_at,
        secret=secret,
        pending=counts.get((row.name, "pending"), 0),
        dead=counts.get((row.name, "dead"), 0),
    )


def delivery_view(row: OutboxRow) -> wire.DeliveryView:
    """A delivery without its payload."""
    return wire.DeliveryView(
        id=row.id,
        kind=row.kind,
        target=shown_action(row.target) if row.kind in ("webhook", "rollback", "hold") else row.target,
        endpoint=row.endpoint,
        state=cast(wire.DeliveryState, row.state),
        attempts=row.attempts,
        created_at=row.created_at,
        next_at=row.next_at if row.state == "pending" else None,
        done_at=row.done_at,
        outcome=row.outcome,
        alerts=row.alerts,
    )
