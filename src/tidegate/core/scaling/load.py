"""What samples of load say, as pure functions of (samples, time). Called by services and by the autoscaler's decision.

A sample is the load of one gateway during some seconds. The load of a gateway that reports nothing is unknown, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidegate.wire.gateways.load import DURATION_BUCKETS_S


@dataclass(frozen=True, slots=True)
class Point:
    """`amount_s` is the integral of a metric over the `span_s` seconds until `at`: divided by them, its mean."""

    at: float
    span_s: float
    amount_s: float


@dataclass(frozen=True)
class Samples:
    """One metric of one version, by source (gateways; for CPU an engine); each source's points are in order.

    `silent` sources are live and report nothing just now: their load is unknown.
    """

    points: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Mean:
    """A metric's mean over a window, summed over sources. `covered_s`: how much of it every source covers."""

    value: float
    covered_s: float


def mean(series: Samples, since: float, until: float) -> Mean | None:
    """The mean from `since` to `until`, each source's over the time that its samples cover; None where there are none.

    Points that end outside of the window are left out, so those of a clock that has gone back are too.
    """
    value, covered_s, known = 0.0, until - since, False
    for points in series.points.values():
        inside = [point for point in points if since < point.at <= until]
        sampled_s = sum(point.span_s for point in inside)
        covered_s = min(covered_s, sampled_s)
        if sampled_s > 0:
            known = True
            value += sum(point.amount_s for point in inside) / sampled_s
    return Mean(value, covered_s) if known else None


def newest(series: Samples, until: float) -> float | None:
    """The end of the newest sample, as of `until`; None where there is none."""
    ends = [point.at for points in series.points.values() for point in points[-1:] if point.at <= until]
    return max(ends, default=None)


def quantile_s(durations: Sequence[int], share: float) -> float | None:
    """The duration that this share of requests stayed within, from counts by `DURATION_BUCKETS_S` and one more.

    Interpolated within a bucket; of what is in the last one only its lower end is known. None without requests.
    """
    rank = sum(durations) * share
    if rank <= 0:
        return None
    lower = below = 0.0
    for upper, count in zip(DURATION_BUCKETS_S, durations, strict=False):
        if count and below + count >= rank:
            return lower + (upper - lower) * (rank - below) / count
        lower, below = upper, below + count
    return lower
