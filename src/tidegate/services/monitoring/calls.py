"""The monitors of an endpoint's requests: traffic, errors and latency between one evaluation and the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate.services.monitoring.place import Place
from tidegate.watch.histograms import bounds
from tidegate.watch.histograms.values import Floats
from tidegate.wire.monitoring.monitoring import MonitorResult, Severity

REQUESTS_MIN = 20
"""Of fewer requests nothing is said."""
ERROR_RATIO = 0.01
"""Answers of 500 and above: up to this share of the requests does not matter."""
ERRORS_CRITICAL = 0.2
LATENCY_QUANTILE, LATENCY_RATIO, LATENCY_MARGIN_MS = 0.95, 2.0, 50.0
WHOLE_SHARE = 0.9
"""A look at so much of the time between two evaluations is one of them, and not one that somebody asked for between."""
EARLIER_MIN = 12
"""So many earlier evaluations say what is usual."""


@dataclass(frozen=True)
class CallCounts:
    """Requests of an endpoint, each counted once. `failed`: those answered 500 or above, among `requests`.

    `kept`: the share of answered requests that was recorded, of all failures; then `requests` is an estimate.
    """

    requests: int
    failed: int
    durations_ms: Floats
    kept: float = 1.0


@dataclass(frozen=True)
class Earlier:
    """What earlier evaluations found of the last day: requests per second of each (0 too), and the usual p95."""

    requests_per_s: Sequence[float] = ()
    p95_ms: Sequence[float] = field(default=())


def usual_rates(traffic: Iterable[MonitorResult], every_s: float) -> list[float]:
    """Requests per second of evaluations that looked at a whole `every_s`, also where none came, but for an alert."""
    whole = (one for one in traffic if one.until - one.since >= WHOLE_SHARE * every_s)
    return [one.value for one in whole if one.state != "alert" and one.value is not None]


def call_results(calls: CallCounts, earlier: Earlier, place: Place, page_alpha: float) -> list[MonitorResult]:
    """The results of the monitors of traffic, errors and latency."""
    alpha = page_alpha / 3
    return [_traffic(calls, earlier, place), _errors(calls, place, alpha), _latency(calls, earlier, place, alpha)]


def _traffic(calls: CallCounts, earlier: Earlier, place: Place) -> MonitorResult:
    """An alert where requests have stopped that came in every evaluation of the last day: no rhythm explains that."""
    span_s = place.until - place.since
    rate = calls.requests / span_s if span_s > 0 else None
    common: dict[str, Any] = {"n": calls.requests, "value": rate, "metric": "requests_per_s"}
    usual = round(min(earlier.requests_per_s, default=0.0) * span_s)
    if calls.requests:
        return place.result("traffic", "ok", f"ok: {calls.requests} requests in {span_s:.0f} s", **common)
    if len(earlier.requests_per_s) < EARLIER_MIN or usual < REQUESTS_MIN:
        return place.unknown("traffic", f"no request in {span_s:.0f} s, and that is not known to be unusual", **common)
    verdict = f"stopped: no request in {span_s:.0f} s, where the last day had {usual} or more at any time"
    return place.result("traffic", "alert", verdict, "high", **common)


def _errors(calls: CallCounts, place: Place, alpha: float) -> MonitorResult:
    if calls.requests < REQUESTS_MIN:
        return place.unknown("errors", f"{calls.requests} requests say nothing of a share", n=calls.requests)
    share = calls.failed / calls.requests
    n, failed = round(calls.requests * calls.kept), round(calls.failed * calls.kept)  # no more than was recorded
    lower = 1.0 - float(bounds.binomial_upper(np.array([n - failed]), max(1, n), alpha)[0])
    common: dict[str, Any] = {"n": calls.requests, "metric": "error_ratio", "value": share, "lower": max(0.0, lower)}
    if lower > ERROR_RATIO:
        verdict = f"failing: {calls.failed} of {calls.requests} requests were answered 500 or above ({share:.1%})"
        severity: Severity = "critical" if share >= ERRORS_CRITICAL else "high"
        return place.result("errors", "alert", verdict, severity, reference=ERROR_RATIO, **common)
    verdict = f"ok: {calls.failed} of {calls.requests} requests were answered 500 or above"
    return place.result("errors", "ok", verdict, reference=ERROR_RATIO, **common)


def _latency(calls: CallCounts, earlier: Earlier, place: Place, alpha: float) -> MonitorResult:
    n = int(calls.durations_ms.size)
    if n < REQUESTS_MIN:
        return place.unknown("latency", f"{n} answers say nothing of a percentile", n=n)
    ordered = np.sort(calls.durations_ms)
    value = float(np.quantile(ordered, LATENCY_QUANTILE))
    common: dict[str, Any] = {"n": n, "metric": "p95_ms", "value": value}
    if len(earlier.p95_ms) < EARLIER_MIN:
        return place.result("latency", "ok", f"ok: p95 is {value:.3g} ms; what is usual is not known yet", **common)
    usual = float(np.median(np.array(earlier.p95_ms)))
    limit = max(LATENCY_RATIO * usual, usual + LATENCY_MARGIN_MS)
    slow = int((ordered > limit).sum())
    share = 1.0 - float(bounds.binomial_upper(np.array([n - slow]), n, alpha)[0])
    common |= {"reference": usual}
    if share > 1 - LATENCY_QUANTILE:
        verdict = f"slow: p95 is {value:.3g} ms, and is {usual:.3g} ms usually"
        return place.result("latency", "alert", verdict, "medium", **common)
    return place.result("latency", "ok", f"ok: p95 is {value:.3g} ms, and is {usual:.3g} ms usually", **common)
