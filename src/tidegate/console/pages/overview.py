"""`/`: what needs attention first, then every endpoint with its live load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from tidegate.console import words
from tidegate.console.asking import Ask, Moved, PageRoute, Shown
from tidegate.console.attention import attention
from tidegate.draw import PlotSize, bar_share, sparkline
from tidegate.draw.plot import Markup
from tidegate.errors import NotLeader
from tidegate.wire.gateways.load import LoadView, VersionSeries
from tidegate.wire.monitoring.alerts import AlertState
from tidegate.wire.rest import Endpoint

ROWS, FAILED_JOBS, FIRING, ITEMS = 50, 20, 30, 30
BAR, LINE = PlotSize(130, 7), PlotSize(96, 22)
LINES_KEPT = 1024
STILL_FIRING: Sequence[AlertState] = ("firing", "not_enough_data")


def _overview(ask: Ask) -> Shown | Moved:
    rows = ask.number("rows", 1, 200, ROWS)
    page = ask.client.endpoints.page(rows, ask.query.get("after"))
    status = ask.client.platform.status()
    failed = ask.client.jobs.list(state="failed", limit=FAILED_JOBS)
    alerts = [ask.client.alerts.page(None, state, FIRING) for state in STILL_FIRING]
    items = attention(status, page.rows, failed, [one for found in alerts for one in found.rows])
    loads = _loads(ask, page.rows)
    return Shown(
        "overview.html",
        {
            "items": items[:ITEMS],
            "is_cut": len(items) > ITEMS or any(found.next is not None for found in alerts),
            "endpoints": [row(one) | lines_of(loads.get(one.name)) for one in page.rows],
            "total": sum(status.endpoints_by_status.values()),
            "first": ask.with_query(after=None) if ask.query.get("after") else None,
            "next": None if page.next is None else ask.with_query(after=page.next),
        },
    )


def row(endpoint: Endpoint) -> dict[str, Any]:
    """One endpoint in the table."""
    counts = {variant.version: variant.replicas for variant in endpoint.variants}.values()
    managed_by = next((variant.managed_by for variant in endpoint.variants if variant.managed_by), None)
    return {
        "name": endpoint.name,
        "model": endpoint.model,
        "status": endpoint.status,
        "reason": endpoint.reason,
        "traffic": endpoint.traffic,
        "bar": bar(endpoint.traffic),
        "managed_by": managed_by,
        "ready": sum(count.ready for count in counts),
        "desired": sum(count.desired for count in counts),
        **figures(endpoint.load),
    }


def _loads(ask: Ask, rows: Sequence[Endpoint]) -> Mapping[str, VersionSeries]:
    """By endpoint, of those that had requests; none where another control plane is told of them."""
    if not rows:
        return {}
    try:
        return ask.client.endpoints.loads(rows[0].name, len(rows)).endpoints
    except NotLeader:
        return {}


def lines_of(load: VersionSeries | None) -> dict[str, Markup | None]:
    """Rate and p95 of the last five minutes as small lines; None where nobody asked for anything."""
    if load is None:
        return {"rate_line": None, "p95_line": None}
    p95_ms = (None if value is None else value * 1000 for value in load.p95_s)
    return {
        "rate_line": _line("Requests a second, five minutes", tuple(load.requests_per_s), "/s"),
        "p95_line": _line("p95, five minutes", tuple(p95_ms), "ms"),
    }


@lru_cache(LINES_KEPT)
def _line(title: str, values: tuple[float | None, ...], unit: str) -> Markup | None:
    """Drawn once: the points change every ten seconds, and the page is made anew each second."""
    return sparkline(title, values, LINE, unit).svg if any(value is not None for value in values) else None


def bar(traffic: dict[str, float]) -> Markup | None:
    """How traffic is split, as one bar; None where there is none."""
    parts = sorted(((v, w) for v, w in traffic.items() if w), key=lambda item: words.in_order(item[0]))
    return bar_share("Traffic", [(f"version {v}", w) for v, w in parts], BAR).svg if parts else None


def figures(load: LoadView | None) -> dict[str, Any]:
    """Rate, errors and latency as words; unknown where no gateway has told."""
    if load is None:
        return dict.fromkeys(("rate", "errors", "p50", "p95", "concurrency"), words.UNKNOWN) | {"silent": 0}
    return {
        "rate": words.rate(load.requests_per_s),
        "errors": words.share(load.errors_per_s, load.requests_per_s),
        "p50": words.duration(load.p50_s),
        "p95": words.duration(load.p95_s),
        "concurrency": words.amount(load.concurrency),
        "silent": load.gateways_silent,
    }


ROUTES = (PageRoute("GET", "/", _overview, live=True),)
