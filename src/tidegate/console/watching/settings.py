"""How an endpoint is monitored: the form, what was filled in, and the same as a command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tidegate.client.resources.monitoring import MonitorOptions
from tidegate.console.watching.spans import span_s, written
from tidegate.console.words import shell_word
from tidegate.wire.monitoring.monitoring import MonitorView

SPANS: Mapping[str, Literal["every_s", "window_s", "label_delay_s", "block_s"]] = {
    "every": "every_s",
    "window": "window_s",
    "label_delay": "label_delay_s",
    "block": "block_s",
}


def filled(view: MonitorView, form: Mapping[str, str]) -> dict[str, str]:
    """The form's fields: as somebody has filled them in, else as it is now."""
    spans: dict[str, float | None] = {name: getattr(view, field) for name, field in SPANS.items()}
    shown = {name: "" if span is None else written(span) for name, span in spans.items()}
    shown |= {"by": view.by or "", "timezone": view.timezone}
    labels = "selective" if view.selective_labels else ""
    filled_in = {name: form.get(name, value) for name, value in shown.items()}
    return filled_in | {"labels": form.get("labels", "") if form else labels}


def asked(form: Mapping[str, str]) -> MonitorOptions:
    """What was filled in, as the client takes it; an empty span stays as it is. Raises `InvalidArgument`."""
    if form.get("on") in ("on", "off"):
        return {"on": form["on"] == "on"}
    options: MonitorOptions = {"by": form.get("by", "").strip(), "selective_labels": form.get("labels") == "selective"}
    for name, field in SPANS.items():
        if form.get(name, "").strip():
            options[field] = span_s(form[name], name)
    if timezone := form.get("timezone", "").strip():
        options["timezone"] = timezone
    return options


def command(view: MonitorView, values: Mapping[str, str]) -> str:
    """The form as a command."""
    spans = [(name.replace("_", "-"), values[name].strip()) for name in SPANS]
    parts = [f"tidegate monitor {view.endpoint}", *(f"--{name} {shell_word(span)}" for name, span in spans if span)]
    if values["by"].strip():
        parts.append(f"--by {shell_word(values['by'].strip())}")
    if values["timezone"].strip() not in ("", "UTC"):
        parts.append(f"--timezone {shell_word(values['timezone'].strip())}")
    if values["labels"]:
        parts.append("--selective-labels")
    return " ".join(parts)
