"""How an endpoint's versions did over time: from counters at the edges of time slots to figures. Pure.

`services/overview/performance` reads the curves. What nobody measured is None, never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

K = TypeVar("K")
Values = Sequence[float | None]


@dataclass(frozen=True)
class Curve:
    """A metric's values at the edges, first to last; None where there was none. `labels` has `__name__` too."""

    labels: Mapping[str, str]
    values: Values

    @property
    def name(self) -> str:
        return self.labels.get("__name__", "")


@dataclass(frozen=True)
class Growth:
    """What counters grew by within some time, by code and by bucket (upper bound in seconds, cumulative)."""

    codes: dict[str, float] = field(default_factory=dict)
    buckets: dict[float, float] = field(default_factory=dict)
    rows: float = 0.0
    queue_s: float = 0.0
    compute_s: float = 0.0

    @property
    def requests(self) -> float:
        return sum(self.codes.values())

    def count(self, *beginnings: str) -> float:
        """Requests whose code begins so."""
        return sum(count for code, count in self.codes.items() if code.startswith(beginnings))

    def quantile_s(self, share: float) -> float | None:
        """The duration within which `share` of the requests ended, interpolated as `histogram_quantile` does.

        None without requests. Those above the largest bound count as that.
        """
        bounds = sorted(self.buckets)
        if not bounds or self.buckets[bounds[-1]] <= 0:
            return None
        rank = share * self.buckets[bounds[-1]]
        at = next(i for i, bound in enumerate(bounds) if self.buckets[bound] >= rank)
        if bounds[at] == float("inf"):
            return bounds[at - 1] if at else None
        low, below = (bounds[at - 1], self.buckets[bounds[at - 1]]) if at else (0.0, 0.0)
        inside = self.buckets[bounds[at]] - below
        return low + (bounds[at] - low) * ((rank - below) / inside if inside > 0 else 1.0)


def growth(values: Values, seen: Sequence[bool]) -> list[float | None]:
    """By how much a counter grew in each slot between two edges; None where it was not looked at (`seen`) at its end.

    A counter that is missing where it was looked for is 0: it had not begun. One that fell began anew. What it grew
    by while nobody looked is counted in the first slot after.
    """
    slots: list[float | None] = []
    before = values[0] if seen[0] else None
    before = 0.0 if seen[0] and before is None else before
    for value, looked in zip(values[1:], seen[1:], strict=True):
        if not looked:
            slots.append(None)
            continue
        now = value or 0.0
        # Without an earlier look there is no saying which part of it is older.
        slots.append(None if before is None else now - before if now >= before else now)
        before = now
    return slots


def by_slot(curves: Iterable[Curve], seen: Sequence[bool]) -> list[Growth | None]:
    """What the counters among the curves grew by in each slot, summed over their other labels."""
    slots: list[Growth | None] = [Growth() if looked else None for looked in _measured(seen)]
    totals = [_Sums() for _ in slots]
    for curve in curves:
        for total, grown in zip(totals, growth(curve.values, seen), strict=True):
            if grown is not None:
                total.add(curve, grown)
    return [None if slot is None else total.done() for slot, total in zip(slots, totals, strict=True)]


def _measured(seen: Sequence[bool]) -> list[bool]:
    return [now and any(seen[: end + 1]) for end, (_, now) in enumerate(pairwise(seen))]


def whole(slots: Iterable[Growth | None]) -> Growth | None:
    """All slots as one; None where none is known."""
    known = [slot for slot in slots if slot is not None]
    if not known:
        return None
    total = _Sums()
    for slot in known:
        total.merge(slot)
    return total.done()


class _Sums:
    def __init__(self) -> None:
        self._codes: dict[str, float] = {}
        self._buckets: dict[float, float] = {}
        self._plain = {"rows": 0.0, "queue_s": 0.0, "compute_s": 0.0}

    def add(self, curve: Curve, grown: float) -> None:
        if curve.name == "model_requests_total":
            _more(self._codes, curve.labels.get("code", ""), grown)
        elif curve.name == "model_request_duration_seconds_bucket":
            _more(self._buckets, float(curve.labels.get("le", "inf")), grown)
        elif curve.name in _PLAIN:
            self._plain[_PLAIN[curve.name]] += grown

    def merge(self, other: Growth) -> None:
        for code, count in other.codes.items():
            _more(self._codes, code, count)
        for bound, count in other.buckets.items():
            _more(self._buckets, bound, count)
        for name in self._plain:
            self._plain[name] += getattr(other, name)

    def done(self) -> Growth:
        return Growth(self._codes, self._buckets, **self._plain)


_PLAIN = {
    "model_predictions_total": "rows",
    "model_queue_seconds_total": "queue_s",
    "model_compute_seconds_total": "compute_s",
}
COUNTERS = ("model_requests_total", "model_request_duration_seconds_bucket", *_PLAIN)
"""The metrics that `by_slot` reads."""


def _more(into: dict[K, float], key: K, count: float) -> None:
    into[key] = into.get(key, 0.0) + count


def summary(values: Values, of: Callable[[Iterable[float]], float]) -> float | None:
    """`of` (max, mean) the values that are known; None without any."""
    known = [value for value in values if value is not None]
    return of(known) if known else None
