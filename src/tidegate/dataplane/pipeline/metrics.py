"""The data plane's metrics: plain integers on the hot path, Prometheus text when somebody asks.

A gateway's numbers are `state()`, which merges exactly with those of its siblings.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from tidegate.dataplane.calls.batch import Batch
from tidegate.dataplane.calls.call import Call
from tidegate.dataplane.calls.failure import FailedRequest
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.errors import TidegateError
from tidegate.wire.gateways.load import DURATION_BUCKETS_S

BATCH_BUCKETS_ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CODES_AT_ZERO = (200, 429, 500, 503, 504)
"""Told from a version's first request on: a counter that begins with the first error has no rate until the second."""

SERIES_KEPT_S = 3600.0
"""After a version was last routed to: long enough for every scraper to have seen its last counts."""

Key = tuple[str, str, str]
Place = tuple[str, str]


@dataclass
class MetricSeries:
    """Counts of one (endpoint, version, variant); the last two are empty for requests refused before a choice."""

    codes: dict[int, int] = field(default_factory=dict)
    rows: int = 0
    duration_counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BUCKETS_S) + 1))
    duration_sum_s: float = 0.0
    batch_counts: list[int] = field(default_factory=lambda: [0] * (len(BATCH_BUCKETS_ROWS) + 1))
    released: dict[str, int] = field(default_factory=dict)
    queue_s: float = 0.0
    compute_s: float = 0.0
    cache_hits: int = 0
    cache_misses: int = 0
    cached_rows: int = 0
    non_finite: int = 0
    abandoned_s: float = 0.0
    """How long requests were in progress whose clients went away; those are counted nowhere else."""

    def ended(self, code: int, duration_s: float) -> None:
        """Count a request that was answered with this status after so long."""
        self.codes[code] = self.codes.get(code, 0) + 1
        self.duration_sum_s += duration_s
        self.duration_counts[bisect_left(DURATION_BUCKETS_S, duration_s)] += 1

    def add(self, other: MetricSeries) -> None:
        """Add another process's counts of the same series."""
        self.rows += other.rows
        self.duration_sum_s += other.duration_sum_s
        self.queue_s += other.queue_s
        self.compute_s += other.compute_s
        self.cache_hits += other.cache_hits
        self.cache_misses += other.cache_misses
        self.cached_rows += other.cached_rows
        self.non_finite += other.non_finite
        self.abandoned_s += other.abandoned_s
        self.duration_counts = [a + b for a, b in zip(self.duration_counts, other.duration_counts, strict=True)]
        self.batch_counts = [a + b for a, b in zip(self.batch_counts, other.batch_counts, strict=True)]
        for code, count in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count
        for reason, count in other.released.items():
            self.released[reason] = self.released.get(reason, 0) + count


@dataclass
class MetricState:
    """All numbers of one process: series, gauges by (endpoint, version), and counters of other parts by name.

    `reasons` are counters with the label `reason`: counts by it, by name.

    `batch_rows_limit` is the largest of the processes', not their sum; `queue_rows_limit` is the sum.
    """

    series: dict[Key, MetricSeries] = field(default_factory=dict)
    queue_rows: dict[tuple[str, str], int] = field(default_factory=dict)
    batch_rows_limit: dict[tuple[str, str], int] = field(default_factory=dict)
    queue_rows_limit: dict[tuple[str, str], int] = field(default_factory=dict)
    in_progress: dict[str, int] = field(default_factory=dict)
    buffered_bytes: int = 0
    redis_connected: int | None = None
    counters: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, other: MetricState) -> None:
        """Merge another process's numbers into these."""
        for key, series in other.series.items():
            self.series.setdefault(key, MetricSeries()).add(series)
        for place, rows in other.queue_rows.items():
            self.queue_rows[place] = self.queue_rows.get(place, 0) + rows
        for place, rows in other.batch_rows_limit.items():
            self.batch_rows_limit[place] = max(self.batch_rows_limit.get(place, 0), rows)
        for place, rows in other.queue_rows_limit.items():
            self.queue_rows_limit[place] = self.queue_rows_limit.get(place, 0) + rows
        for endpoint, count in other.in_progress.items():
            self.in_progress[endpoint] = self.in_progress.get(endpoint, 0) + count
        self.buffered_bytes += other.buffered_bytes
        if other.redis_connected is not None:
            self.redis_connected = (self.redis_connected or 0) + other.redis_connected
        for name, value in other.counters.items():
            self.counters[name] = self.counters.get(name, 0.0) + value
        self.add_reasons(other.reasons)

    def add_reasons(self, reasons: Mapping[str, Mapping[str, float]]) -> None:
        """Merge counters that are told by reason."""
        for name, counts in reasons.items():
            own = self.reasons.setdefault(name, {})
            for reason, value in counts.items():
                own[reason] = own.get(reason, 0.0) + value


