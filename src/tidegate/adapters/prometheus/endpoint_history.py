"""What Prometheus scraped of the platform's gateways and endpoints: the only place that writes PromQL. Reads alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from tidegate.core.performance import COUNTERS, Curve

LOOKS = 240
"""How finely the beginning of what Prometheus knows is looked for at a time: within this part of the span."""
PRESENT = "tidegate_buffered_bytes"
"""A metric that every scrape of a gateway has, whatever it serves."""


class QueryApi(Protocol):
    """Queries of a Prometheus server (`server.Prometheus`). Raises `MetricsUnavailable`."""

    @property
    def url(self) -> str: ...

    def curves(self, query: str, edges_s: list[float]) -> list[Curve]: ...

    def number(self, query: str, at_s: float) -> float | None: ...


@dataclass(frozen=True)
class EndpointHistory:
    """The port `MetricHistory` of `services.overview.performance`. Everything raises `MetricsUnavailable`."""

    api: QueryApi

    @property
    def url(self) -> str:
        return self.api.url

    def first_seen_s(self, now_s: float, within_s: float) -> float | None:
        """When the gateway was scraped first within the span: looked for coarsely, then finer before what was found.

        Finer looks also find a gateway that was there for a moment only, at the end.
        """
        first_s, end_s = None, now_s
        while True:
            step_s = math.ceil(within_s / LOOKS)
            looked = f"min(min_over_time(timestamp({PRESENT})[{math.ceil(within_s)}s:{step_s}s]))"
            found_s = self.api.number(looked, end_s)
            if found_s is not None:
                first_s = end_s = found_s
            if step_s == 1:
                return first_s
            within_s = 2.0 * step_s

    def present(self, edges_s: list[float]) -> list[bool]:
        """At each edge, whether any gateway had been scraped."""
        curves = self.api.curves(PRESENT, edges_s)
        return [any(curve.values[i] is not None for curve in curves) for i in range(len(edges_s))]

    def counters(self, endpoint: str, edges_s: list[float]) -> list[Curve]:
        """`core.performance.COUNTERS` by version, code and bucket."""
        names = "|".join(COUNTERS)
        query = f'sum by (__name__, version, code, le) ({{__name__=~"{names}", endpoint="{endpoint}"}})'
        return self.api.curves(query, edges_s)

    def gauges(self, endpoint: str, edges_s: list[float]) -> list[Curve]:
        """The fullest queue and the mean of ready replicas of each slot; quality as it was said last."""
        at, within = f'{{endpoint="{endpoint}"}}', f"[{max(1, round(edges_s[1] - edges_s[0]))}s]"
        queries = {
            "queue": f"max by (version) (max_over_time(model_queue_rows{at}{within}))",
            "queue_limit": f"max by (version) (max_over_time(model_queue_rows_limit{at}{within}))",
            "ready": f"max by (version) (avg_over_time(tidegate_replicas_ready{at}{within}))",
            "quality": f"max by (version, metric) (last_over_time(model_quality{at}{within}))",
        }
        return [
            Curve({**curve.labels, "__name__": name}, curve.values)
            for name, query in queries.items()
            for curve in self.api.curves(query, edges_s)
        ]
