"""How busy versions were over the last minutes, point by point, for those who look at a plot of it.

A point is None, never 0, where no gateway reported on it, or where one that ran at that time did not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tidegate.core.scaling import load as core
from tidegate.errors import InvalidArgument
from tidegate.services.gateways.load import KEPT_S, Busy, KeptReport, Load
from tidegate.wire.load import DURATION_BUCKETS_S, LoadSeries, VersionSeries

STEP_S, STEP_S_MIN, STEP_S_MAX = 5.0, 2.0, 60.0
"""Gateways report once a second, so two seconds always have a report."""


def load_series(load: Load, endpoint: str, versions: Sequence[str], step_s: float, now: float) -> LoadSeries:
    """Points of `step_s` seconds, at multiples of it on the wall clock, whose time is `now`. Raises `InvalidArgument`.

    With `""` among the versions, requests refused before one was chosen are in it too, where there were any.
    """
    if not STEP_S_MIN <= step_s <= STEP_S_MAX:  # NaN is in no range
        raise InvalidArgument(f"step_s must be from {STEP_S_MIN:g} to {STEP_S_MAX:g}", field="step_s")
    reports = load.reports()
    last = math.floor(now / step_s) * step_s
    times = [last - step_s * back for back in range(int(KEPT_S / step_s) - 1, -1, -1)]
    ahead_s = now - reports.at  # of the monotonic clock that reports came by
    ends = [at - ahead_s for at in [times[0] - step_s, *times]]
    columns = [_columns(of_one, ends, name in reports.silent) for name, of_one in reports.by_gateway.items()]
    found = {version: _version(columns, (endpoint, version), len(times)) for version in dict.fromkeys(versions)}
    if not any(found.get("", VersionSeries()).requests_per_s):
        found.pop("", None)
    return LoadSeries(step_s, times, found, len(reports.silent))


@dataclass(frozen=True)
class _Column:
    """One gateway's reports on the seconds of one point, and which were truncated; `due`: it ran at that time."""

    covered_s: float
    busy: list[Mapping[tuple[str, str], Busy]]
    truncated: Sequence[Mapping[tuple[str, str], Busy]]
    due: bool

    def knows(self, place: tuple[str, str]) -> bool:
        """Whether it has the version's load of that time."""
        return (self.covered_s > 0 or not self.due) and all(place in busy for busy in self.truncated)


def _columns(reports: Sequence[KeptReport], ends: Sequence[float], silent: bool) -> list[_Column]:
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
        columns.append(_Column(covered_s, [one.busy for one in inside], truncated, since < end and start < until))
    return columns


def _version(gateways: Sequence[Sequence[_Column]], place: tuple[str, str], count: int) -> VersionSeries:
    series = VersionSeries()
    for index in range(count):
        at_once = [columns[index] for columns in gateways]
        reported = [column for column in at_once if column.covered_s > 0]
        if not reported or not all(column.knows(place) for column in at_once):
            for values in (series.requests_per_s, series.errors_per_s, series.concurrency, series.p95_s):
                values.append(None)
            continue
        concurrency = requests = errors = 0.0
        durations = [0] * (len(DURATION_BUCKETS_S) + 1)
        for column in reported:
            for busy in (every[place] for every in column.busy if place in every):
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
