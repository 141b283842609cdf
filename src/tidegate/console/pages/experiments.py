"""`/endpoints/{name}/experiments`: the experiments of an endpoint, one of them with its evidence, and their forms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tidegate.client.resources.experiments import ExperimentsClient
from tidegate.console import words
from tidegate.console.asking import Ask, Moved, PageRoute, Shown
from tidegate.console.changing import changed
from tidegate.console.deciding import creating, evidence
from tidegate.errors import ChangedMeanwhile, TidegateError, UnknownModel, UnknownRoute
from tidegate.report.decisions import reading
from tidegate.wire.endpoints.tags import tag_of
from tidegate.wire.experiments.experiments import ExperimentView
from tidegate.wire.rest import Endpoint

VERSIONS, LISTED = 12, 50
VERBS = ("start", "pause", "resume", "stop", "approve")


def _experiments(ask: Ask) -> Shown | Moved:
    return _page(ask)


def _page(ask: Ask, problem: TidegateError | None = None) -> Shown:
    """The list, and the form for another one, as it was filled in."""
    found = ask.client.endpoints.get(ask.of["name"])
    listed = ask.client.experiments.list(found.name)
    context: dict[str, Any] = {
        "endpoint": found,
        "experiments": [evidence.row(one) for one in listed[:LISTED]],
        "more": max(len(listed) - LISTED, 0),
    }
    if not ask.live:
        versions, served = _versions(ask, found), _served(found)
        values = creating.filled(ask.form, served)
        others = [one for one in versions if one != served] if not ask.form else versions
        treatments = creating.offered(others, ask.form, VERSIONS)
        context |= {
            "form": values,
            "versions": versions,
            "treatments": treatments,
            "choices": creating,
            "create_cli": creating.command(found.name, [one for one, is_ticked in treatments if is_ticked], values),
            "problem": problem,
        }
    return Shown("experiments.html", context, problem.http_status if problem else 200)


def _served(found: Endpoint) -> str:
    """The version that most of the traffic goes to: what others are compared with."""
    split = found.traffic or found.target
    return max(split, key=lambda version: split[version]) if split else ""


def _versions(ask: Ask, found: Endpoint) -> list[str]:
    """Those that can be compared, the newest first."""
    try:
        model = ask.client.models.get(found.model, in_short=True)
    except UnknownModel:  # removed since, while what runs serves on
        return sorted(found.target, key=words.in_order, reverse=True)
    return sorted((one.version for one in model.versions if one.status == "ready"), key=words.in_order, reverse=True)


def _create(ask: Ask) -> Shown | Moved:
    """A draft: its page shows how long it would take before anybody starts it."""
    name = ask.of["name"]
    return changed(
        lambda: ask.client.experiments.create(name, **creating.asked(ask.form)),
        lambda made: Moved(f"/endpoints/{name}/experiments/{made.name}?done=create"),
        lambda error: _page(ask, error),
    )


# -- one of them ------------------------------------------------------------------------------------------------------


def _experiment(ask: Ask) -> Shown | Moved:
    return _one(ask)


def _lines(endpoint: str, view: ExperimentView, verbs: Sequence[str]) -> list[str]:
    """The same in a terminal."""
    can = ("aa", "start") if view.state == "draft" else verbs
    return [f"tidegate experiment {verb} {endpoint} --name {view.name}" for verb in ("status", *can)]


def _before(view: ExperimentView, found: Endpoint) -> str | None:
    """The version that needs all of the traffic before a draft can be started; None where it has that."""
    control = next((arm.version for arm in view.arms), None)
    if view.state != "draft" or control is None or words.split(found.asked) == words.split({control: 100.0}):
        return None
    return control


def _one(ask: Ask, problem: TidegateError | None = None) -> Shown:
    """A live sample has the state alone, and says whether there is more evidence than the page shows."""
    endpoint = ask.of["name"]
    view = ask.client.experiments.get(endpoint, ask.of["experiment"])
    seen = ask.query.get("seen")
    context: dict[str, Any] = {
        "name": endpoint,
        "view": view,
        "state": reading.STATES[view.state],
        "decision": reading.decided(view),
        "headline": reading.headline(view),
        "is_newer": ask.live and seen is not None and _mark(view) != seen,
        "here_href": replace(ask, path=_path(ask)).with_query(seen=None, done=None),
    }
    if not ask.live:
        found = ask.client.endpoints.get(endpoint)
        if not view.looks:
            view = replace(view, looks=ask.client.experiments.looks(endpoint, view.name))
        context |= evidence.shown(view) | {
            "verbs": (verbs := evidence.verbs(view)),
            "lines": _lines(endpoint, view, [verb for verb, _, _ in verbs]),
            "before": _before(view, found),
            "traffic": found.asked,
            "etag": tag_of(found),
            "was": _was(view),
            "live_of": replace(ask, path=_path(ask)).with_query(seen=_mark(view), done=None),
            "report_href": f"/api/v1/endpoints/{endpoint}/experiments/{view.name}/report",
            "problem": problem,
            "done": ask.query.get("done"),
        }
    return Shown("experiment.html", context, problem.http_status if problem else 200)


def _mark(view: ExperimentView) -> str:
    """What changes with each look, and with whatever is done."""
    return f"{view.state}-{view.looked_at or 0:.3f}"


def _path(ask: Ask) -> str:
    return f"/endpoints/{ask.of['name']}/experiments/{ask.of['experiment']}"


def _act(ask: Ask) -> Shown | Moved:
    verb, experiments = ask.of["verb"], ask.client.experiments
    if verb not in VERBS:
        raise UnknownRoute(f"nothing is called {verb[:40]!r} here: {', '.join(VERBS)} are")
    return changed(lambda: _done(experiments, verb, ask), f"{_path(ask)}?done={verb}", lambda error: _one(ask, error))


def _was(view: ExperimentView) -> str:
    """What a person decides on: the ETag is of what people asked for, and does not change when a look decides."""
    return f"{'running' if view.state == 'waiting_for_traffic' else view.state}, {view.decision}"


def _done(experiments: ExperimentsClient, verb: str, ask: Ask) -> ExperimentView:
    endpoint, name = ask.of["name"], ask.of["experiment"]
    is_now = _was(experiments.get(endpoint, name))
    if (was := ask.form.get("was") or is_now) != is_now:
        message = f"it was {was!r} when this page was loaded, and is {is_now!r} now: look at it again, nothing was done"
        raise ChangedMeanwhile(message.replace("_", " "))
    make = {
        "start": experiments.start,
        "pause": experiments.pause,
        "resume": experiments.resume,
        "stop": experiments.stop,
        "approve": experiments.approve,
    }[verb]
    return make(endpoint, name, only_if=ask.form.get("etag") or None)


ROUTES = (
    PageRoute("GET", "/endpoints/{name}/experiments", _experiments, live=True),
    PageRoute("POST", "/endpoints/{name}/experiments", _create),
    PageRoute("GET", "/endpoints/{name}/experiments/{experiment}", _experiment, live=True),
    PageRoute("POST", "/endpoints/{name}/experiments/{experiment}/{verb}", _act),
)
