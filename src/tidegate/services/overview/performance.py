"""Performance of an endpoint by version over a span of time, from what Prometheus scraped. Reads; never writes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from tidegate.clock import Clock
from tidegate.core import performance as core
from tidegate.errors import Conflict, InvalidArgument, MetricsUnavailable
from tidegate.services.endpoints.lifecycle import Endpoints
from tidegate.wire.monitoring import performance as wire

SLOTS = 12
SINCE_S_MIN, SINCE_S_MAX = 10.0, 400 * 86_400.0

Curves = list[core.Curve]


class MetricHistory(Protocol):
    """What was measured of endpoints, and kept. Everything raises `MetricsUnavailable`.

    Times are in seconds since the epoch; curves are at the edges of slots that are as long as one another.
    """

    @property
    def url(self) -> str: ...

    def first_seen_s(self, now_s: float, within_s: float) -> float | None: ...

    def present(self, edges_s: list[float]) -> list[bool]: ...

    def counters(self, endpoint: str, edges_s: list[float]) -> Curves: ...

    def gauges(self, endpoint: str, edges_s: list[float]) -> Curves: ...


@dataclass(frozen=True)
class PerformanceReports:
    """The use case; `source` is None where PROMETHEUS_URL is not set."""

    endpoints: Endpoints
    source: MetricHistory | None
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
    """One look back: all that one report asks for."""

    def __init__(self, source: MetricHistory, endpoint: str, now_s: float, since_s: float) -> None:
        self._source, self._endpoint, self._since_s = source, endpoint, since_s
        self._edges_s = self._known(now_s)
        self._slot_s = self._edges_s[1] - self._edges_s[0]
        self._seen = source.present(self._edges_s)

    def _known(self, now_s: float) -> list[float]:
        """The edges of the slots, over the part of the span that Prometheus knows."""
        first_s = self._source.first_seen_s(now_s, self._since_s)
        if first_s is None or now_s - first_s < 1.0:
            raise MetricsUnavailable(
                f"Prometheus at {self._source.url} knows nothing of this platform's gateway in the time asked for: "
                "does it scrape it? ('tidegate up --observability' writes its configuration)"
            )
        first_s = max(first_s, now_s - self._since_s)
        return [first_s + (now_s - first_s) * i / SLOTS for i in range(SLOTS)] + [now_s]

    def report(self) -> wire.Performance:
        counters = self._source.counters(self._endpoint, self._edges_s)
        gauges = self._source.gauges(self._endpoint, self._edges_s)
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
