"""Rules as people write them and as they are kept: words for types, actions, thresholds, and what is allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any
from urllib.parse import urlsplit

from tidegate.core.alerting.model import LABELS, TYPES, Action, AlertType, Rule
from tidegate.errors import InvalidArgument
from tidegate.wire.monitoring.alerts import AlertRule

WORDS: Mapping[str, tuple[AlertType, ...]] = {
    "drift": ("data_drift", "prediction_drift"),
    "performance": ("performance_drift",),
    "quality": ("data_quality",),
    "estimate": ("estimated_performance",),
    "coverage": ("label_coverage",),
    "capture": ("capture_dropped",),
    "all": TYPES,
    **{type_: (type_,) for type_ in TYPES},
}
"""What people may call types, in rules; every type also by its own name."""

MEASURES: Mapping[AlertType, str] = {
    "data_drift": "effect_lower",
    "prediction_drift": "effect_lower",
    "label_shift": "effect_lower",
    "performance_drift": "performance_drop",
    "estimated_performance": "performance_drop",
    "data_quality": "value",
    "errors": "value",
    "latency": "value",
}
"""The number of a result that a threshold is compared with. The others have none that grows with the harm."""

CURED_BY_ROLLBACK: frozenset[AlertType] = frozenset(TYPES) - {"traffic", "label_coverage", "capture_dropped", "rollout"}
SPAN_S_MAX = 366 * 86_400.0
REPEAT_S_MIN = 60.0
URL_CHARS_MAX = 2_000
ACTIONS_MAX = 8


def types_of(word: str) -> tuple[AlertType, ...]:
    """The types that a word stands for. Raises `InvalidArgument`."""
    found = WORDS.get(word)
    if found is None:
        raise InvalidArgument(f"{word!r} is no type of alert: give one of {', '.join(sorted(WORDS))}", field="type")
    return found


def read_action(text: str) -> Action:
    """`rollback`, `hold` or `webhook=URL`. Raises `InvalidArgument`."""
    kind, _, url = text.partition("=")
    if text in ("rollback", "hold"):
        return Action("rollback" if text == "rollback" else "hold")
    if kind == "webhook" and url:
        return Action("webhook", check_url(url, "actions"))
    raise InvalidArgument(f"{text!r} is no action: give rollback, hold or webhook=URL", field="actions")


def check_url(url: str, field: str) -> str:
    """`url` if it is one of HTTP with a host. Raises `InvalidArgument`, which does not repeat it: it may be secret."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or len(url) > URL_CHARS_MAX or any(ord(one) <= 32 or ord(one) == 127 for one in url):
        raise InvalidArgument("the URL must be http:// or https:// with a host, such as https://host/path", field=field)
    return url


def shown_url(url: str) -> str:
    """A URL without what is secret in it: user, password, path and query.

    >>> shown_url("https://hooks.slack.com/services/T0/B0/secret")
    'https://hooks.slack.com/…'

    Of other services' URLs, which Apprise takes, the host may be the secret.

    >>> shown_url("discord://4174216298/secret")
    'discord://…'
    """
    scheme = url.partition("://")[0]
    if scheme not in ("http", "https", "smtp", "smtps"):
        return f"{scheme}://…"
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    more = "/…" if parts.path not in ("", "/") or parts.query else ""
    return f"{parts.scheme}://{host}{more}"


def shown_action(key: str) -> str:
    """An action without what is secret in its URL."""
    kind, _, url = key.partition("=")
    return f"{kind}={shown_url(url)}" if url else kind


# -- as kept ----------------------------------------------------------------------------------------------------------


def kept(rule: Rule) -> dict[str, Any]:
    """What is not as by default, as JSON."""
    default = asdict(Rule())
    values = asdict(rule)
    found = {name: values[name] for name in values if values[name] != default[name]}
    if "actions" in found:
        found["actions"] = [action.key for action in rule.actions]
    return found


def rule_of(stored: Mapping[str, Any]) -> Rule:
    """A rule from what was kept; fields that a later release added are left alone."""
    known = {one.name for one in fields(Rule)}
    values = {name: value for name, value in stored.items() if name in known}
    if "actions" in values:
        values["actions"] = tuple(_stored_action(key) for key in values["actions"])
    if "group_by" in values:
        values["group_by"] = tuple(values["group_by"])
    return Rule(**values)


def _stored_action(key: str) -> Action:
    kind, _, url = key.partition("=")
    if kind == "webhook":
        return Action("webhook", url)
    return Action("hold") if kind == "hold" else Action("rollback")


def rules_of(stored: Mapping[str, Any]) -> dict[AlertType, Rule]:
    """The rules that are not as by default."""
    return {type_: rule_of(stored[type_]) for type_ in TYPES if type_ in stored}


def view(type_: AlertType, rule: Rule) -> AlertRule:
    """A rule as the API shows it."""
    values = asdict(rule) | {
        "group_by": list(rule.group_by),
        "actions": [shown_action(action.key) for action in rule.actions],
    }
    return AlertRule(type_, **values)


# -- changes ----------------------------------------------------------------------------------------------------------


def changed(type_: AlertType, rule: Rule, given: AlertRule) -> Rule:
    """The rule with what was given on top. Raises `InvalidArgument`."""
    more: dict[str, Any] = {
        name: _span(name, getattr(given, name), least)
        for name, least in (
            ("for_s", 0.0),
            ("keep_firing_for_s", 0.0),
            ("repeat_interval_s", REPEAT_S_MIN),
            ("cooldown_s", 0.0),
        )
        if getattr(given, name) is not None
    }
    more |= {name: getattr(given, name) for name in ("enabled", "end_automation") if getattr(given, name) is not None}
    if given.group_by is not None:
        more["group_by"] = _labels(given.group_by)
    if given.threshold is not None:
        more["threshold"] = _threshold(type_, given.threshold)
    if given.actions is not None:
        more["actions"] = _actions(type_, given.actions)
    return replace(rule, **more)


def _span(name: str, value: float, least: float) -> float:
    if not least <= value <= SPAN_S_MAX:
        raise InvalidArgument(f"{name} must be from {least:g} to {SPAN_S_MAX:g} seconds, not {value:g}", field=name)
    return value


def _labels(names: list[str]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in LABELS]
    if unknown or len(set(names)) != len(names):
        raise InvalidArgument(
            f"group_by takes each of {', '.join(LABELS)} at most once, not {', '.join(names)}", field="group_by"
        )
    return tuple(names)


def _threshold(type_: AlertType, value: float) -> float | None:
    if value == -1:
        return None
    if type_ not in MEASURES:
        raise InvalidArgument(
            f"alerts of type {type_} have no measure to compare with a threshold: only {', '.join(MEASURES)} have",
            field="threshold",
        )
    if not (math.isfinite(value) and value >= 0):
        raise InvalidArgument(f"threshold must be 0 or more, or -1 to remove it, not {value:g}", field="threshold")
    return value


def _actions(type_: AlertType, given: list[str]) -> tuple[Action, ...]:
    actions = tuple(dict.fromkeys(read_action(text) for text in given))
    if len(actions) > ACTIONS_MAX:
        raise InvalidArgument(f"at most {ACTIONS_MAX} actions a type, not {len(actions)}", field="actions")
    if Action("rollback") in actions and type_ not in CURED_BY_ROLLBACK:
        raise InvalidArgument(
            f"a rollback does not cure {type_}, which is of no version: use it for "
            f"{', '.join(sorted(CURED_BY_ROLLBACK))}",
            field="actions",
        )
    return actions
