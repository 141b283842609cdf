"""What rules would have sent of results that came one after the other: the same machine, on a clock of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tidegate.core.alerting.machine import step
from tidegate.core.alerting.model import Alert, AlertFacts, AlertType, Observation, Receiver, Rule, Status

EVERYBODY = Receiver("everybody")


@dataclass(frozen=True)
class Sent:
    """What would have been sent of an alert."""

    at: float
    status: Status
    alert: Alert


def replay(rules: Mapping[AlertType, Rule], looks: Iterable[tuple[float, Sequence[Observation]]]) -> Iterator[Sent]:
    """What would have been sent, in order, to a receiver that wants everything; nothing was silenced or acknowledged.

    `looks` are moments, which only grow, and what was found then. Between them happens what time alone changes, at the
    time when it does. No action is taken, so whatever was wrong stays wrong.
    """
    facts = AlertFacts(
        rules={type_: replace(rule, actions=()) for type_, rule in rules.items()}, receivers=(EVERYBODY,)
    )
    for at, observations in looks:
        while (between := _next_change(facts, at)) is not None:
            facts, sent = _stepped(facts, (), between)
            yield from sent
        facts, sent = _stepped(facts, observations, at)
        yield from sent


def _stepped(facts: AlertFacts, observations: Sequence[Observation], at: float) -> tuple[AlertFacts, list[Sent]]:
    outcome = step(facts, observations, at)
    sent = [Sent(at, status, alert) for notice in outcome.notices for alert, status in notice.alerts]
    known = tuple(alert for alert in outcome.alerts if alert.condition != "resolved")
    return replace(facts, known=known), sent


def _next_change(facts: AlertFacts, before: float) -> float | None:
    """The earliest moment before `before` at which an alert ends or is repeated without a further result."""
    due = [at for alert in facts.known for at in _changes(alert, facts.rule(alert.type)) if at < before]
    return min(due, default=None)


def _changes(alert: Alert, rule: Rule) -> Iterator[float]:
    notice = alert.told.get(EVERYBODY.name)
    if alert.condition == "firing" and alert.ok_since is not None and alert.unknown_since is None:
        yield alert.ok_since + rule.keep_firing_for_s
    if alert.state == "firing" and notice is not None:
        yield notice.at + rule.repeat_interval_s
