"""The form that creates an experiment: what was filled in, as the client takes it and as a command. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from tidegate.console.watching.spans import span_s
from tidegate.console.words import shell_word
from tidegate.errors import InvalidArgument
from tidegate.wire.experiments.experiments import MetricDirection, MetricSource, MetricType, OnBreach, OnNoTraffic
from tidegate.wire.numbers import finite_number

DIRECTIONS = {"increase": "more is better", "decrease": "less is better"}
TYPES = {
    "proportion": "a share of units (yes or no)",
    "mean": "a mean of values",
    "count": "a count of events",
    "ratio": "a ratio of two values",
    "quantile": "a quantile, such as p95",
}
SOURCES = {
    "feedback": "feedback of this name",
    "label": "labels: how often predictions are right",
    "latency": "latency of calls",
    "errors": "errors of calls",
}
BREACHES = {"rollback": "return to control", "hold": "hold", "alert": "only tell"}
NO_TRAFFIC = {"hold": "wait", "abort": "stop it"}
DEFAULTS = {
    "name": "",
    "control": "",
    "split": "",
    "metric": "",
    "direction": "increase",
    "type": "proportion",
    "source": "feedback",
    "window": "",
    "more": "",
    "guardrails": "",
    "mde": "0.05",
    "alpha": "0.05",
    "max_days": "30",
    "on_breach": "rollback",
    "on_no_traffic": "hold",
    "ramp": "",
    "ramp_every": "1d",
    "auto": "",
}
_CHOICES: Mapping[str, Any] = {
    "direction": MetricDirection,
    "type": MetricType,
    "source": MetricSource,
    "on_breach": OnBreach,
    "on_no_traffic": OnNoTraffic,
}


def filled(form: Mapping[str, str], control: str) -> dict[str, str]:
    """The form's fields: as somebody has filled them in, else the defaults, with the version that is served."""
    return {name: form.get(name, control if name == "control" else value) for name, value in DEFAULTS.items()}


def treatments(form: Mapping[str, str]) -> list[str]:
    """Versions that were ticked, in the order of the page."""
    return [name.removeprefix("t.") for name in form if name.startswith("t.")]


def asked(form: Mapping[str, str]) -> dict[str, Any]:
    """As the client's `experiments.create` takes it; what is empty is as the API has it. Raises `InvalidArgument`."""
    values = filled(form, "")
    for name, choices in _CHOICES.items():
        if values[name] not in get_args(choices):
            raise InvalidArgument(f"{name}: choose one of {', '.join(get_args(choices))}", field=name)
    if not values["control"].strip():
        raise InvalidArgument(
            "no control is chosen: choose the version that the others are compared with", field="control"
        )
    if not treatments(form):
        raise InvalidArgument("no treatment is ticked: tick what is compared with control", field="treatments")
    options: dict[str, Any] = {
        "control": values["control"].strip(),
        "treatments": treatments(form),
        "metrics": metrics(values),
        "guardrails": _lines(values["guardrails"]),
        "mde": values["mde"].strip() or DEFAULTS["mde"],
        "alpha": _number(values["alpha"], "alpha"),
        "max_days": _number(values["max_days"], "most days"),
        "auto": values["auto"] == "yes",
        "on_breach": values["on_breach"],
        "on_no_traffic": values["on_no_traffic"],
    }
    if values["name"].strip():
        options["name"] = values["name"].strip()
    if values["split"].strip():
        options["split"] = _numbers(values["split"], "/", "split")
    if values["ramp"].strip():
        options["ramp"] = _numbers(values["ramp"], ",", "ramp")
        options["ramp_every_s"] = span_s(values["ramp_every"], "each step")
    return options


def metrics(values: Mapping[str, str]) -> list[str]:
    """The first metric from its fields, then the others, as the command line has them. Raises `InvalidArgument`."""
    name = values["metric"].strip()
    if not name:
        raise InvalidArgument("the metric has no name: say what is measured, as feedback names it", field="metric")
    options = [f"window={values['window'].strip()}"] if values["window"].strip() else []
    if values["source"] != DEFAULTS["source"]:
        options.append(f"source={values['source']}")
    first = f"{name}:{values['direction']}:{values['type']}"
    return [",".join([first, *options]), *_lines(values["more"])]


def command(endpoint: str, ticked: Sequence[str], values: Mapping[str, str]) -> str:
    """The form as a command."""
    parts = ["tidegate", "experiment", "create", endpoint]
    if values["name"].strip():
        parts += ["--name", values["name"].strip()]
    parts += ["--control", values["control"].strip() or "VERSION"]
    for version in ticked or ["VERSION"]:
        parts += ["--treatment", version]
    if values["split"].strip():
        parts += ["--split", values["split"].strip()]
    for one in metrics({**values, "metric": values["metric"].strip() or "NAME"}):
        parts += ["--metric", one]
    for one in _lines(values["guardrails"]):
        parts += ["--guardrail", one]
    for name in ("mde", "alpha", "max_days", "on_breach", "on_no_traffic"):
        if values[name].strip() != DEFAULTS[name]:
            parts += [f"--{name.replace('_', '-')}", values[name].strip()]
    if values["ramp"].strip():
        parts += ["--ramp", values["ramp"].strip(), "--ramp-every", values["ramp_every"].strip()]
    return " ".join(shell_word(part) for part in parts) + (" --auto" if values["auto"] == "yes" else "")


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _numbers(text: str, separator: str, what: str) -> list[float]:
    return [_number(one, what) for one in text.split(separator)]


def _number(text: str, what: str) -> float:
    value = finite_number(text)
    if value is None:
        raise InvalidArgument(f"{what}: {text[:40]!r} is no number", field=what)
    return value


def offered(versions: Sequence[str], form: Mapping[str, str], most: int) -> list[tuple[str, bool]]:
    """Versions that can be ticked, the newest first, and those that were ticked already: at first the newest."""
    ticked = treatments(form) if form else list(versions[:1])
    return [(one, one in ticked) for one in dict.fromkeys([*versions[:most], *ticked])]
