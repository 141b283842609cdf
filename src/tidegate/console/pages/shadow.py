"""`/endpoints/{name}/shadow`: a version that gets a copy of some of the traffic, and how its answers compare."""

from __future__ import annotations

from typing import Any

from tidegate.console import words
from tidegate.console.asking import Ask, Moved, PageRoute, Shown
from tidegate.console.changing import changed
from tidegate.console.deciding import shadowing
from tidegate.errors import DeadlineExceeded, NoShadow, TidegateError, UnknownModel
from tidegate.wire.experiments.shadows import ShadowView
from tidegate.wire.rest import Endpoint


def _shadow(ask: Ask) -> Shown | Moved:
    return _page(ask)


def _page(ask: Ask, problem: TidegateError | None = None) -> Shown:
    """A live sample has the replicas' status alone: answers are compared when the page is loaded."""
    found = ask.client.endpoints.get(ask.of["name"])
    context: dict[str, Any] = {"endpoint": found, "summary": found.shadow}
    if not ask.live:
        view, trouble = _present(ask, found.name) if found.shadow else (None, "")
        versions = _others(ask, found)
        form = shadowing.filled(ask.form, versions[0] if versions else "")
        context |= {
            "trouble": trouble,
            "compared": shadowing.compared(view) if view else None,
            "versions": versions,
            "form": form,
            "start_cli": form.command(found.name),
            "problem": problem,
            "done": ask.query.get("done"),
        }
    return Shown("shadow.html", context, problem.http_status if problem else 200)


def _present(ask: Ask, name: str) -> tuple[ShadowView | None, str]:
    """The comparison, or why it cannot be shown: of much traffic it may take longer than a page waits."""
    try:
        return ask.client.shadows.get(name), ""
    except NoShadow:
        return None, ""
    except DeadlineExceeded as error:
        return None, f"what it came to is not known yet: {error.message}"


def _others(ask: Ask, found: Endpoint) -> list[str]:
    """Versions that do not serve, the newest first."""
    try:
        model = ask.client.models.get(found.model, in_short=True)
    except UnknownModel:  # removed since, while what runs serves on
        return []
    ready = (one.version for one in model.versions if one.status == "ready" and not found.target.get(one.version))
    return sorted(ready, key=words.in_order, reverse=True)


def _path(ask: Ask) -> str:
    return f"/endpoints/{ask.of['name']}/shadow"


def _start(ask: Ask) -> Shown | Moved:
    form = shadowing.filled(ask.form)
    return changed(
        lambda: ask.client.shadows.set(ask.of["name"], form.version, form.percent()),
        f"{_path(ask)}?done=start",
        lambda error: _page(ask, error),
    )


def _off(ask: Ask) -> Shown | Moved:
    off = ask.client.shadows.end
    return changed(lambda: off(ask.of["name"]), f"{_path(ask)}?done=off", lambda error: _page(ask, error))


ROUTES = (
    PageRoute("GET", "/endpoints/{name}/shadow", _shadow, live=True),
    PageRoute("POST", "/endpoints/{name}/shadow", _start),
    PageRoute("POST", "/endpoints/{name}/shadow/off", _off),
)
