"""What results make of alerts, before anything keeps them quiet: pending, firing, resolved."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tidegate.core.alerting.model import (
    NO_TRAFFIC,
    SEVERITIES,
    Alert,
    AlertFacts,
    AlertType,
    KnownToBaseline,
    Observation,
    Rule,
    Verdict,
    alert_id,
)

OF_LABELS: frozenset[AlertType] = frozenset({"performance_drift", "label_shift"})
OF_BASELINES: frozenset[AlertType] = OF_LABELS | {"data_drift", "prediction_drift", "data_quality"}
"""Types whose results name columns and segments of a baseline, and of its labels."""
_WORST: dict[Verdict, int] = {"alert": 2, "ok": 1, "unknown": 0}


def conditions(facts: AlertFacts, observations: Iterable[Observation], now: float) -> list[Alert]:
    """Alerts by fingerprint, whatever order the results came in: those there were, and those that begin.

    newest result | pending                        | firing                          | none yet
    --------------|--------------------------------|---------------------------------|------------------
    alert         | firing once `for_s` has passed | goes on                         | begins
    ok            | ends, untold                   | ends after `keep_firing_for_s`  | nothing
    unknown       | stays                          | stays, `not_enough_data`        | nothing
    no result     | stays                          | as after the newest one         | nothing
    """
    found = {alert.fingerprint: alert for alert in facts.known}
    for fingerprint, one in _by_fingerprint(observations).items():
        rule, before = facts.rule(one.type), found.get(fingerprint)
        verdict = _verdict(one, rule)
        if before is not None:
            found[fingerprint] = _observed(before, one, verdict, rule, now)
        elif verdict == "alert" and rule.enabled:
            found[fingerprint] = _begun(one, rule, now)
    return [_at(found[fingerprint], facts, now) for fingerprint in sorted(found)]


def _by_fingerprint(observations: Iterable[Observation]) -> dict[str, Observation]:
    """Of several about the same thing the worst counts."""
    ordered = sorted(observations, key=lambda one: (_rank(one), one.message))
    return {one.fingerprint: one for one in ordered}


def _rank(one: Observation) -> tuple[int, int, float]:
    return _WORST[one.verdict], SEVERITIES.index(one.severity), one.measured or 0.0


def _verdict(one: Observation, rule: Rule) -> Verdict:
    small = rule.threshold is not None and one.measured is not None and one.measured < rule.threshold
    return "ok" if one.verdict == "alert" and small else one.verdict


def _begun(one: Observation, rule: Rule, now: float) -> Alert:
    fires = rule.for_s <= 0
    return Alert(
        id=alert_id(one.fingerprint, now),
        fingerprint=one.fingerprint,
        labels=one.labels,
        condition="firing" if fires else "pending",
        state="firing" if fires else "pending",
        severity=one.severity,
        message=one.message,
        since=now,
        evidence=one.evidence,
        fired_at=now if fires else None,
    )


def _observed(alert: Alert, one: Observation, verdict: Verdict, rule: Rule, now: float) -> Alert:
    if alert.condition == "resolved":
        return alert
    if verdict == "unknown":
        since = now if alert.unknown_since is None else alert.unknown_since
        return replace(alert, unknown_since=since)
    if verdict == "ok":
        return replace(alert, unknown_since=None, ok_since=now if alert.ok_since is None else alert.ok_since)
    fires = alert.condition == "firing" or now - alert.since >= rule.for_s
    return replace(
        alert,
        condition="firing" if fires else "pending",
        fired_at=now if fires and alert.fired_at is None else alert.fired_at,
        severity=one.severity,
        message=one.message,
        evidence=one.evidence,
        ok_since=None,
        unknown_since=None,
    )


def _at(alert: Alert, facts: AlertFacts, now: float) -> Alert:
    why = "" if alert.condition == "resolved" else _over(alert, facts, now)
    return _ended(alert, now, why) if why else alert


def _over(alert: Alert, facts: AlertFacts, now: float) -> str:
    """Why the alert is over: good for long enough, or about something that is no more; "" where it is not."""
    if why := _ended_subject(alert, facts):
        return why
    if alert.ok_since is None or alert.unknown_since is not None:
        return ""
    long_enough = alert.condition == "pending" or now - alert.ok_since >= facts.rule(alert.type).keep_firing_for_s
    return "results are good again" if long_enough else ""


def _ended_subject(alert: Alert, facts: AlertFacts) -> str:
    """What is no more of that which the alert is about, so that no result will end it; "" where all is there."""
    version = alert.label("version")
    if facts.gone:
        return "the endpoint was deleted"
    if not facts.monitored:
        return "the endpoint is not monitored any more"
    if version and facts.served is not None and version not in facts.served:
        return f"version {version} {NO_TRAFFIC}"
    if not facts.rule(alert.type).enabled:
        return "its rule was turned off"
    lacking = _lacking(alert, facts.baselines.get(version))
    return f"the baseline of version {version} has no {lacking} any more" if lacking else ""


def _lacking(alert: Alert, baseline: KnownToBaseline | None) -> str:
    """What the alert is about and the newest baseline does not have, so that no result will come of it again."""
    feature, segment = alert.label("feature"), alert.label("segment")
    if baseline is None or alert.type not in OF_BASELINES:
        return ""
    if feature and feature not in baseline.features:
        return f"column {feature}"
    if segment and segment not in baseline.segments:
        return f"segment {segment}"
    return "labels" if alert.type in OF_LABELS and not baseline.labels else ""


def _ended(alert: Alert, now: float, why: str) -> Alert:
    return replace(alert, condition="resolved", state="resolved", ended_at=now, ended_because=why, quiet_because="")
