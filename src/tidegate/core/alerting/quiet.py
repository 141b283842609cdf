"""What keeps an alert that fires quiet: another alert that explains it, a silence, a person who has seen it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tidegate.core.alerting.model import SEVERITIES, Alert, AlertType, Severity, Silence, State

OUTAGE: Mapping[AlertType, Severity] = {"errors": "critical", "traffic": "high", "capture_dropped": "high"}
"""From which severity on: while most requests fail, stay away or are not recorded, no statistic of them means anything.

A few failures among many answers explain no drift.
"""
BY_OUTAGE: frozenset[AlertType] = frozenset(
    {
        "data_drift",
        "prediction_drift",
        "label_shift",
        "performance_drift",
        "estimated_performance",
        "data_quality",
        "label_coverage",
    }
)


def explaining(alerts: Sequence[Alert]) -> list[Alert]:
    """Those that fire and could inhibit others: few, where many columns drift."""
    return [one for one in alerts if one.condition == "firing" and (one.type in OUTAGE or one.type == "data_quality")]


def inhibitor(alert: Alert, alerts: Sequence[Alert]) -> Alert | None:
    """The alert of the same endpoint that explains this one, if one fires.

    fires                                             | inhibits
    --------------------------------------------------|--------------------------------------------
    an outage of the same version or the endpoint:    | every alert about data, predictions, labels
    errors that are critical, traffic or              | and quality
    capture_dropped that are high                     |
    data_quality of a column, but of its range (which | data_drift of that column
    a world that moved leaves as well)                |
    data_quality of no column (the schema)            | data_drift of every column
    """
    return next((one for one in alerts if one.condition == "firing" and _explains(one, alert)), None)


def _explains(source: Alert, target: Alert) -> bool:
    if source.label("endpoint") != target.label("endpoint") or source.fingerprint == target.fingerprint:
        return False
    if source.label("version") not in ("", target.label("version")):
        return False
    if source.type in OUTAGE:
        is_outage = SEVERITIES.index(source.severity) >= SEVERITIES.index(OUTAGE[source.type])
        return is_outage and target.type in BY_OUTAGE
    same_column = source.label("feature") in ("", target.label("feature"))
    is_fault = source.type == "data_quality" and source.label("metric") != "range"
    return is_fault and target.type == "data_drift" and same_column


def silence_of(alert: Alert, silences: Sequence[Silence], now: float) -> Silence | None:
    """The silence that it falls under now."""
    return next((one for one in silences if one.starts_at <= now < one.ends_at and matches(one, alert)), None)


def matches(silence: Silence, alert: Alert) -> bool:
    """Whether every matcher fits; a label that the alert does not have is "". `id` matches one episode."""
    values = {**alert.labels, "severity": alert.severity, "id": alert.id}
    return all(fits(values.get(name, ""), wanted) for name, wanted in silence.matchers.items())


def fits(value: str, wanted: str) -> bool:
    """Whether a value is the wanted one, in which `*` stands for any characters and every other one for itself.

    >>> fits("x[0]", "x[*"), fits("x[0]", "x[1]"), fits("ab", "a*b*b")
    (True, False, False)
    """
    first, *middle = wanted.split("*")
    if not middle:
        return value == wanted
    last = middle.pop()
    if not value.startswith(first) or not value.endswith(last) or len(value) < len(first) + len(last):
        return False
    place, end = len(first), len(value) - len(last)
    for part in middle:
        found = value.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True


def shown(alert: Alert, alerts: Sequence[Alert], silences: Sequence[Silence], now: float) -> Alert:
    """The alert with its state, the first that holds of: inhibited, silenced, acknowledged, not enough data."""
    if alert.condition != "firing":
        return replace(alert, state=alert.condition, quiet_because="")
    by, silence = inhibitor(alert, alerts), silence_of(alert, silences, now)
    state: State = "firing"
    why = ""
    if by is not None:
        state, why = "inhibited", f"explained by {by.type} (alert {by.id})"
    elif silence is not None:
        state, why = "silenced", f"silence {silence.id}"
    elif alert.acknowledged_by:
        state, why = "acknowledged", f"seen by {alert.acknowledged_by}"
    elif alert.unknown_since is not None:
        state, why = "not_enough_data", "its newest result says nothing either way"
    return replace(alert, state=state, quiet_because=why)
