"""`/`: what needs attention first, then every endpoint with its live load."""

from __future__ import annotations

from typing import Any

from tidegate.console import words
from tidegate.console.asking import Ask, Moved, Route, Shown
from tidegate.console.attention import attention
from tidegate.draw import Size, bar_share
from tidegate.draw.plot import Markup
from tidegate.wire.load import LoadView
from tidegate.wire.rest import Endpoint

ROWS, FAILED_JOBS, FIRING, ITEMS = 50, 20, 30, 30
BAR = Size(130, 7)


def _overview(ask: Ask) -> Shown | Moved:
    rows = ask.number("rows", 1, 200, ROWS)
    page = ask.client.endpoints.page(rows, ask.query.get("after"))
    status = ask.client.platform.status()
    failed = ask.client.jobs.list(state="failed", limit=FAILED_JOBS)
    firing = ask.client.alerts.page(None, "firing", FIRING).rows
    items = attention(status, page.rows, failed, firing)
    return Shown(
        "overview.html",
        {
            "items": items[:ITEMS],
            "is_cut": len(items) > ITEMS,
            "endpoints": [row(one) for one in page.rows],
            "total": sum(status.endpoints_by_status.values()),
            "first": ask.with_query(after=None) if ask.query.get("after") else None,
            "next": None if page.next is None else ask.with_query(after=page.next),
        },
    )


def row(endpoint: Endpoint) -> dict[str, Any]:
    """One endpoint in the table."""
    counts = {variant.version: variant.replicas for variant in endpoint.variants}.values()
    return {
        "name": endpoint.name,
        "model": endpoint.model,
        "status": endpoint.status,
        "reason": endpoint.reason,
        "traffic": endpoint.traffic,
        "bar": bar(endpoint.traffic),
        "ready": sum(count.ready for count in counts),
        "desired": sum(count.desired for count in counts),
        **figures(endpoint.load),
    }


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
        "concurrency": f"{load.concurrency:.2g}",
        "silent": load.gateways_silent,
    }


ROUTES = (Route("GET", "/", _overview, live=True),)
