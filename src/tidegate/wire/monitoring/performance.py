"""The REST shapes of performance over time: served by the API, decoded by the client. Times are seconds (epoch)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PerformanceFigures:
    """How an endpoint or a version did within some time. None: not known, or nothing to make the figure of.

    `errors` are answers of 500 and above, `refused` those from 400 to 499. `queue_s_mean` is how long an answered
    request waited, `busy` the part of the time that a replica computed, `quality` by metric as it was said last.
    """

    requests: int | None = None
    rows: int | None = None
    rate_per_s: float | None = None
    errors: int | None = None
    refused: int | None = None
    error_ratio: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None
    queue_s_mean: float | None = None
    queue_rows_max: int | None = None
    queue_rows_limit: int | None = None
    busy: float | None = None
    quality: dict[str, float] | None = None


@dataclass(frozen=True)
class PerformanceSlot:
    """The figures from `since` to `until`."""

    since: float
    until: float
    figures: PerformanceFigures


@dataclass(frozen=True)
class VersionPerformance:
    """One version: as a whole, and over time. `version` is "" for requests refused before one was chosen."""

    version: str | None
    total: PerformanceFigures
    slots: list[PerformanceSlot]


@dataclass(frozen=True)
class Performance:
    """An endpoint over the time asked for, as far as Prometheus knows it: from `since` to `until`."""

    endpoint: str
    asked_s: float
    since: float
    until: float
    total: PerformanceFigures
    slots: list[PerformanceSlot]
    versions: list[VersionPerformance]
