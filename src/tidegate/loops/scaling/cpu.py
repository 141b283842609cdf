"""How much CPU the replicas of versions use, as samples for the autoscaler. Owned by its loop, in memory only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from tidegate.core.ports import Handle
from tidegate.core.scaling.load import Point, Samples

CpuOf = Callable[[Sequence[Handle]], Sequence[float | None]]
"""Seconds of CPU that each replica has used so far; None where that is unknown."""

Key = tuple[str, ...]
KEPT_S = 300.0
SPAN_S_MAX = 30.0
"""After a longer gap (another one led meanwhile, the database was away) the mean of it says nothing of now."""
SOURCE = "engine"


class CpuSamples:
    """A sample is the percent of one processor that all ready replicas of a version used since the look before.

    A replica counts once it was ready at two looks: what loading took is no load. While one of them is unknown, so
    is the whole: their sum would be too little.
    """

    def __init__(self, cpu_of: CpuOf) -> None:
        self._cpu_of = cpu_of
        self._before: dict[Key, tuple[float, dict[str, float | None]]] = {}
        self._points: dict[Key, deque[Point]] = {}

    def look(self, wanted: Mapping[Key, Mapping[str, Handle]], now: float) -> None:
        """Measure the ready replicas of these versions, and forget all others."""
        handles = {replica: handle for found in wanted.values() for replica, handle in found.items()}
        used = dict(zip(handles, self._cpu_of(list(handles.values())) if handles else (), strict=True))
        self._points = {key: self._points.get(key, deque()) for key in wanted}
        for key, found in wanted.items():
            self._add(key, {replica: used[replica] for replica in found}, now)
        self._before = {key: (now, {replica: used[replica] for replica in found}) for key, found in wanted.items()}

    def series(self, key: Key, window_s: float, now: float) -> Samples:
        """The samples of one version over the last `window_s`."""
        return Samples({SOURCE: tuple(point for point in self._points.get(key, ()) if point.at > now - window_s)})

    def _add(self, key: Key, used: Mapping[str, float | None], now: float) -> None:
        at, before = self._before.get(key, (now, {}))
        points, span_s = self._points[key], now - at
        while points and points[0].at <= now - KEPT_S:
            points.popleft()
        both = [(before[replica], seconds) for replica, seconds in used.items() if replica in before]
        if not 0 < span_s <= SPAN_S_MAX or not both or any(old is None or new is None for old, new in both):
            return
        spent_s = sum(max(0.0, (new or 0.0) - (old or 0.0)) for old, new in both)
        points.append(Point(now, span_s, 100.0 * spent_s))