class Routed:
    """Which (endpoint, version) are routed to, and which were a while ago: what is counted of others is forgotten."""

    def __init__(self) -> None:
        self._now: set[Place] = set()
        self._left_s: dict[Place, float] = {}
        self._since_s: float | None = None

    def replace(self, places: set[Place], now_s: float) -> None:
        """Take `places` as those that are routed to from now on."""
        left_s = self._left_s | dict.fromkeys(self._now, now_s)
        self._left_s = {
            place: at_s for place, at_s in left_s.items() if place not in places and now_s - at_s <= SERIES_KEPT_S
        }
        self._now = places
        if self._since_s is None:
            self._since_s = now_s

    def remembers(self, place: Place, now_s: float) -> bool:
        """Whether to go on telling of it. Yes while it is not known yet what was routed to a while ago."""
        if place in self._now or self._since_s is None or now_s - self._since_s <= SERIES_KEPT_S:
            return True
        return now_s - self._left_s.get(place, -math.inf) <= SERIES_KEPT_S


class Metrics:
    """The `Observer` that counts. `gauges` is asked at each scrape for what is only known at that moment."""

    def __init__(self) -> None:
        self._routed = Routed()
        self._series: dict[Key, MetricSeries] = {}
        self._gauges: list[Callable[[MetricState], None]] = []
        self._counters_before: dict[str, float] = {}
        self._reasons_before: dict[str, dict[str, float]] = {}

    def resume(self, before: MetricState) -> None:
        """Go on from what an earlier process of the same name had counted."""
        self._series = before.series
        self._counters_before = before.counters
        self._reasons_before = before.reasons

    def route(self, places: set[Place], now_s: float) -> None:
        """Versions routed to from now on (an endpoint's own counts have the version ""); forget those long gone."""
        self._routed.replace(places, now_s)
        self._series = self.remembered(self._series, now_s)

    def remembered(self, series: dict[Key, MetricSeries], now_s: float) -> dict[Key, MetricSeries]:
        """Without those of versions that have not been routed to for `SERIES_KEPT_S`."""
        return {key: one for key, one in series.items() if self._routed.remembers(key[:2], now_s)}

    def add_gauges(self, fill: Callable[[MetricState], None]) -> None:
        """Let `fill` write current values into each `state()`."""
        self._gauges.append(fill)

    def batch_done(self, batch: Batch, outputs: Outputs, now_s: float) -> None:  # noqa: ARG002 (the port's shape)
        """Count a computed batch, for the variant of its first call, and each call in it that is still waited for."""
        series = self._of_call(batch)
        series.batch_counts[bisect_left(BATCH_BUCKETS_ROWS, batch.rows)] += 1
        series.released[batch.released] = series.released.get(batch.released, 0) + 1
        series.compute_s += now_s - batch.sent_s
        calls = batch.calls
        while calls:  # variants of one version share its batches
            calls = self._answered(calls, batch.sent_s, now_s)

    def _answered(self, calls: list[Call], sent_s: float, now_s: float) -> list[Call]:
        """Count those of the calls that are the first one's variant's; the others."""
        destination, series, others = calls[0].destination, self._of_call(calls[0]), list[Call]()
        counts, rows, answered, waited_s = series.duration_counts, 0, 0, 0.0
        for call in calls:
            if not call.done:
                if call.destination is not destination:
                    others.append(call)
                    continue
                rows += call.rows
                if call.completes:
                    duration_s = now_s - call.started_s
                    answered += 1
                    waited_s += duration_s
                    counts[bisect_left(DURATION_BUCKETS_S, duration_s)] += 1
        series.rows += rows
        series.duration_sum_s += waited_s
        series.queue_s += waited_s - answered * (now_s - sent_s)
        series.codes[200] = series.codes.get(200, 0) + answered
        return others

    def cached(self, call: Call, now_s: float) -> None:
        """Count a call that is answered from the response cache: no replica computes it, and no batch holds it."""
        series = self._of_call(call)
        series.cache_hits += 1
        series.cached_rows += call.rows
        series.ended(200, now_s - call.started_s)

    def cache_missed(self, call: Call) -> None:
        """Count a call that the response cache was asked for in vain."""
        self._of_call(call).cache_misses += 1

    def not_finite(self, call: Call) -> None:
        """Count a call whose answer has NaN or infinity in it; it is counted as answered besides."""
        self._of_call(call).non_finite += 1

    def answered_at_once(self, key: Key, rows: int, started_s: float, now_s: float) -> None:
        """Count one request that was a batch of its own and waited for nothing."""
        series = self._of(*key)
        seconds = now_s - started_s
        series.batch_counts[bisect_left(BATCH_BUCKETS_ROWS, rows)] += 1
        series.released["idle"] = series.released.get("idle", 0) + 1
        series.compute_s += seconds
        series.rows += rows
        series.ended(200, seconds)

    def failed_at_once(self, key: Key, error: TidegateError, started_s: float, now_s: float) -> None:
        """Count one request that waited for nothing and failed."""
        self._of(*key).ended(error.http_status, now_s - started_s)

    def call_failed(self, call: Call, error: TidegateError, now_s: float) -> None:
        """Count a call that ended in an error."""
        self._of_call(call).ended(error.http_status, now_s - call.started_s)

    def abandoned(self, call: Call, now_s: float) -> None:
        """Count the time of a call whose client went away."""
        self._of_call(call).abandoned_s += now_s - call.started_s

    def refused(self, failure: FailedRequest) -> None:
        """Count a request that never became a call."""
        series, code = self._of(failure.endpoint, "", ""), failure.error.http_status
        series.codes[code] = series.codes.get(code, 0) + 1

    def series(self) -> Mapping[Key, MetricSeries]:
        """The series that go on counting, without the gauges, which cost more."""
        return self._series

    def state(self) -> MetricState:
        """The numbers of this process now."""
        state = MetricState(series=self._series)
        for fill in self._gauges:
            fill(state)
        for name, value in self._counters_before.items():
            state.counters[name] = state.counters.get(name, 0) + value
        state.add_reasons(self._reasons_before)
        return state

    def _of_call(self, call: Call | Batch) -> MetricSeries:
        identity = call.destination.identity
        return self._of(identity.endpoint, identity.version, identity.variant)

    def _of(self, endpoint: str, version: str, variant: str) -> MetricSeries:
        key = (endpoint, version, variant)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = MetricSeries()
        return series


