"""Rows of alerts, silences, rules and notifiers. Called by `services.alerting`, in its transactions."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from tidegate.core.alerting.model import NO_TRAFFIC, Alert, LastNotice
from tidegate.store.tables.alerts import AlertRow, AlertRulesRow, NotifierRow, SilenceRow

ENDED_KEPT_MAX = 10_000
"""Alerts that ended and are still shown; those that began first are forgotten first."""
SILENCES_KEPT_MAX = 1_000
SILENCE_KEPT_S = 7 * 86_400.0
"""How long one that is over is still shown."""


@dataclass(frozen=True)
class AlertFilter:
    """Which alerts to read, newest first: of an endpoint, in a state, that began before (`before` and id), if given."""

    rows_max: int
    endpoint: str | None = None
    state: str | None = None
    before: tuple[float, str] | None = None


def alert_of(row: AlertRow) -> Alert:
    """The row as the state machine knows it."""
    notices = {name: LastNotice(status, at) for name, (status, at) in row.told.items()}
    kept = {name: getattr(row, name) for name in Alert.__dataclass_fields__ if name != "told"}
    return Alert(**kept, told=notices)


def write(tx: Session, alert: Alert) -> None:
    """Make or change the row. One that never fired leaves none when it ends: nobody was notified."""
    row = tx.get(AlertRow, alert.id)
    if alert.condition == "resolved" and alert.fired_at is None:
        if row is not None:
            tx.delete(row)
        return
    if row is None:
        row = AlertRow(id=alert.id, endpoint=alert.label("endpoint"))
        tx.add(row)
    for name in Alert.__dataclass_fields__:
        value = getattr(alert, name)
        if name == "told":
            value = {receiver: [told.status, told.at] for receiver, told in alert.told.items()}
        elif name in ("labels", "evidence", "acted"):
            value = dict(value)
        if getattr(row, name, None) != value:
            setattr(row, name, value)


def open_alerts(tx: Session, endpoint: str) -> list[Alert]:
    """Those of an endpoint that have not ended."""
    query = select(AlertRow).where(AlertRow.endpoint == endpoint, AlertRow.condition != "resolved")
    return [alert_of(row) for row in tx.scalars(query.order_by(AlertRow.id))]


def endpoints_with_open_alerts(tx: Session) -> list[str]:
    """Also those of endpoints that are gone."""
    query = select(AlertRow.endpoint).where(AlertRow.condition != "resolved").distinct()
    return list(tx.scalars(query.order_by(AlertRow.endpoint)))


def get_alert(tx: Session, alert_id: str) -> AlertRow | None:
    """One alert."""
    return tx.get(AlertRow, alert_id)


def page(tx: Session, wanted: AlertFilter) -> list[AlertRow]:
    """Rows, the newest beginning first."""
    query = select(AlertRow).order_by(AlertRow.since.desc(), AlertRow.id).limit(wanted.rows_max)
    if wanted.endpoint is not None:
        query = query.where(AlertRow.endpoint == wanted.endpoint)
    if wanted.state is not None:
        query = query.where(AlertRow.state == wanted.state)
    if wanted.before is not None:
        since, after = wanted.before
        query = query.where((AlertRow.since < since) | ((AlertRow.since == since) & (AlertRow.id > after)))
    return list(tx.scalars(query))


def counts(tx: Session) -> dict[tuple[str, str, str], int]:
    """How many alerts that have not ended there are by endpoint, state and severity."""
    keys = AlertRow.endpoint, AlertRow.state, AlertRow.severity
    query = select(*keys, func.count()).where(AlertRow.condition != "resolved").group_by(*keys)
    return {(endpoint, state, severity): number for endpoint, state, severity, number in tx.execute(query)}


def failed_versions(tx: Session, endpoint: str, type_: str, since: float) -> set[str]:
    """Versions with an alert of this type that goes on, or that ended since then because it got no traffic."""
    query = select(AlertRow).where(AlertRow.endpoint == endpoint, AlertRow.fired_at.is_not(None))
    query = query.where((AlertRow.condition != "resolved") | (AlertRow.ended_at >= since))
    found = [row for row in tx.scalars(query) if row.labels.get("alertname") == type_]
    return {
        row.labels.get("version", "")
        for row in found
        if row.condition != "resolved" or row.ended_because.endswith(NO_TRAFFIC)
    } - {""}


def forget_ended(tx: Session) -> None:
    """Keep the newest of those that ended."""
    ended = AlertRow.condition == "resolved"
    last = tx.scalar(
        select(AlertRow.since).where(ended).order_by(AlertRow.since.desc()).offset(ENDED_KEPT_MAX).limit(1)
    )
    if last is not None:
        tx.execute(delete(AlertRow).where(ended, AlertRow.since <= last))


# -- silences ---------------------------------------------------------------------------------------------------------


def silences(tx: Session, now: float | None = None) -> list[SilenceRow]:
    """All that are kept, the last to end first; of `now`, those that are not over then."""
    query = select(SilenceRow).order_by(SilenceRow.ends_at.desc(), SilenceRow.id)
    return list(tx.scalars(query if now is None else query.where(SilenceRow.ends_at > now)))


def get_silence(tx: Session, silence_id: str) -> SilenceRow | None:
    """One silence."""
    return tx.get(SilenceRow, silence_id)


def count_silences(tx: Session, now: float) -> int:
    """How many there are that are not over."""
    return tx.scalar(select(func.count()).where(SilenceRow.ends_at > now)) or 0


def forget_silences(tx: Session, now: float) -> None:
    """Forget those that were over long ago."""
    tx.execute(delete(SilenceRow).where(SilenceRow.ends_at < now - SILENCE_KEPT_S))


# -- rules and notifiers ----------------------------------------------------------------------------------------------


def rules_of(tx: Session, endpoint: str) -> AlertRulesRow | None:
    """What people changed of an endpoint's rules; None: nothing."""
    return tx.get(AlertRulesRow, endpoint)


def all_rules(tx: Session) -> list[AlertRulesRow]:
    """Of every endpoint whose rules somebody changed."""
    return list(tx.scalars(select(AlertRulesRow).order_by(AlertRulesRow.endpoint)))


def notifiers(tx: Session) -> list[NotifierRow]:
    """All, by name."""
    return list(tx.scalars(select(NotifierRow).order_by(NotifierRow.name)))


def get_notifier(tx: Session, name: str) -> NotifierRow | None:
    """One notifier."""
    return tx.get(NotifierRow, name)
