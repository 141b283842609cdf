"""One step of an endpoint's alerts: what is known and what monitors found go in, what to send and to do comes out.

The state is the alerts themselves: a step after a restart decides as it would have before. Called by
`services.alerting` in the transaction that stores the results.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tidegate.core.alerting.conditions import conditions
from tidegate.core.alerting.model import (
    SEVERITIES,
    Action,
    Alert,
    AlertFacts,
    AlertType,
    Deed,
    LastNotice,
    Notice,
    Observation,
    Outcome,
    Receiver,
    Status,
)
from tidegate.core.alerting.quiet import explaining, shown


def step(facts: AlertFacts, observations: Iterable[Observation], now: float) -> Outcome:
    """The alerts at `now`. Without observations: what time alone changes (ends of silences, what is to be repeated)."""
    raw = conditions(facts, observations, now)
    sources = explaining(raw)
    alerts = [shown(alert, sources, facts.silences, now) for alert in raw]
    notices = [notice for receiver in facts.receivers for notice in _notices(alerts, receiver, facts, now)]
    deeds = _deeds(alerts, facts, now)
    return Outcome(tuple(_after(alerts, notices, deeds, facts, now)), tuple(notices), tuple(deeds))


# -- what to send -----------------------------------------------------------------------------------------------------


def _notices(alerts: Sequence[Alert], receiver: Receiver, facts: AlertFacts, now: float) -> list[Notice]:
    groups: dict[tuple[tuple[str, str], ...], list[tuple[Alert, Status]]] = {}
    for alert in alerts:
        due = _due(alert, receiver, facts, now)
        if due is not None:
            groups.setdefault(_group(alert, facts), []).append((alert, due))
    firing = {_group(alert, facts) for alert in alerts if alert.condition == "firing" and receiver.name in alert.told}
    return [
        Notice(receiver.name, dict(group), _status(due, group in firing), tuple(due)) for group, due in groups.items()
    ]


def _status(due: Sequence[tuple[Alert, Status]], others_fire: bool) -> Status:
    return "firing" if others_fire or any(status == "firing" for _, status in due) else "resolved"


def _due(alert: Alert, receiver: Receiver, facts: AlertFacts, now: float) -> Status | None:
    """Which notice the receiver gets of it now.

    Everyone who was notified that it fires is notified that it ended, whatever keeps it quiet. That it fires is said
    once, and again after `repeat_interval_s`; of what is quiet nothing is said.
    """
    notice = alert.told.get(receiver.name)
    if alert.condition == "resolved":
        return "resolved" if notice is not None and notice.status == "firing" and receiver.resolved else None
    if alert.state != "firing" or not _wants(receiver, alert):
        return None
    again = notice is None or now - notice.at >= facts.rule(alert.type).repeat_interval_s
    return "firing" if again else None


def _wants(receiver: Receiver, alert: Alert) -> bool:
    of_it = receiver.endpoint in ("", alert.label("endpoint"))
    return of_it and SEVERITIES.index(alert.severity) >= SEVERITIES.index(receiver.severity_min)


def _group(alert: Alert, facts: AlertFacts) -> tuple[tuple[str, str], ...]:
    return tuple((name, alert.label(name)) for name in facts.rule(alert.type).group_by)


# -- what to do -------------------------------------------------------------------------------------------------------


def _deeds(alerts: Sequence[Alert], facts: AlertFacts, now: float) -> list[Deed]:
    """Each action of each rule once for an alert that fires and that nothing keeps quiet, outside its cool-down."""
    groups: dict[tuple[str, AlertType, str], tuple[Action, list[Alert]]] = {}
    for alert in alerts:
        if alert.state != "firing":
            continue
        rule = facts.rule(alert.type)
        for action in rule.actions:
            last = facts.acted_at.get(action.key)
            if action.key in alert.acted or (last is not None and now - last < rule.cooldown_s):
                continue
            version = alert.label("version") if action.kind == "rollback" else ""
            groups.setdefault((action.key, alert.type, version), (action, []))[1].append(alert)
    # One of a kind at a time: the next one is due after its cool-down.
    first = {key: (key, type_, version) for key, type_, version in sorted(groups, reverse=True)}
    chosen = [groups[name] + name for name in sorted(first.values())]
    return [Deed(action, type_, version, tuple(found)) for action, found, _, type_, version in chosen]


def _after(
    alerts: Sequence[Alert], notices: Sequence[Notice], deeds: Sequence[Deed], facts: AlertFacts, now: float
) -> Iterable[Alert]:
    told: dict[str, dict[str, LastNotice]] = {}
    for notice in notices:
        for alert, status in notice.alerts:
            told.setdefault(alert.id, {})[notice.receiver] = LastNotice(status, now)
    acted: dict[str, dict[str, float]] = {}
    for deed in deeds:
        for alert in deed.alerts:
            acted.setdefault(alert.id, {})[deed.action.key] = now
    names = {receiver.name for receiver in facts.receivers}
    for alert in alerts:
        heard = {name: one for name, one in alert.told.items() if name in names} | told.get(alert.id, {})
        yield replace(alert, told=heard, acted={**alert.acted, **acted.get(alert.id, {})})