def render(state: MetricState) -> bytes:
    """Prometheus text of these numbers, and of this process (CPU, memory, files)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_Collector(state))
    return generate_latest(registry)


class _Collector:
    def __init__(self, state: MetricState) -> None:
        self._state = state

    def collect(self) -> Iterable[Metric]:
        series = self._state.series
        yield _requests(series)
        yield from _by_version(series)
        yield from _by_cache(series)
        yield _by_variant(series)
        yield _rows("model_queue_rows", "Rows waiting for a replica", self._state.queue_rows)
        yield _rows("model_queue_rows_limit", "Most rows that may wait before 429", self._state.queue_rows_limit)
        yield _rows("model_batch_rows_limit", "Most rows a batch has now", self._state.batch_rows_limit)
        busy = GaugeMetricFamily("model_requests_in_progress", "Requests being answered", labels=["endpoint"])
        for endpoint, count in self._state.in_progress.items():
            busy.add_metric([endpoint], count)
        yield busy
        buffered = GaugeMetricFamily("tidegate_buffered_bytes", "Bytes of request bodies held now")
        buffered.add_metric([], self._state.buffered_bytes)
        yield buffered
        if self._state.redis_connected is not None:
            connected = GaugeMetricFamily("tidegate_redis_connected", "Gateways that are connected to Redis")
            connected.add_metric([], self._state.redis_connected)
            yield connected
        for name, value in self._state.counters.items():
            counter = CounterMetricFamily(name, name.replace("_", " "))
            counter.add_metric([], value)
            yield counter
        for name, counts in self._state.reasons.items():
            counter = CounterMetricFamily(name, name.replace("_", " "), labels=["reason"])
            for reason, value in counts.items():
                counter.add_metric([reason], value)
            yield counter


def _rows(name: str, meaning: str, rows: dict[tuple[str, str], int]) -> Metric:
    gauge = GaugeMetricFamily(name, meaning, labels=["endpoint", "version"])
    for place, count in rows.items():
        gauge.add_metric(place, count)
    return gauge


def _requests(series: dict[Key, MetricSeries]) -> Metric:
    labels = ["endpoint", "version", "variant", "code"]
    requests = CounterMetricFamily("model_requests", "Prediction requests by status code", labels=labels)
    for key, one in series.items():
        codes = dict.fromkeys(CODES_AT_ZERO, 0) | one.codes if key[1] else one.codes
        for code, count in codes.items():
            requests.add_metric([*key, str(code)], count)
    return requests


def _by_variant(series: dict[Key, MetricSeries]) -> Metric:
    """Durations once more: an experiment may give two variants the same version."""
    name, labels = "model_variant_duration_seconds", ["endpoint", "version", "variant"]
    duration = HistogramMetricFamily(name, "Time to answer a request, by variant", labels=labels)
    for key, one in series.items():
        if key[1]:
            duration.add_metric(key, _buckets(DURATION_BUCKETS_S, one.duration_counts), one.duration_sum_s)
    return duration


def _by_version(series: dict[Key, MetricSeries]) -> Iterator[Metric]:
    """The families labelled by endpoint and version; variants of one version are added up."""
    merged: dict[tuple[str, str], MetricSeries] = {}
    for (endpoint, version, _), one in series.items():
        if version:
            merged.setdefault((endpoint, version), MetricSeries()).add(one)
    labels = ["endpoint", "version"]
    rows = CounterMetricFamily("model_predictions", "Rows predicted", labels=labels)
    duration = HistogramMetricFamily("model_request_duration_seconds", "Time to answer a request", labels=labels)
    batches = HistogramMetricFamily("model_batch_rows", "Rows in a batch", labels=labels)
    released = CounterMetricFamily("model_batches_released", "Why a batch was sent", labels=[*labels, "reason"])
    queue = CounterMetricFamily("model_queue_seconds", "Time requests waited for a replica", labels=labels)
    compute = CounterMetricFamily("model_compute_seconds", "Time replicas computed batches", labels=labels)
    for place, one in merged.items():
        rows.add_metric(place, one.rows + one.cached_rows)
        duration.add_metric(place, _buckets(DURATION_BUCKETS_S, one.duration_counts), one.duration_sum_s)
        batches.add_metric(place, _buckets(BATCH_BUCKETS_ROWS, one.batch_counts), float(one.rows))
        queue.add_metric(place, one.queue_s)
        compute.add_metric(place, one.compute_s)
        for reason, count in one.released.items():
            released.add_metric([*place, reason], count)
    yield from (rows, duration, batches, released, queue, compute)


def _by_cache(series: dict[Key, MetricSeries]) -> Iterator[Metric]:
    """What the response cache was asked for; only where it was."""
    asked: dict[tuple[str, str], tuple[int, int]] = {}
    for (endpoint, version, _), one in series.items():
        if one.cache_hits or one.cache_misses:
            hits, misses = asked.get((endpoint, version), (0, 0))
            asked[endpoint, version] = hits + one.cache_hits, misses + one.cache_misses
    if not asked:
        return
    labels = ["endpoint", "version"]
    hit = CounterMetricFamily("model_cache_hits", "Requests answered from the prediction cache", labels=labels)
    miss = CounterMetricFamily("model_cache_misses", "Requests it had no answer for", labels=labels)
    ratio = GaugeMetricFamily("model_cache_hit_ratio", "Share of hits among all that it was asked for", labels=labels)
    for place, (hits, misses) in asked.items():
        hit.add_metric(place, hits)
        miss.add_metric(place, misses)
        ratio.add_metric(place, hits / (hits + misses))
    yield from (hit, miss, ratio)


def _buckets(bounds: tuple[float, ...], counts: list[int]) -> list[Any]:
    total = 0
    cumulative: list[tuple[str, float]] = []
    for bound, count in zip((*(str(bound) for bound in bounds), "+Inf"), counts, strict=True):
        total += count
        cumulative.append((bound, total))
    return cumulative
