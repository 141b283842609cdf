"""Alerts as they are: results make them, people acknowledge them, and the outbox gets what is to be sent.

`observe` is called by the monitor loop in the transaction that stores the results, `tick` by the notify loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.access import Principal
from tidegate.core.alerting.machine import step
from tidegate.core.alerting.messages import message, payload
from tidegate.core.alerting.model import (
    STATES,
    Alert,
    AlertFacts,
    Deed,
    KnownToBaseline,
    Observation,
    Outcome,
    Receiver,
    Silence,
)
from tidegate.core.alerting.observations import Result, label_of, observed
from tidegate.core.alerting.rules import rules_of, shown_action
from tidegate.errors import Conflict, InvalidArgument, UnknownAlert
from tidegate.services.alerting.views import alert_view
from tidegate.services.reading.pages import check_page
from tidegate.store import audit, monitoring
from tidegate.store.alerting import alerts as rows
from tidegate.store.alerting import outbox
from tidegate.store.database.engine import Store
from tidegate.store.endpoints.automation import effective_of, word_of
from tidegate.store.tables import BaselineRow, EndpointRow
from tidegate.store.tables.alerts import AlertRow, NotifierRow, SilenceRow
from tidegate.wire.decoding import convert
from tidegate.wire.monitoring import alerts as wire
from tidegate.wire.monitoring.monitoring import BaselineView

TOO_MANY_WAIT = f"more than {outbox.PENDING_MAX} messages wait for this notifier: the oldest were given up"


def _nothing() -> None:
    """What is woken where no loop waits for the outbox."""


@dataclass(frozen=True)
class Alerting:
    """The use cases. `url` is the console's, in messages; `changed` wakes the notify loop after a commit."""

    store: Store
    clock: Clock
    url: str = ""
    changed: Callable[[], None] = _nothing

    # -- the machine in its transactions ------------------------------------------------------------------------------

    def observe(self, tx: Session, endpoint: str, results: Iterable[Result], now: float) -> None:
        """What these results make of the endpoint's alerts, in the caller's transaction.

        What is to be sent lies in the outbox with it: after the commit `changed` has it sent at once, and without it
        within a second.
        """
        self._step(tx, endpoint, observed(results), now)

    def told(self, tx: Session, endpoint: str, observations: Iterable[Observation], now: float) -> None:
        """As `observe`, of observations that no monitor made."""
        self._step(tx, endpoint, list(observations), now)

    def tick(self) -> None:
        """What time alone changes: silences that end, repeats that are due, endpoints and versions that are gone."""
        now = self.clock()
        with self.store.reading() as tx:
            names = rows.endpoints_with_open_alerts(tx)
            due = [name for name in names if self._would_change(tx, name, now)]
        for name in due:
            with self.store.transaction() as tx:
                self._step(tx, name, [], now)

    def forget_old(self) -> None:
        """Delete alerts that ended, silences that are over and deliveries that are done, past their bounds."""
        with self.store.transaction() as tx:
            rows.forget_ended(tx)
            rows.forget_silences(tx, self.clock())
            outbox.forget_done(tx)

    def _would_change(self, tx: Session, endpoint: str, now: float) -> bool:
        facts = facts_of(tx, endpoint, tx.get(EndpointRow, endpoint), now)
        outcome = step(facts, [], now)
        return bool(outcome.notices or outcome.deeds) or _by_id(outcome.alerts) != _by_id(facts.known)

    def _step(self, tx: Session, endpoint: str, observations: list[Observation], now: float) -> Outcome:
        # One step of an endpoint at a time: two that begin from the same alerts would say the same twice.
        row = tx.scalar(select(EndpointRow).where(EndpointRow.name == endpoint).with_for_update())
        outcome = step(facts_of(tx, endpoint, row, now), observations, now)
        for alert in outcome.alerts:
            rows.write(tx, alert)
        for notice in outcome.notices:
            ids = [alert.id for alert, _ in notice.alerts]
            outbox.add(tx, outbox.NewDelivery("notice", notice.receiver, endpoint, payload(notice, self.url), ids), now)
            outbox.dead_letter_oldest(tx, notice.receiver, now, TOO_MANY_WAIT)
        for deed in outcome.deeds:
            outbox.add(tx, self._action(deed, endpoint, row), now)
        return outcome

    def _action(self, deed: Deed, endpoint: str, row: EndpointRow | None) -> outbox.NewDelivery:
        ids = [alert.id for alert in deed.alerts]
        if deed.action.kind == "webhook":
            about = {"alertname": deed.type, "endpoint": endpoint}
            key = f'{{}}:{{action="webhook",alertname="{deed.type}",endpoint="{endpoint}"}}'
            firing = [(alert, "firing") for alert in deed.alerts]
            body = message(shown_action(deed.action.key), "firing", firing, about, (key, self.url))  # type: ignore[arg-type]
        else:
            worst = deed.alerts[0]
            more = f" and {len(deed.alerts) - 1} more" if len(deed.alerts) > 1 else ""
            body = {
                "version": deed.version,
                "type": deed.type,
                "word": 0 if row is None else word_of(row),
                "uid": "" if row is None else row.uid,
                "why": f"alert {worst.id}{more}, {deed.type} ({worst.severity}): {worst.message}",
            }
        return outbox.NewDelivery(deed.action.kind, deed.action.key, endpoint, body, ids)

    # -- people -------------------------------------------------------------------------------------------------------

    def page(
        self, rows_max: int, cursor: str | None = None, endpoint: str | None = None, state: str | None = None
    ) -> tuple[list[wire.AlertView], str | None]:
        """A page of alerts, the newest first, and the cursor of the next page. Raises `InvalidArgument`."""
        check_page(rows_max)
        if state is not None and state not in STATES:
            raise InvalidArgument(f"state {state!r} is none of {', '.join(STATES)}", field="state")
        wanted = rows.AlertFilter(rows_max + 1, endpoint, state, None if cursor is None else _after(cursor))
        with self.store.reading() as tx:
            found = rows.page(tx, wanted)
            acted = {one: outbox.actions_of(tx, one) for one in {row.endpoint for row in found if row.acted}}
        shown = [alert_view(row, acted.get(row.endpoint, ())) for row in found[:rows_max]]
        last = found[rows_max - 1] if len(found) > rows_max else None
        return shown, None if last is None else f"{last.since!r},{last.id}"

    def get(self, alert_id: str) -> wire.AlertView:
        """Raises `UnknownAlert`."""
        with self.store.reading() as tx:
            row = _alert_or_raise(tx, alert_id)
            return alert_view(row, outbox.actions_of(tx, row.endpoint))

    def acknowledge(self, alert_id: str, request: wire.AcknowledgeRequest, who: Principal) -> wire.AlertView:
        """Somebody has seen it: it is not repeated, and nothing is done because of it. Its end is told all the same.

        Raises `UnknownAlert`, `Conflict` for one that is over.
        """
        now = self.clock()
        with self.store.transaction() as tx:
            row = _alert_or_raise(tx, alert_id)
            if row.condition == "resolved":
                raise Conflict(f"alert {alert_id} is over: {row.ended_because}", alert=alert_id)
            before, after = row.acknowledged_by, "" if request.off else who.name or who.kind
            row.acknowledged_by = after
            if before != after:
                change = audit.AuditedChange(
                    "acknowledge", "alert", alert_id, {"acknowledged_by": (before or None, after or None)}
                )
                audit.record(tx, who, now, change)
            tx.flush()
            self._step(tx, row.endpoint, [], now)
            tx.flush()
            view = alert_view(row, outbox.actions_of(tx, row.endpoint))
        self.changed()
        return view


