"""Performance of an endpoint by version over a span of time, from what Prometheus scraped. Reads; never writes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from tidegate.clock import Clock
from tidegate.core import performance as core
from tidegate.errors import Conflict, InvalidArgument, MetricsUnavailable
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.wire import performance as wire

SLOTS = 12
SINCE_S_MIN, SINCE_S_MAX = 10.0, 400 * 86_400.0
LOOKS = 240
"""How finely the beginning of what Prometheus knows is looked for at a time: within this part of the span."""
PRESENT = "tidegate_buffered_bytes"
"""A metric that every scrape of a gateway has, whatever it serves."""


Curves = list[core.Curve]


class MetricSource(Protocol):
    """Prometheus. Raises `MetricsUnavailable`."""

    @property
    def url(self) -> str: ...

    def curves(self, query: str, edges_s: list[float]) -> Curves: ...

    def number(self, query: str, at_s: float) -> float | None: ...


@dataclass(frozen=True)
class Performance:
    """The use case; `source` is None where PROMETHEUS_URL is not set."""

    endpoints: Endpoints
    source: MetricSource | None
    clock: Clock

    def of(self, name: str, since_s: float) -> wire.Performance:
        """The last `since_s` seconds. Raises `UnknownEndpoint`, `InvalidArgument`, `MetricsUnavailable`.

        `Conflict` where no Prometheus is set: that is nobody's failure, and does not mend itself.
        """
        if not SINCE_S_MIN <= since_s <= SINCE_S_MAX:
            raise InvalidArgument(
                f"{since_s:g} s is no span to look back over: give {SINCE_S_MIN:g} s to {SINCE_S_MAX / 86_400:g} days",
                field="since_s",
            )
        self.endpoints.get(name)
        if self.source is None:
            raise Conflict(
                "how an endpoint did over time is known to Prometheus, and PROMETHEUS_URL is not set: set it to the "
                "server that scrapes this platform and start the platform again ('tidegate up --observability' sets "
                "one up)"
            )
        return _LookBack(self.source, name, self.clock(), since_s).report()


class _LookBack:
    """One look back: all queries of one report."""

    def __init__(self, source: MetricSource, endpoint: str, now_s: float, since_s: float) -> None:
        self._source, self._endpoint, self._since_s = source, endpoint, since_s
        self._edges_s = self._known(now_s)
        self._slot_s = self._edges_s[1] - self._edges_s[0]
        self._seen = [any(at) for at in zip(*self._present(), strict=True)]

    def _known(self, now_s: float) -> list[float]:
        """The edges of the slots, over the part of the span that Prometheus knows."""
        first_s = self._first_seen(now_s)
        if first_s is None or now_s - first_s < 1.0:
            raise MetricsUnavailable(
                f"Prometheus at {self._source.url} knows nothing of this platform's gateway in the time asked for: "
                "does it scrape it? ('tidegate up --observability' writes its configuration)"
            )
        first_s = max(first_s, now_s - self._since_s)
        return [first_s + (now_s - first_s) * i / SLOTS for i in range(SLOTS)] + [now_s]

    def _first_seen(self, now_s: float) -> float | None:
        """When the gateway was scraped first within the span: looked for coarsely, then finer before what was found.

        Finer looks also find a gateway that was there for a moment only, at the end.
        """
        first_s, end_s, within_s = None, now_s, self._since_s
        while True:
            step_s = math.ceil(within_s / LOOKS)
            looked = f"min(min_over_time(timestamp({PRESENT})[{math.ceil(within_s)}s:{step_s}s]))"
            found_s = self._source.number(looked, end_s)
            if found_s is not None:
                first_s = end_s = found_s
            if step_s == 1:
                return first_s
            within_s = 2.0 * step_s

    def _present(self) -> list[list[bool]]:
        curves = self._source.curves(PRESENT, self._edges_s)
        return [[value is not None for value in curve.values] for curve in curves] or [[False] * len(self._edges_s)]

    def report(self) -> wire.Performance:
        counters = self._counters()
        gauges = self._gauges()
        versions = sorted({curve.labels.get("version", "") for curve in counters}, key=_by_number)
        parts = [self._part(version, _of(version, counters), _of(version, gauges)) for version in versions]
        # Replicas are of versions: how busy all of them together were is no figure that helps.
        whole = self._part(None, counters, gauges)
        return wire.Performance(
            endpoint=self._endpoint,
            asked_s=self._since_s,
            since=self._edges_s[0],
            until=self._edges_s[-1],
            total=whole.total,
            slots=whole.slots,
            versions=parts,
        )

    def _counters(self) -> Curves:
        names = "|".join(core.COUNTERS)
        query = f'sum by (__name__, version, code, le) ({{__name__=~"{names}", endpoint="{self._endpoint}"}})'
        return self._source.curves(query, self._edges_s)

    def _gauges(self) -> Curves:
        """The fullest queue and the mean of ready replicas of each slot; quality as it was said last."""
        at, within = f'{{endpoint="{self._endpoint}"}}', f"[{max(1, round(self._slot_s))}s]"
        queries = {
            "queue": f"max by (version) (max_over_time(model_queue_rows{at}{within}))",
            "queue_limit": f"max by (version) (max_over_time(model_queue_rows_limit{at}{within}))",
            "ready": f"max by (version) (avg_over_time(tidegate_replicas_ready{at}{within}))",
            "quality": f"max by (version, metric) (last_over_time(model_quality{at}{within}))",
        }
        return [
            core.Curve({**curve.labels, "__name__": name}, curve.values)
            for name, query in queries.items()
            for curve in self._source.curves(query, self._edges_s)
        ]

    def _part(self, version: str | None, counters: Curves, gauges: Curves) -> wire.VersionPerformance:
        grown = core.by_slot(counters, self._seen)
        known_s = sum(self._slot_s for slot in grown if slot is not None)
        slots = [
            wire.PerformanceSlot(
                since=self._edges_s[i],
                until=self._edges_s[i + 1],
                figures=self._figures(slot, self._slot_s, _at(i + 1, gauges), one=version is not None),
            )
            for i, slot in enumerate(grown)
        ]
        total = self._figures(core.whole(grown), known_s, gauges, one=version is not None)
        return wire.VersionPerformance(version, total, slots)

    def _figures(
        self, grown: core.Growth | None, over_s: float, gauges: Curves, *, one: bool
    ) -> wire.PerformanceFigures:
        if grown is None:
            return wire.PerformanceFigures()
        requests, ready = grown.requests, _mean(gauges, "ready")
        computed = grown.buckets and max(grown.buckets.values()) > 0
        return wire.PerformanceFigures(
            requests=round(requests),
            rows=round(grown.rows),
            rate_per_s=requests / over_s,
            errors=round(grown.count("5")),
            refused=round(grown.count("4")),
            error_ratio=grown.count("5") / requests if requests else None,
            p50_s=grown.quantile_s(0.5),
            p95_s=grown.quantile_s(0.95),
            p99_s=grown.quantile_s(0.99),
            queue_s_mean=grown.queue_s / (grown.count("2") or 1) if computed else None,
            queue_rows_max=_highest(gauges, "queue"),
            queue_rows_limit=_highest(gauges, "queue_limit"),
            busy=grown.compute_s / over_s / ready if one and ready else None,
            quality=_quality(gauges) if one else None,
        )


def _by_number(version: str) -> tuple[int, str]:
    return (int(version) if version.isdigit() else -1, version)


def _of(version: str, curves: Iterable[core.Curve]) -> Curves:
    return [curve for curve in curves if curve.labels.get("version", "") == version]


def _at(edge: int, curves: Iterable[core.Curve]) -> Curves:
    """The curves at one edge alone."""
    return [core.Curve(curve.labels, [curve.values[edge]]) for curve in curves]


def _values(curves: Iterable[core.Curve], name: str) -> list[float | None]:
    return [value for curve in curves if curve.name == name for value in curve.values]


def _mean(curves: Iterable[core.Curve], name: str) -> float | None:
    return core.summary(_values(curves, name), fmean)


def _highest(curves: Iterable[core.Curve], name: str) -> int | None:
    highest = core.summary(_values(curves, name), max)
    return None if highest is None else round(highest)


def _quality(curves: Iterable[core.Curve]) -> dict[str, float] | None:
    """The newest value of each metric; None where nobody measured."""
    named = {
        curve.labels.get("metric", ""): core.summary(curve.values, _last) for curve in curves if curve.name == "quality"
    }
    return {name: value for name, value in named.items() if value is not None} or None


def _last(known: Iterable[float]) -> float:
    return list(known)[-1]
