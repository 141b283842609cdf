"""How requests ended recently, by version, from what gateways report. In memory only.

Written by API threads, read by the views of endpoints. No report is unknown, never 0.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.clock import Clock
from tidegate.wire.parts import AnsweredReport, AnsweredView

WINDOW_S, BUCKET_S = 300.0, 10.0
SILENT_S = 30.0
"""A gateway whose last report is older counts no more."""
GATEWAYS_MAX, VERSIONS_MAX = 1000, 4000

Place = tuple[str, str]
Ended = tuple[int, int, int, int]
_NOTHING: Ended = (0, 0, 0, 0)


@dataclass(frozen=True)
class _Report:
    """A gateway's last report: its counts, when it came, and since when the gateway has been listened to."""

    counts: dict[Place, Ended]
    at: float
    since: float


class Answered:
    """Adds up by how much each gateway's counts grew within the window. `live` names the gateways that route now."""

    def __init__(self, clock: Clock, live: Callable[[], set[str]]) -> None:
        self._clock, self._live = clock, live
        self._lock = threading.Lock()
        self._reports: dict[str, _Report] = {}
        self._buckets: dict[int, dict[Place, Counter[int]]] = {}

    def record(self, report: AnsweredReport) -> None:
        """A gateway's counts. The first ones only say where it stands: nobody knows when those requests were."""
        counts: dict[Place, Ended] = {
            (one.endpoint, one.version): (one.requests, one.failed, one.timed_out, one.non_finite)
            for one in report.versions[:VERSIONS_MAX]
        }
        with self._lock:
            now = self._clock()
            before = self._reports.pop(report.gateway, None)
            self._reports[report.gateway] = _Report(counts, now, before.since if before else now)
            if len(self._reports) > GATEWAYS_MAX:
                self._reports.pop(next(iter(self._reports)))
            self._forget(now)
            if before is not None:
                self._add(now, before.counts, counts)

    def of(self, endpoint: str, version: str) -> AnsweredView | None:
        """Of one version; None while no gateway reports."""
        return self.since(endpoint, version, 0.0)

    def since(self, endpoint: str, version: str, since: float) -> AnsweredView | None:
        """As `of`, of what was reported since a moment (to `BUCKET_S`), and within the window."""
        first = int(since // BUCKET_S)
        with self._lock:
            now = self._clock()
            reporting = {name: one for name, one in self._reports.items() if now - one.at <= SILENT_S}
            if not reporting:
                return None
            self._forget(now)
            total: Counter[int] = Counter()
            for bucket in (one for index, one in self._buckets.items() if index >= first):
                total.update(bucket.get((endpoint, version), {}))
            window_s = min(WINDOW_S, now - min(one.since for one in reporting.values()))
        silent = len(self._live() - reporting.keys())
        return AnsweredView(round(window_s, 1), total[0], total[1], total[2], total[3], silent)

    def _add(self, now: float, before: dict[Place, Ended], counts: dict[Place, Ended]) -> None:
        bucket = self._buckets.setdefault(int(now // BUCKET_S), {})
        for place, ended in counts.items():
            was = before.get(place, _NOTHING)
            if ended[0] > was[0]:  # fewer: it was killed, and what it had not yet written down is gone
                grown = bucket.setdefault(place, Counter())
                grown.update({index: max(0, ended[index] - old) for index, old in enumerate(was)})

    def _forget(self, now: float) -> None:
        oldest = int((now - WINDOW_S) // BUCKET_S)
        for index in [index for index in self._buckets if index < oldest]:
            del self._buckets[index]
