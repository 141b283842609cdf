"""How busy versions were over the last minutes, point by point, for those who look at a plot of it.

A point is None, never 0, where no gateway reported on it, or where one that ran at that time did not.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tidegate.clock import Clock
from tidegate.core.scaling import load as core
from tidegate.errors import InvalidArgument
from tidegate.services.gateways.load import KEPT_S, Busy, KeptReport, KeptReports, Load, Place
from tidegate.services.leadership import Leadership
from tidegate.wire.gateways.load import DURATION_BUCKETS_S, EndpointsLoad, LoadSeries, VersionSeries

STEP_S, STEP_S_MIN, STEP_S_MAX = 5.0, 2.0, 60.0
OVERVIEW_STEP_S, OVERVIEWS_KEPT_MAX = 10.0, 32
"""Gateways report once a second, so two seconds always have a report."""


@dataclass(frozen=True)
class EndpointLoads:
    """How busy one endpoint was, for whoever asks whichever control plane: gateways report to the leader alone.

    A standby asks it, with `of_leader` (its URL, the endpoint, `step_s`), which raises `NotLeader`.
    """

    load: Load
    leadership: Leadership
    of_leader: Callable[[str, str, float], LoadSeries]
    clock: Clock

    def get(self, endpoint: str, versions: Sequence[str], step_s: float) -> LoadSeries:
        """Raises `InvalidArgument`, and `NotLeader` where nobody leads, or who does cannot be asked."""
        leader = self.leadership.leader_elsewhere()
        if leader is not None:
            return self.of_leader(leader.url, endpoint, step_s)
        self.leadership.must_lead()
        return load_series(self.load, endpoint, versions, step_s, self.clock())


def load_series(load: Load, endpoint: str, versions: Sequence[str], step_s: float, now: float) -> LoadSeries:
    """Points of `step_s` seconds, at multiples of it on the wall clock, whose time is `now`. Raises `InvalidArgument`.

    With `""` among the versions, requests refused before one was chosen are in it too, where there were any.
    """
    if not STEP_S_MIN <= step_s <= STEP_S_MAX:  # NaN is in no range
        raise InvalidArgument(f"step_s must be from {STEP_S_MIN:g} to {STEP_S_MAX:g}", field="step_s")
    reports, times = load.reports(), _times(step_s, now)
    columns = _by_gateway(reports, times, step_s, now)
    found = {version: _series(columns, [(endpoint, version)], len(times)) for version in dict.fromkeys(versions)}
    if not any(found.get("", VersionSeries()).requests_per_s):
        found.pop("", None)
    return LoadSeries(step_s, times, found, len(reports.silent))


@dataclass
class LoadOverview:
    """How busy whole endpoints were: what many of them are shown by at once, each with a line in a table.

    Made once for each point in time, whoever asks: points of the past do not change.
    """

    load: Load
    _made: dict[tuple[float, float, str, int], EndpointsLoad] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, first: str, limit: int, step_s: float, now: float) -> EndpointsLoad:
        """Of up to `limit` endpoints by name from `first` on that had requests. Raises `InvalidArgument`."""
        if not STEP_S_MIN <= step_s <= STEP_S_MAX:  # NaN is in no range
            raise InvalidArgument(f"step_s must be from {STEP_S_MIN:g} to {STEP_S_MAX:g}", field="step_s")
        key = _times(step_s, now)[-1], step_s, first, limit
        with self._lock:
            if key not in self._made:
                if len(self._made) >= OVERVIEWS_KEPT_MAX:
                    self._made.clear()
                self._made[key] = self._make(first, limit, step_s, now)
            return self._made[key]

    def _make(self, first: str, limit: int, step_s: float, now: float) -> EndpointsLoad:
        reports, times = self.load.reports(), _times(step_s, now)
        columns = _by_gateway(reports, times, step_s, now)
        places: dict[str, set[Place]] = {}
        for place in {place for of_one in columns for column in of_one for busy in column.busy for place in busy}:
            places.setdefault(place[0], set()).add(place)
        shown = sorted(name for name in places if name >= first)[:limit]
        series = {name: _series(columns, sorted(places[name]), len(times)) for name in shown}
        return EndpointsLoad(step_s, times, series, len(reports.silent))


def _times(step_s: float, now: float) -> list[float]:
    last = math.floor(now / step_s) * step_s
    return [last - step_s * back for back in range(int(KEPT_S / step_s) - 1, -1, -1)]


def _by_gateway(reports: KeptReports, times: Sequence[float], step_s: float, now: float) -> list[list[_SeriesColumn]]:
    ahead_s = now - reports.at  # of the monotonic clock that reports came by
    ends = [at - ahead_s for at in [times[0] - step_s, *times]]
    return [_columns(of_one, ends, name in reports.silent) for name, of_one in reports.by_gateway.items()]


@dataclass(frozen=True)
class _SeriesColumn:
    """One gateway's reports on the seconds of one point, and which were truncated; `due`: it ran at that time."""

    covered_s: float
    busy: list[Mapping[tuple[str, str], Busy]]
    truncated: Sequence[Mapping[tuple[str, str], Busy]]
    due: bool

    def knows(self, place: tuple[str, str]) -> bool:
        """Whether it has the version's load of that time."""
        return (self.covered_s > 0 or not self.due) and all(place in busy for busy in self.truncated)


def _columns(reports: Sequence[KeptReport], ends: Sequence[float], silent: bool) -> list[_SeriesColumn]:
    columns, position = [], 0
    since, until = reports[0].at - reports[0].span_s, math.inf if silent else reports[-1].at
    for start, end in pairwise(ends):
        while position < len(reports) and reports[position].at <= start:
            position += 1
        inside = []
        while position < len(reports) and reports[position].at <= end:
            inside.append(reports[position])
            position += 1
        covered_s = sum(one.span_s for one in inside)
        truncated = [one.busy for one in inside if one.truncated]
        columns.append(_SeriesColumn(covered_s, [one.busy for one in inside], truncated, since < end and start < until))
    return columns


def _series(gateways: Sequence[Sequence[_SeriesColumn]], places: Sequence[Place], count: int) -> VersionSeries:
    """The series of all these versions together."""
    series = VersionSeries()
    for index in range(count):
        at_once = [columns[index] for columns in gateways]
        reported = [column for column in at_once if column.covered_s > 0]
        if not reported or not all(column.knows(place) for column in at_once for place in places):
            for values in (series.requests_per_s, series.errors_per_s, series.concurrency, series.p95_s):
                values.append(None)
            continue
        concurrency = requests = errors = 0.0
        durations = [0] * (len(DURATION_BUCKETS_S) + 1)
        for column in reported:
            for busy in (every[place] for every in column.busy for place in places if place in every):
                concurrency += busy.in_progress_s / column.covered_s
                requests += busy.requests / column.covered_s
                errors += busy.errors / column.covered_s
                for bucket, number in zip(busy.durations[::2], busy.durations[1::2], strict=True):
                    durations[bucket] += number
        series.requests_per_s.append(requests)
        series.errors_per_s.append(errors)
        series.concurrency.append(concurrency)
        series.p95_s.append(core.quantile_s(durations, 0.95))
    return series
