"""Checks of those who watch a platform: Prometheus and Grafana."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

from tidegate.doctor.asking import Server
from tidegate.doctor.findings import DoctorFacts, FindingState, Verdict
from tidegate.errors import PartUnavailable


def prometheus(facts: DoctorFacts) -> Verdict:
    """Whether it answers queries, and reaches what it scrapes."""
    url = facts.settings.prometheus_url
    if url is None:
        return FindingState.OFF, "not configured (PROMETHEUS_URL)"
    server = Server("Prometheus", "PROMETHEUS_URL", url)
    answer = server.get("/api/v1/query", {"query": "up"})
    if answer.status == 503:
        raise PartUnavailable(f"Prometheus at {server.where} is not ready (503: {answer.text}): give it a moment")
    found = answer.json()
    if answer.status != 200 or found.get("status") != "success":
        raise server.other(answer, "/api/v1/query")
    series = cast("dict[str, Any]", found["data"])["result"]
    down = sorted({one["metric"].get("instance", "?") for one in series if one["value"][1] != "1"})
    if down:
        return FindingState.NOTE, (
            f"{server.where} answers; {len(down)} of {len(series)} targets are down: {', '.join(down[:5])} (why is at "
            "/targets)"
        )
    return FindingState.OK, f"{server.where} answers, {len(series)} targets up"


def grafana(facts: DoctorFacts) -> Verdict:
    """Whether it answers, its database is well, and user and password of the URL are taken."""
    url = facts.settings.grafana_url
    if url is None:
        return FindingState.OFF, "not configured (GRAFANA_URL)"
    server = Server("Grafana", "GRAFANA_URL", url)
    answer = server.get("/api/health")
    found = answer.json()
    if "database" not in found:
        raise server.other(answer, "/api/health")
    if found["database"] != "ok":
        return (
            FindingState.WRONG,
            f"{server.where} answers, but its database does not ({found['database']}): see its log",
        )
    if urlsplit(url).username is not None:
        server.get("/api/org")
    return FindingState.OK, f"Grafana {found.get('version', '')} at {server.where} answers"
