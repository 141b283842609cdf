"""What notifiers send: Alertmanager's webhook payload, version 4, which its receivers read as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tidegate.core.alerting.model import Alert, Notice, Status

ALERTS_MAX = 50
"""Alerts of one message; the payload says how many more there were."""
_NEVER = "0001-01-01T00:00:00Z"
"""What Alertmanager writes for an end that is not there yet."""


def payload(notice: Notice, url: str) -> dict[str, Any]:
    """The message of a notice. `url` is the console's."""
    key = ",".join(f'{name}="{value}"' for name, value in sorted(notice.group.items()))
    return message(notice.receiver, notice.status, notice.alerts, notice.group, (f"{{}}:{{{key}}}", url))


def message(
    receiver: str,
    status: Status,
    alerts: Sequence[tuple[Alert, Status]],
    group: Mapping[str, str],
    key_and_url: tuple[str, str],
) -> dict[str, Any]:
    """A message about these alerts, the worst first where there are too many."""
    key, url = key_and_url
    shown = [_alert(alert, one, url) for alert, one in alerts[:ALERTS_MAX]]
    return {
        "version": "4",
        "groupKey": key,
        "truncatedAlerts": max(0, len(alerts) - ALERTS_MAX),
        "status": status,
        "receiver": receiver,
        "groupLabels": dict(group),
        "commonLabels": _common([one["labels"] for one in shown]),
        "commonAnnotations": _common([one["annotations"] for one in shown]),
        "externalURL": url,
        "alerts": shown,
    }


def _alert(alert: Alert, status: Status, url: str) -> dict[str, Any]:
    numbers = {name: f"{value:.6g}" for name, value in alert.evidence.items() if isinstance(value, int | float)}
    why = {"ended_because": alert.ended_because} if alert.ended_because else {}
    return {
        "status": status,
        "labels": {**alert.labels, "severity": alert.severity},
        "annotations": {"summary": alert.message, "alert_id": alert.id, **why, **numbers},
        "startsAt": _rfc3339(alert.fired_at if alert.fired_at is not None else alert.since),
        "endsAt": _rfc3339(alert.ended_at) if status == "resolved" and alert.ended_at is not None else _NEVER,
        "generatorURL": f"{url}/endpoints/{alert.label('endpoint')}" if url else "",
        "fingerprint": alert.fingerprint,
    }


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _common(each: Sequence[Mapping[str, str]]) -> dict[str, str]:
    if not each:
        return {}
    return {name: value for name, value in each[0].items() if all(one.get(name) == value for one in each)}


def trial_payload(receiver: str, url: str, at: float) -> dict[str, Any]:
    """What `notifiers test` sends: one alert that fires, named TidegateTest."""
    alert = Alert(
        id="test",
        fingerprint="0" * 16,
        labels={"alertname": "TidegateTest", "endpoint": "none"},
        condition="firing",
        state="firing",
        severity="low",
        message=f"This is a test of notifier {receiver}: nothing is wrong.",
        since=at,
        fired_at=at,
    )
    return message(receiver, "firing", [(alert, "firing")], {"alertname": "TidegateTest"}, ("{}:{test}", url))


def titled(body: Mapping[str, Any]) -> tuple[str, list[str]]:
    """A message in words: a title, and a line for each alert. For people who read it in a chat or a mail."""
    alerts = body["alerts"]
    firing = sum(one["status"] == "firing" for one in alerts)
    labels = body["commonLabels"]
    what = labels.get("alertname") or "alerts"
    where = f" of {labels['endpoint']}" if labels.get("endpoint") not in (None, "none") else ""
    count = f"[{'FIRING' if firing else 'RESOLVED'}:{firing or len(alerts)}]"
    more = [f"… and {body['truncatedAlerts']} more"] if body["truncatedAlerts"] else []
    return f"{count} {what}{where}", [_line(one) for one in alerts] + more


def _line(one: Mapping[str, Any]) -> str:
    labels, notes = one["labels"], one["annotations"]
    names = [labels[name] for name in ("feature", "metric", "segment") if labels.get(name)]
    version = f"version {labels['version']}" if labels.get("version") else ""
    about = ", ".join([*names, version] if version else names)
    state = "resolved" if one["status"] == "resolved" else labels["severity"]
    why = f" ({notes['ended_because']})" if one["status"] == "resolved" and notes.get("ended_because") else ""
    return f"{state}: {about}{': ' if about else ''}{notes['summary']}{why}"
