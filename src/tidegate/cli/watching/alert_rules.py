"""`alert-rules`: when an endpoint's results become alerts, how often they are repeated, and what is done."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from tidegate.cli.app import App, command
from tidegate.cli.endpoints.performance import seconds
from tidegate.cli.output import WIDTH, span, table
from tidegate.core.alerting.rules import types_of
from tidegate.errors import InvalidArgument
from tidegate.wire.monitoring.alerts import AlertRule, AlertRulesView
from tidegate.wire.numbers import finite_number

EVERY = "all"
_OF_TYPE = "[TYPE=]"


@command(
    "alert-rules",
    "tidegate alert-rules churn",
    "tidegate alert-rules churn --on performance:rollback",
    "tidegate alert-rules churn --on drift:hold",
    "tidegate alert-rules churn --on drift:webhook=https://ci.example/retrain --cooldown 1d",
    "tidegate alert-rules churn --for errors=15m --threshold drift=0.1 --mute label_shift",
    "tidegate alert-rules churn --repeat 4h --keep-firing-for 1h",
    "tidegate alert-rules churn --reset",
)
@click.argument("endpoint")
@click.option(
    "--on", "actions", multiple=True, metavar="TYPE:ACTION", help="When one fires: rollback, hold or webhook=URL."
)
@click.option("--no-actions", multiple=True, metavar="TYPE", help="Do nothing when one fires.")
@click.option("--for", "for_s", multiple=True, metavar=f"{_OF_TYPE}SPAN", help="Fire after results alerted so long.")
@click.option("--keep-firing-for", multiple=True, metavar=f"{_OF_TYPE}SPAN", help="End after they were good so long.")
@click.option("--repeat", multiple=True, metavar=f"{_OF_TYPE}SPAN", help="Tell of what still fires so often.")
@click.option("--cooldown", multiple=True, metavar=f"{_OF_TYPE}SPAN", help="Take each action at most so often.")
@click.option("--group-by", multiple=True, metavar="TYPE=LABEL,…", help="Alerts that are one message.")
@click.option("--threshold", multiple=True, metavar="TYPE=X", help="Below it nothing alerts; -1 for none.")
@click.option("--mute", multiple=True, metavar="TYPE", help="Raise no such alerts.")
@click.option("--unmute", multiple=True, metavar="TYPE", help="Raise them again.")
@click.option("--end-automation/--keep-automation", default=None, help="A rollback may end a canary or experiment.")
@click.option("--reset", is_flag=True, help="Begin with the rules by default.")
def alert_rules(app: App, endpoint: str, reset: bool, end_automation: bool | None, **given: tuple[str, ...]) -> None:
    """Show an endpoint's rules, or change what is given.

    TYPE is drift, performance, quality, errors, latency, traffic, coverage, capture, estimate, label_shift or all; what
    is given without one is for all. Thresholds are compared with the effect's lower bound (drift), the drop
    (performance) or the value (quality, errors, latency).

    An action is taken once an alert, unless it is silenced, inhibited or acknowledged. A rollback re-applies the newest
    earlier traffic without the version that the alert is about, and never undoes what somebody changed meanwhile; hold
    keeps an experiment or canary that runs from going a step further until it is resumed.
    """
    client = app.client().alerts
    changes = rule_changes(given)
    if end_automation is not None:
        changes.append(AlertRule(EVERY, end_automation=end_automation))
    asked = bool(changes) or reset
    shown = client.set_rules(endpoint, changes, reset=reset) if asked else client.rules(endpoint)
    app.emit(shown, lambda: _text(shown))


def rule_changes(given: Mapping[str, tuple[str, ...]]) -> list[AlertRule]:
    """The rules' changes that options of these names ask for. Raises `InvalidArgument`."""
    found = []
    for option, name in (
        ("for_s", "for_s"),
        ("keep_firing_for", "keep_firing_for_s"),
        ("repeat", "repeat_interval_s"),
        ("cooldown", "cooldown_s"),
    ):
        shown = "--" + option.removesuffix("_s").replace("_", "-")
        for type_, text in map(_of_type, given.get(option, ())):
            found.append(_rule(type_, name, seconds(text, shown)))
    for type_, text in map(_of_type, given.get("group_by", ())):
        found.append(_rule(type_, "group_by", [part for part in text.split(",") if part]))
    for type_, text in map(_of_type, given.get("threshold", ())):
        found.append(_rule(type_, "threshold", _number(text)))
    found += [_rule(type_, "enabled", False) for type_ in given.get("mute", ())]
    found += [_rule(type_, "enabled", True) for type_ in given.get("unmute", ())]
    found += [_rule(type_, "actions", []) for type_ in given.get("no_actions", ())]
    return found + _actions(given.get("actions", ()))


def _actions(given: Sequence[str]) -> list[AlertRule]:
    """Those of a type together: they take the place of what there was."""
    by_type: dict[str, list[str]] = {}
    for text in given:
        type_, colon, action = text.partition(":")
        if not colon or not action:
            raise InvalidArgument(f"--on {text!r}: give TYPE:ACTION, such as performance:rollback", field="on")
        by_type.setdefault(type_, []).append(action)
    return [_rule(type_, "actions", actions) for type_, actions in by_type.items()]


def _of_type(text: str) -> tuple[str, str]:
    type_, equals, value = text.partition("=")
    return (type_, value) if equals else (EVERY, text)


def _rule(type_: str, name: str, value: Any) -> AlertRule:
    types_of(type_)
    return replace(AlertRule(type_), **{name: value})


def _number(text: str) -> float:
    number = finite_number(text)
    if number is None:
        raise InvalidArgument(f"--threshold {text!r} is no number: give TYPE=X, such as drift=0.1", field="threshold")
    return number


def _text(view: AlertRulesView) -> str:
    rows = [
        [
            rule.type if rule.enabled else f"{rule.type} (off)",
            span(rule.for_s),
            span(rule.keep_firing_for_s),
            span(rule.repeat_interval_s),
            "-" if rule.threshold is None else f"{rule.threshold:g}",
            ", ".join(rule.actions or ()) or "-",
        ]
        for rule in view.rules
    ]
    headers = ("type", "for", "keep", "repeat", "threshold", "actions")
    changed = ", ".join(view.changed) or "nothing"
    line = textwrap.fill(f"changed from the defaults: {changed}", WIDTH, subsequent_indent="  ")
    return f"{table(headers, rows, '')}\n\n{line}"
