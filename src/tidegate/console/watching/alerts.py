"""Alerts, silences, rules and notifiers as the Alerts pages show them; and what their forms ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from tidegate.client.resources.alerts import NotifierOptions
from tidegate.console.watching.spans import span_s, written
from tidegate.console.words import shell_word
from tidegate.draw.markup import shortened
from tidegate.errors import InvalidArgument
from tidegate.report.figures import alert_about
from tidegate.wire.monitoring.alerts import (
    AlertRule,
    AlertSeverity,
    AlertState,
    AlertView,
    NotifierKind,
    SilenceView,
)
from tidegate.wire.numbers import finite_number

STATES = get_args(AlertState)
OPEN_STATES: Sequence[AlertState] = ("firing", "acknowledged", "pending", "silenced", "inhibited", "not_enough_data")
"""Of what is not over, what needs somebody first."""
SEVERITIES = get_args(AlertSeverity)
KINDS = get_args(NotifierKind)
SPANS = ("1h", "4h", "1d", "7d")
MESSAGE_CHARS_MAX = 400
_LABELS = ("endpoint", "feature", "metric", "segment", "version")


@dataclass(frozen=True)
class AlertListRow:
    """An alert in the table. `why` is what keeps it quiet, ended it or was done about it."""

    view: AlertView
    about: str
    state: str
    message: str
    why: str
    can_acknowledge: bool
    can_silence: bool


def row(one: AlertView) -> AlertListRow:
    """One alert; what can still be done about it."""
    open_ = one.ended_at is None
    reasons = [one.quiet_because, one.ended_because, *one.actions]
    if one.acknowledged_by:
        reasons.append(f"acknowledged by {one.acknowledged_by}")
    return AlertListRow(
        view=one,
        about=alert_about(one),
        state=one.state.replace("_", " "),
        message=shortened(one.message, MESSAGE_CHARS_MAX),
        why=shortened("; ".join(reason for reason in reasons if reason), MESSAGE_CHARS_MAX),
        can_acknowledge=open_ and not one.acknowledged_by,
        can_silence=open_ and one.state != "silenced",
    )


def matchers_of(one: AlertView) -> dict[str, str]:
    """What silences all alerts like this one: its labels."""
    labels = {name: value for name in _LABELS if (value := getattr(one, name)) is not None}
    return {"alertname": one.type} | labels


def matched(one: SilenceView) -> str:
    """What a silence is of, as one line."""
    return ", ".join(f"{name.replace('alertname', 'alert')} {shortened(value)}" for name, value in one.matchers.items())


NOTIFIER_FIELDS = ("name", "kind", "url", "sender", "recipients", "endpoint")


def notifier_filled(form: Mapping[str, str]) -> dict[str, str]:
    """The form of a new notifier: as somebody has filled it in, else empty."""
    return {name: form.get(name, "") for name in (*NOTIFIER_FIELDS, "severity_min")}


def notifier_of(form: Mapping[str, str]) -> tuple[str, str, str, NotifierOptions]:
    """A notifier's name, its kind, its address and the rest, as the client takes them. Raises `InvalidArgument`."""
    given = {name: form.get(name, "").strip() for name in NOTIFIER_FIELDS}
    if not given["name"]:
        raise InvalidArgument("the notifier has no name: give it one", field="name")
    if given["kind"] not in KINDS or form.get("severity_min") not in SEVERITIES:
        raise InvalidArgument(f"choose a kind ({', '.join(KINDS)}) and a severity", field="kind")
    if not given["url"]:
        raise InvalidArgument("the notifier has no address: give it one", field="url")
    options: NotifierOptions = {
        "sender": given["sender"] or None,
        "recipients": given["recipients"] or None,
        "endpoint": given["endpoint"] or None,
        "severity_min": form["severity_min"],
        "resolved": form.get("resolved") == "yes",
    }
    return given["name"], given["kind"], given["url"], options


@dataclass(frozen=True)
class RuleForm:
    """A rule's fields as text: as somebody has filled them in, else as it is now."""

    type: str
    title: str
    enabled: bool
    values: Mapping[str, str]
    changed: bool
    command: str


_RULE_SPANS = {"for": "for_s", "keep": "keep_firing_for_s", "repeat": "repeat_interval_s", "cooldown": "cooldown_s"}


def rule_forms(
    endpoint: str, rules: Sequence[AlertRule], changed: Sequence[str], form: Mapping[str, str]
) -> list[RuleForm]:
    """A form for each type of alert."""
    return [_rule_form(endpoint, rule, rule.type in changed, form) for rule in rules]


def rule_of(form: Mapping[str, str]) -> AlertRule:
    """What was filled in; an empty threshold removes it. Raises `InvalidArgument`."""
    spans = {name: span_s(form[name], name) for name in _RULE_SPANS if form.get(name, "").strip()}
    threshold, actions = form.get("threshold", "").strip(), form.get("actions", "")
    return AlertRule(
        type=form.get("type", ""),
        enabled=form.get("enabled") == "yes",
        for_s=spans.get("for"),
        keep_firing_for_s=spans.get("keep"),
        repeat_interval_s=spans.get("repeat"),
        threshold=-1.0 if not threshold else _number(threshold),
        actions=[action.strip() for action in actions.split(",") if action.strip()],
        cooldown_s=spans.get("cooldown"),
    )


def _rule_form(endpoint: str, rule: AlertRule, is_changed: bool, form: Mapping[str, str]) -> RuleForm:
    now: dict[str, Any] = {name: written(getattr(rule, field) or 0.0) for name, field in _RULE_SPANS.items()}
    now["threshold"] = "" if rule.threshold is None else f"{rule.threshold:g}"
    now["actions"] = ", ".join(rule.actions or [])
    mine = form if form.get("type") == rule.type else {}
    enabled = mine.get("enabled") == "yes" if mine else rule.enabled is not False
    values = {name: mine.get(name, value) for name, value in now.items()}
    command = f"tidegate alert-rules {endpoint} --type {rule.type} --for {shell_word(values['for'])}"
    return RuleForm(rule.type, rule.type.replace("_", " "), enabled, values, is_changed, command)


def _number(text: str) -> float:
    number = finite_number(text)
    if number is None:
        raise InvalidArgument(f"the threshold {text[:40]!r} is no number: give one like 0.1", field="threshold")
    return number