def facts_of(tx: Session, endpoint: str, row: EndpointRow | None, now: float) -> AlertFacts:
    """What a step of an endpoint's alerts needs to know; `row` is the endpoint's, None where it is gone."""
    stored = rows.rules_of(tx, endpoint)
    return AlertFacts(
        rules={} if stored is None else rules_of(stored.rules),
        silences=[_silence(one) for one in rows.silences(tx, now)],
        receivers=[_receiver(one) for one in rows.notifiers(tx)],
        known=rows.open_alerts(tx, endpoint),
        served=None if row is None else served_versions(row),
        baselines={} if row is None else known_to_baselines(tx, row),
        acted_at=outbox.last_actions(tx, endpoint),
        gone=row is None or row.deleted_at is not None,
        monitored=row is None or monitoring.settings_of(monitoring.monitor(tx, row)).on,
    )


def served_versions(row: EndpointRow) -> frozenset[str]:
    """The versions that get traffic, or shall get some."""
    return frozenset({*row.traffic, *row.routed, *effective_of(row).traffic})


def known_to_baselines(tx: Session, row: EndpointRow) -> dict[str, KnownToBaseline]:
    """What the newest baseline of each version that gets traffic has, in the words of alerts' labels."""
    found = {version: tx.get(BaselineRow, (row.model, version)) for version in served_versions(row)}
    views = {version: convert(one.view, BaselineView) for version, one in found.items() if one is not None}
    return {
        version: KnownToBaseline(
            frozenset(label_of(column.name) for column in view.columns),
            frozenset(map(label_of, view.segments)),
            view.metric is not None,
        )
        for version, view in views.items()
    }


def _by_id(alerts: Iterable[Alert]) -> dict[str, Alert]:
    return {alert.id: alert for alert in alerts}


def _silence(row: SilenceRow) -> Silence:
    return Silence(row.id, row.matchers, row.starts_at, row.ends_at)


def _receiver(row: NotifierRow) -> Receiver:
    return Receiver(row.name, row.endpoint, row.severity_min, resolved=row.resolved)  # type: ignore[arg-type]


def _alert_or_raise(tx: Session, alert_id: str) -> AlertRow:
    row = rows.get_alert(tx, alert_id)
    if row is None:
        raise UnknownAlert(f"no alert has the id {alert_id!r}: 'tidegate alerts' lists them", alert=alert_id)
    return row


def _after(cursor: str) -> tuple[float, str]:
    since, _, alert_id = cursor.partition(",")
    try:
        return float(since), alert_id
    except ValueError:
        raise InvalidArgument("cursor is not one that a page named as its next", field="cursor") from None
