"""What monitors found as Parquet, for whoever reads it with SQL: the store's results of each hour, in one file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tidegate import clock as clocks
from tidegate.clock import Clock
from tidegate.core.captured import ResultFiles
from tidegate.services.monitoring.monitoring import RESULTS_KEPT_S
from tidegate.store import monitoring as rows
from tidegate.store.database.engine import Store

LOOK_S, REST_S_MAX = 5.0, 600.0
SHARE_MAX = 0.05
"""Of the time: hours that are written often, and have much, are written less often."""
HOUR_S = 3600.0
SWEEP_S = 3600.0


@dataclass
class ResultsKept:
    """The step of a loop of the leader. An hour's file is written again, whole, when its hour has a new result: so it
    has each result once, whoever is stopped at whatever step, and what was not written is written after a restart.
    """

    store: Store
    files: ResultFiles
    clock: Clock
    monotonic: Clock = clocks.monotonic
    _written: int | None = field(default=None, init=False)
    _swept_at: float = field(default=0.0, init=False)

    def step(self) -> float:
        """Write what is new; the seconds until the next look. Raises `OSError`, `StoreUnavailable`."""
        begun = self.monotonic()
        with self.store.reading() as tx:
            newest = rows.newest_result(tx)
            added = [] if newest == self._written else rows.added_since(tx, self._written or 0)
        for endpoint, uid, at in added:
            for hour_s in _hours(self._first(endpoint, uid, at), self.clock()):
                self._write(endpoint, uid, hour_s)
        self._written = newest
        if newest and self.clock() - self._swept_at > SWEEP_S:
            self.files.delete_before(self.clock() - RESULTS_KEPT_S)
            self._swept_at = self.clock()
        return min(REST_S_MAX, max(LOOK_S, (self.monotonic() - begun) / SHARE_MAX))

    def _first(self, endpoint: str, uid: str, at: float) -> float:
        """From when on hours are written: after a restart, the last of which there is a file and all later ones."""
        return at if self._written is not None else max(at, self.files.newest_hour(endpoint, uid) or at)

    def _write(self, endpoint: str, uid: str, hour_s: float) -> None:
        with self.store.reading() as tx:
            found = rows.results_between(tx, uid, hour_s, hour_s + HOUR_S)
        if found:
            self.files.write(endpoint, uid, hour_s, found)


def _hours(since: float, now: float) -> Iterator[float]:
    """When each hour begins, from that of `since` to that of `now`."""
    for number in range(int(since // HOUR_S), int(max(since, now) // HOUR_S) + 1):
        yield number * HOUR_S
