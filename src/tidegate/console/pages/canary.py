"""`/endpoints/{name}/canary`: where a new version is on its way to all of the traffic, and what its guardrails say."""

from __future__ import annotations

from typing import Any

from tidegate.clock import now
from tidegate.console import words
from tidegate.console.asking import Ask, Moved, PageRoute, Shown
from tidegate.console.changing import changed
from tidegate.console.deciding import rolling
from tidegate.errors import ChangedMeanwhile, TidegateError, UnknownCanary, UnknownModel, UnknownRoute
from tidegate.report.decisions import figures, reading
from tidegate.wire.experiments.canary import CanaryView
from tidegate.wire.rest import Endpoint

GUARDRAILS, STEPS = 12, 30
VERBS = ("pause", "resume", "promote", "abort", "retry")


def _canary(ask: Ask) -> Shown | Moved:
    return _page(ask)


def _page(ask: Ask, problem: TidegateError | None = None) -> Shown:
    found = ask.client.endpoints.get(ask.of["name"])
    view = _newest(ask, found.name)
    did = [verb for verb, _, _ in rolling.verbs(view)] if view else []
    lines = [f"tidegate canary {verb} {found.name}" for verb in ("status", *did)]
    context: dict[str, Any] = {"endpoint": found, "view": view, "lines": lines} | (_shown(view) if view else {})
    if not ask.live:
        versions = _others(ask, found)
        form = rolling.filled(ask.form, versions[0] if versions else "")
        context |= {
            "versions": versions,
            "runs": view is not None and view.kind == "canary" and view.ended_at is None,
            "form": form,
            "begin_cli": form.command(found.model, found.name),
            "problem": problem,
            "done": ask.query.get("done"),
        }
    return Shown("canary.html", context, problem.http_status if problem else 200)


def _newest(ask: Ask, name: str) -> CanaryView | None:
    try:
        return ask.client.canary.get(name)
    except UnknownCanary:
        return None


def _shown(view: CanaryView) -> dict[str, Any]:
    rails = view.guardrails[:GUARDRAILS]
    return {
        "title": rolling.title(view),
        "tone": rolling.STATES[view.state],
        "step": rolling.step_said(view),
        "every": rolling.every_said(view),
        "verbs": rolling.verbs(view),
        "was": rolling.mark(view),
        "plot": figures.canary_steps(view, now()) if view.history else None,
        "rails": [
            {
                "about": reading.guardrail_about(one),
                "state": one.state,
                "tone": reading.GUARDRAILS[one.state],
                "said": reading.guardrail_said(one, "stable"),
            }
            for one in rails
            if one.state != "ok"
        ],
        "kept": [reading.guardrail_about(one) for one in rails if one.state == "ok"],
        "rails_plot": figures.guardrails(rails) if rails else None,
        "steps": list(reversed(view.history[-STEPS:])),
    }


def _others(ask: Ask, found: Endpoint) -> list[str]:
    """Versions that can take over, the newest first."""
    try:
        model = ask.client.models.get(found.model, in_short=True)
    except UnknownModel:  # removed since, while what runs serves on
        return []
    ready = (one.version for one in model.versions if one.status == "ready" and found.target.get(one.version, 0) < 100)
    return sorted(ready, key=words.in_order, reverse=True)


def _path(ask: Ask) -> str:
    return f"/endpoints/{ask.of['name']}/canary"


def _begin(ask: Ask) -> Shown | Moved:
    form = rolling.filled(ask.form)

    def begin() -> CanaryView:
        options = form.options()
        options["accept_signature_change"] = "accept" in ask.form
        options["end_automation"] = "end" in ask.form
        return ask.client.canary.begin(ask.of["name"], form.version, form.shares(), **options)

    return changed(begin, f"{_path(ask)}?done=begin", lambda error: _page(ask, error))


def _act(ask: Ask) -> Shown | Moved:
    canary, name, verb = ask.client.canary, ask.of["name"], ask.of["verb"]
    if verb not in VERBS:
        raise UnknownRoute(f"nothing is called {verb[:40]!r} here: {', '.join(VERBS)} are")
    make = {
        "pause": canary.pause,
        "resume": canary.resume,
        "promote": canary.promote,
        "abort": canary.abort,
        "retry": canary.retry,
    }[verb]

    def act() -> CanaryView:
        was = ask.form.get("was")
        if was and was != rolling.mark(canary.get(name)):
            raise ChangedMeanwhile(
                "this page is of an earlier canary, and another one is there now: look again, nothing was done"
            )
        return make(name)

    return changed(act, f"{_path(ask)}?done={verb}", lambda error: _page(ask, error))


ROUTES = (
    PageRoute("GET", "/endpoints/{name}/canary", _canary, live=True),
    PageRoute("POST", "/endpoints/{name}/canary", _begin),
    PageRoute("POST", "/endpoints/{name}/canary/{verb}", _act),
)
