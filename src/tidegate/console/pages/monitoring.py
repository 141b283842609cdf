"""`/endpoints/{name}/monitoring`: what monitors found; run them, set them, look at captured rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tidegate.clock import now
from tidegate.console.asking import Ask, Moved, PageRoute, Shown
from tidegate.console.changing import changed
from tidegate.console.watching import results, settings
from tidegate.console.watching.captured import ROWS, SQL, table_of
from tidegate.errors import TidegateError, Unauthenticated
from tidegate.report.reading import WANTED
from tidegate.wire.capture.capture import CaptureQueryRequest
from tidegate.wire.monitoring.monitoring import MonitorResult, MonitorView

SINCE_S = 7 * 86_400.0
ALERTS = 50
"""Alerts, the newest, that are marked where performance is drawn, at most."""


def _monitoring(ask: Ask) -> Shown | Moved:
    return _page(ask)


def _page(ask: Ask, problem: TidegateError | None = None) -> Shown:
    """A live sample only says whether there is more than the page shows: results move while nobody reads them."""
    found = ask.client.endpoints.get(ask.of["name"])
    view = ask.client.monitoring.get(found.name)
    seen = ask.query.get("seen")
    context: dict[str, Any] = {
        "endpoint": found,
        "monitor": view,
        "is_newer": ask.live and seen is not None and _mark(view) != seen,
        "here_href": ask.with_query(seen=None, done=None),
    }
    if ask.live:
        return Shown("monitoring.html", context)
    version = ask.query.get("version")
    skip = ask.number("skip", 0, 100_000, 0)
    alerts = ask.client.alerts.page(found.name, None, ALERTS).rows
    shown = results.overview(_history(ask, found.name), alerts, version, skip)
    form = settings.filled(view, ask.form)
    context |= shown | _links(ask, shown, skip) | _captured(ask, found.name)
    context |= {
        "live_of": replace(ask, path=_path(ask)).with_query(seen=_mark(view), done=None, rows=None),
        "report_href": f"/api/v1/endpoints/{found.name}/monitor/report",
        "version": version,
        "open_alerts": sum(one.fired_at is not None and one.ended_at is None for one in alerts),
        "form": form,
        "settings_cli": settings.command(view, form),
        "problem": problem,
        "done": ask.query.get("done"),
    }
    return Shown("monitoring.html", context, problem.http_status if problem else 200)


def _mark(view: MonitorView) -> str:
    """What changes with each evaluation."""
    return f"{view.evaluated_at or 0:.3f}"


def _path(ask: Ask) -> str:
    return f"/endpoints/{ask.of['name']}/monitoring"


def _history(ask: Ask, name: str) -> list[MonitorResult]:
    since = now() - SINCE_S
    pages = (ask.client.monitoring.results(name, since=since, monitor=one, limit=n) for one, n in WANTED.items())
    return [result for page in pages for result in page]


def _links(ask: Ask, shown: dict[str, Any], skip: int) -> dict[str, Any]:
    following = skip + results.CARDS
    return {
        "all_href": ask.with_query(version=None, skip=None, done=None),
        "version_links": [(one, ask.with_query(version=one, skip=None, done=None)) for one in shown["versions"]],
        "first": ask.with_query(skip=None, done=None) if skip else None,
        "next": ask.with_query(skip=following, done=None) if following < shown["columns_total"] else None,
    }


def _captured(ask: Ask, name: str) -> dict[str, Any]:
    """Rows only where somebody asks for them: reading them is a permission of its own, and is in the audit."""
    wanted = ask.query.get("rows") == "newest"
    rows, problem = None, None
    if wanted:
        request = CaptureQueryRequest(SQL, rows_max=ROWS)
        try:
            rows = table_of(ask.client.capture.rows(name, request).rows)
        except Unauthenticated:
            raise
        except TidegateError as error:
            problem = error
    href = ask.with_query(rows=None if wanted else "newest", done=None)
    return {"rows": rows, "rows_problem": problem, "rows_href": href}


def _run(ask: Ask) -> Shown | Moved:
    run = ask.client.monitoring.run
    return changed(lambda: run(ask.of["name"]), f"{_path(ask)}?done=run", lambda error: _page(ask, error))


def _set(ask: Ask) -> Shown | Moved:
    def change() -> object:
        return ask.client.monitoring.set(ask.of["name"], **settings.asked(ask.form))

    return changed(change, f"{_path(ask)}?done=settings", lambda error: _page(ask, error))


ROUTES = (
    PageRoute("GET", "/endpoints/{name}/monitoring", _monitoring, live=True),
    PageRoute("POST", "/endpoints/{name}/monitoring", _set),
    PageRoute("POST", "/endpoints/{name}/monitoring/run", _run),
)
