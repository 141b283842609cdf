"""An endpoint's number of replicas on its page: the form that sets it, the same as a command, and the explanation.

Pure: the API decides how many there are, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tidegate.client.resources.options import ScaleOptions
from tidegate.console import words
from tidegate.console.watching.spans import span_s, written
from tidegate.errors import InvalidArgument
from tidegate.wire.endpoints.scaling import Scale, ScaleDecision, ScalingView

METRICS = {
    "concurrency": "requests in progress",
    "rps": "requests a second",
    "cpu": "percent of a processor",
}
"""What a replica's target may be of, in words."""
COUNTED_BY = {"tidegate": "the platform", "engine": "the engine"}
"""Who counts the replicas, in words."""
_FIELDS: tuple[tuple[Literal["min", "max"], str], ...] = (("min", "at least"), ("max", "at most"))


def filled(scale: Scale | None, replicas: int, form: Mapping[str, str]) -> dict[str, str]:
    """The form's fields: as somebody has filled them in, else as it is now."""
    view = None if scale is None else scale.scaling
    shown = {
        "replicas": str(replicas),
        "min": str(view.min) if view else "",
        "max": str(view.max) if view else "",
        "metric": view.metric if view else "concurrency",
        "target": f"{view.target:g}" if view else "",
        "idle": "",
        "idle_now": written(view.idle_s) if view and view.idle_s is not None else "",
        "autoscaler": view.autoscaler if view else "tidegate",
    }
    return {name: form.get(name, value) for name, value in shown.items()}


def fixed(form: Mapping[str, str]) -> int:
    """A fixed number of replicas, whatever the load. Raises `InvalidArgument`."""
    return _whole(form.get("replicas", ""), "replicas")


def bounds(form: Mapping[str, str]) -> ScaleOptions:
    """From so many to so many, by a target; what is left empty stays as it is. Raises `InvalidArgument`."""
    asked: ScaleOptions = {}
    for name, said in _FIELDS:
        if form.get(name, "").strip():
            asked[name] = _whole(form[name], said)
    if form.get("target", "").strip():
        asked["target"] = f"{form.get('metric', '')}={form['target'].strip()}"
    if form.get("idle", "").strip():
        asked["idle_s"] = span_s(form["idle"], "asleep after")
    if not asked:
        raise InvalidArgument("nothing is filled in: say how many replicas at least and at most", field="min")
    if form.get("autoscaler"):
        asked["autoscaler"] = form["autoscaler"]
    return asked


def command(endpoint: str, values: Mapping[str, str], view: ScalingView | None) -> str:
    """The form as a command."""
    if view is None:
        return f"tidegate scale {endpoint} --replicas {values['replicas']}"
    idle = "" if view.idle_s is None else f" --idle {written(view.idle_s)}"
    by = "" if view.autoscaler == "tidegate" else f" --autoscaler {view.autoscaler}"
    bounds = f"--min {view.min} --max {view.max} --target {view.metric}={view.target:g}"
    return f"tidegate scale {endpoint} {bounds}{idle}{by}"


def explained(scale: Scale) -> list[dict[str, Any]]:
    """A row for each version."""
    return [{"one": one, "load": _load(one), "need": _need(one)} for one in scale.versions]


def _load(one: ScaleDecision) -> str | None:
    """What was looked at, in the metric; None where nobody asked for the load, or it was not known."""
    samples = one.samples
    if samples is None or samples.stable is None:
        return None
    return f"{words.amount(samples.stable)} {METRICS.get(samples.metric, samples.metric)}"


def _need(one: ScaleDecision) -> int | None:
    return None if one.samples is None else one.samples.need


def _whole(text: str, said: str) -> int:
    text = text.strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise InvalidArgument(f"{said}: {text[:40]!r} is no number of replicas", field=said)
    return int(text)
