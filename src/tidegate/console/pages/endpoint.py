"""`/endpoints/{name}`: traffic, replicas, scale, a prediction to try, logs and history, and the forms for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.client.resources.options import ChangeOptions, ScaleOptions
from tidegate.clock import monotonic
from tidegate.console import scaling, words
from tidegate.console.asking import Ask, Moved, PageRoute, Shown
from tidegate.console.changing import changed
from tidegate.console.fields import RowForm, form_of
from tidegate.console.pages.overview import figures
from tidegate.console.snippets import snippets
from tidegate.draw import Axis, Line, Plot, PlotSize, series
from tidegate.errors import InvalidArgument, NotLeader, TidegateError, UnknownModel, UnknownVersion
from tidegate.wire.endpoints.scaling import Scale
from tidegate.wire.endpoints.tags import tag_of
from tidegate.wire.rest import Endpoint, HistoryEntry, Model, VariantView, Version

CHANGES, LOG_LINES = 10, 200
VERSIONS_OFFERED = 8
GUARD = "guard"
"""Who takes back a version that fails after its deployment, as history names it."""
PLOT = PlotSize(560, 170)


@dataclass(frozen=True)
class Problem:
    """Why a form was not done. `kind` names it for the page where it can do something about it."""

    form: str
    error: TidegateError

    @property
    def kind(self) -> str:
        return self.error.code


def _endpoint(ask: Ask) -> Shown | Moved:
    return _page(ask)


def _page(ask: Ask, problem: Problem | None = None) -> Shown:
    """The page as it is now, with what was filled in where it was not done."""
    found = ask.client.endpoints.get(ask.of["name"])
    history = ask.client.endpoints.history(found.name, CHANGES, _before(ask))
    context = {
        "endpoint": found,
        "variants": _variants(found),
        "plots": _plots(ask, found),
        "scale": (scale := ask.client.endpoints.explain_scale(found.name)),
        "decisions": scaling.explained(scale),
        "whole": figures(found.load),
        "history": history,
        "older": ask.with_query(before=history[-1].id) if len(history) == CHANGES else None,
        "newest": ask.with_query(before=None) if ask.query.get("before") else None,
        "back": _back(ask, found, history),
        "etag": tag_of(found),
        "logs": ask.client.endpoints.logs(found.name, LOG_LINES) if ask.query.get("logs") else None,
        "why_href": f"{ask.with_query(logs='follow')}#logs-h",
        "log_href": ask.with_query(logs=None if ask.query.get("logs") else "follow"),
    }
    if not ask.live:
        context |= (
            _forms(ask, found)
            | _scale_form(ask, found, scale)
            | {
                "problem": problem,
                "done": ask.query.get("done"),
                "last": history[0] if history else None,
                "answer": None,
            }
        )
    return Shown("endpoint.html", context, problem.error.http_status if problem else 200)


def _forms(ask: Ask, found: Endpoint) -> dict[str, Any]:
    """What no live sample needs: it changes when somebody does something."""
    try:
        model = ask.client.models.get(found.model, in_short=True)
    except UnknownModel:  # removed since, while what runs serves on
        model = Model(found.model, [])
    main = _main_version(ask, found)
    example = found.example if main is None or main.example is None else main.example
    form = form_of(main.signature if main else {}, example).filled(ask.form)
    weights = _weights(found, model, ask.form)
    return {
        "weights": weights,
        "traffic_cli": _line(found.name, weights),
        "try": form,
        "pinned": ask.form.get("version", ""),
        "pins": list(dict.fromkeys(one.version for one in found.variants)),
        "snippets": snippets(found.url, example, with_key=ask.platform.api_key is not None),
        "main": main,
    }


def _main_version(ask: Ask, found: Endpoint) -> Version | None:
    """The one that most traffic goes to: what it takes is what clients send."""
    split = found.traffic or found.target
    if not split:
        return None
    try:
        return ask.client.models.version(found.model, max(split, key=lambda version: split[version]))
    except (UnknownModel, UnknownVersion):
        return None


def _in_order(found: Endpoint) -> list[VariantView]:
    return sorted(found.variants, key=lambda one: words.in_order(one.version))


def _plots(ask: Ask, found: Endpoint) -> list[tuple[str, Plot]]:
    """Rate and latency by version; none where nothing was told, or another control plane is told it."""
    try:
        load = ask.client.endpoints.load(found.name)
    except NotLeader:
        return []
    versions = [one.version for one in _in_order(found) if one.version in load.versions]
    named = [(f"v{version}", load.versions[version]) for version in dict.fromkeys(versions)]
    if not any(value is not None for _, one in named for value in one.requests_per_s):
        return []
    rates = [Line(name, one.requests_per_s) for name, one in named]
    p95 = [Line(name, [None if value is None else value * 1000 for value in one.p95_s]) for name, one in named]
    return [
        ("Requests a second", series("Requests a second by version", load.times, rates, Axis("/s"), PLOT)),
        ("p95 latency", series("p95 latency by version", load.times, p95, Axis("ms"), PLOT)),
    ]


def _variants(found: Endpoint) -> list[dict[str, Any]]:
    """A row for each variant; `place` is its version's, and so is its colour here, beside its weight and in plots."""
    shown = _in_order(found)
    versions = list(dict.fromkeys(one.version for one in shown))
    return [_variant(one, versions.index(one.version)) for one in shown]


