"""How busy versions were over the last minutes, point by point, for those who look at a plot of it.

What no gateway told of is missing, and so is a point that a gateway of then has not told of: never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tidegate.core import load as core
from tidegate.errors import InvalidArgument
from tidegate.services.load import KEPT_S, Busy, Load, Told
from tidegate.wire.load import DURATION_BUCKETS_S, LoadSeries, VersionSeries

STEP_S, STEP_S_MIN, STEP_S_MAX = 5.0, 2.0, 60.0
"""Gateways tell once a second, so two seconds always have a report."""


def load_series(load: Load, endpoint: str, versions: Sequence[str], step_s: float, now: float) -> LoadSeries:
    """Points of `step_s` seconds, at multiples of it on the wall clock, whose time is `now`. Raises `InvalidArgument`.

    With `""` among the versions, requests refused before one was chosen are told too, where there were any.
    """
    if not STEP_S_MIN <= step_s <= STEP_S_MAX:  # NaN is in no range
        raise InvalidArgument(f"step_s must be from {STEP_S_MIN:g} to {STEP_S_MAX:g}", field="step_s")
    heard = load.heard()
    last = math.floor(now / step_s) * step_s
    times = [last - step_s * back for back in range(int(KEPT_S / step_s) - 1, -1, -1)]
    ahead_s = now - heard.at  # of the monotonic clock that reports came by
    ends = [at - ahead_s for at in [times[0] - step_s, *times]]
    columns = [_columns(told, ends, name in heard.silent) for name, told in heard.told.items()]
    found = {version: _version(columns, (endpoint, version), len(times)) for version in dict.fromkeys(versions)}
    if not any(found.get("", VersionSeries()).requests_per_s):
        found.pop("", None)
    return LoadSeries(step_s, times, found, len(heard.silent))


@dataclass(frozen=True)
class _Column:
    """What one gateway told of the seconds of one point, what of it was truncated; `due`: it was there then."""

    covered_s: float
    busy: list[Mapping[tuple[str, str], Busy]]
    truncated: Sequence[Mapping[tuple[str, str], Busy]]
    due: bool

    def knows(self, place: tuple[str, str]) -> bool:
        """Whether it says what there was to do at that time."""
        return (self.covered_s > 0 or not self.due) and all(place in busy for busy in self.truncated)


def _columns(told: Sequence[Told], ends: Sequence[float], silent: bool) -> list[_Column]:
    columns, position = [], 0
    since, until = told[0].at - told[0].span_s, math.inf if silent else told[-1].at
    for start, end in pairwise(ends):
        while position < len(told) and told[position].at <= start:
            position += 1
        inside = []
        while position < len(told) and told[position].at <= end:
            inside.append(told[position])
            position += 1
        covered_s = sum(one.span_s for one in inside)
        truncated = [one.busy for one in inside if one.truncated]
        columns.append(_Column(covered_s, [one.busy for one in inside], truncated, since < end and start < until))
    return columns


def _version(gateways: Sequence[Sequence[_Column]], place: tuple[str, str], count: int) -> VersionSeries:
    series = VersionSeries()
    for index in range(count):
        at_once = [columns[index] for columns in gateways]
        told = [column for column in at_once if column.covered_s > 0]
        if not told or not all(column.knows(place) for column in at_once):
            for values in (series.requests_per_s, series.errors_per_s, series.concurrency, series.p95_s):
                values.append(None)
            continue
        concurrency = requests = errors = 0.0
        durations = [0] * (len(DURATION_BUCKETS_S) + 1)
        for column in told:
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