def _variant(one: VariantView, place: int) -> dict[str, Any]:
    arm = one.name if one.name != one.version else ""
    return {"view": one, "label": one.label, "place": place, "arm": arm, **figures(one.load)}


def _weights(found: Endpoint, model: Model, form: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each version that traffic can go to: those that run, then the newest others."""
    there = {one.version: one for one in model.versions}
    running = {one.version for one in found.variants} | {version for version, w in found.target.items() if w}
    others = [one.version for one in model.versions if one.version not in running and one.status == "ready"]
    named = [name.removeprefix("w.") for name in form if name.startswith("w.")]
    offered = dict.fromkeys([*sorted(running, key=words.in_order), *others[:VERSIONS_OFFERED], *named])
    return [
        {
            "version": version,
            "label": there[version].label if version in there else None,
            "runs": version in running,
            "weight": form.get(f"w.{version}", f"{found.target.get(version, 0):g}"),
        }
        for version in offered
    ]


def _line(name: str, weights: Sequence[Mapping[str, Any]]) -> str:
    """The form as a command."""
    given = [f"{row['version']}={row['weight']}" for row in weights if row["weight"] not in ("", "0")]
    return " ".join(["tidegate traffic", name, *(words.shell_word(one) for one in given)])


def _scale_form(ask: Ask, found: Endpoint, scale: Scale) -> dict[str, Any]:
    values = scaling.filled(scale, scale.replicas, ask.form)
    return {
        "scale_form": values,
        "scale_cli": scaling.command(found.name, values, scale.scaling),
        "metrics": scaling.METRICS,
        "counted_by": scaling.COUNTED_BY,
    }


def _back(ask: Ask, found: Endpoint, history: Sequence[HistoryEntry]) -> str | None:
    """What a rollback goes back to, in words; None where there is nothing. The API decides it again."""
    if found.automation is not None:
        return words.split(found.automation.stable)
    if ask.query.get("before"):
        history = ask.client.endpoints.history(found.name, CHANGES)
    people = [one for one in history if not one.automated and one.action != "delete"]
    if people and (people[0].action, people[0].actor) == ("rollback", GUARD):
        return None  # what came before is the version that it took back
    return next((words.split(one.traffic) for one in people if one.traffic != found.target), None)


def _before(ask: Ask) -> int | None:
    return ask.number("before", 1, 2**31, 0) or None


# -- forms ------------------------------------------------------------------------------------------------------------


def _changed(ask: Ask, form: str, change: Callable[[], object]) -> Shown | Moved:
    """Do it, and show the endpoint; or show why not beside the form, as it was filled in."""
    to = f"/endpoints/{ask.of['name']}?done={form}"
    return changed(change, to, lambda error: _page(ask, Problem(form, error)))


def _traffic(ask: Ask) -> Shown | Moved:
    endpoints, name = ask.client.endpoints, ask.of["name"]
    how: ChangeOptions = {
        "only_if": ask.form.get("etag") or None,
        "accept_signature_change": "accept" in ask.form,
        "end_automation": "end" in ask.form,
        "wait": False,
    }
    version = ask.form.get("promote")
    if version:
        return _changed(ask, "promote", lambda: endpoints.promote(name, version, **how))
    return _changed(ask, "traffic", lambda: endpoints.traffic(name, _asked(ask.form), **how))


def _asked(form: Mapping[str, str]) -> dict[str, float]:
    """Weights by version, as they were filled in; an empty field is no traffic."""
    weights = {}
    for name, text in form.items():
        if name.startswith("w."):
            try:
                weights[name.removeprefix("w.")] = float(text.strip() or 0)
            except ValueError:
                raise InvalidArgument(
                    f"{text[:40]!r} is no percentage for version {name[2:]}", field="traffic"
                ) from None
    return {version: weight for version, weight in weights.items() if weight}


def _rollback(ask: Ask) -> Shown | Moved:
    only_if = ask.form.get("etag") or None
    return _changed(ask, "rollback", lambda: ask.client.endpoints.rollback(ask.of["name"], wait=False, only_if=only_if))


def _scale(ask: Ask) -> Shown | Moved:
    def change() -> object:
        endpoints, name = ask.client.endpoints, ask.of["name"]
        only_if = ask.form.get("etag") or None
        if ask.form.get("by") == "load":
            how: ScaleOptions = {**scaling.bounds(ask.form), "wait": False, "only_if": only_if}
            return endpoints.scale(name, **how)
        return endpoints.scale(name, scaling.fixed(ask.form), wait=False, only_if=only_if)

    return _changed(ask, "scale", change)


def _predict(ask: Ask) -> Shown | Moved:
    """A real prediction, through the gateway; shown on the same page."""
    page = _page(ask)
    form: RowForm = page.context["try"]

    def predict() -> dict[str, Any]:
        row = form.row()
        began = monotonic()
        answer = ask.client.predict(ask.of["name"], row, version=ask.form.get("version") or None)
        return {"answer": answer, "took_s": monotonic() - began}

    return changed(
        predict,
        lambda said: page.also(**said),
        lambda error: page.also(error.http_status, problem=Problem("try", error)),
    )


ROUTES = (
    PageRoute("GET", "/endpoints/{name}", _endpoint, live=True),
    PageRoute("POST", "/endpoints/{name}/traffic", _traffic),
    PageRoute("POST", "/endpoints/{name}/rollback", _rollback),
    PageRoute("POST", "/endpoints/{name}/scale", _scale),
    PageRoute("POST", "/endpoints/{name}/predict", _predict),
)
