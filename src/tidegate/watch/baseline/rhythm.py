"""How a baseline's traffic goes through day and week, and how much its days and hours differ beside that.

Decides what a block of rows is compared with, and how long a block has to be: with its own hours of the week where the
baseline has enough of each, else whole days. Made with the baseline; called by monitors through it.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from tidegate.errors import InvalidArgument
from tidegate.watch.baseline.seasons import CELL_ROWS_MIN, CELLS, WEEKS_MIN, Season
from tidegate.watch.budget import DEFAULT, Budget
from tidegate.watch.histograms.clustering import BLOCKS_MIN, Clustering, tabled
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.values import Floats

HOUR_S = 3_600.0
DAY_H = 24
DAYS_MAX = 366
SPANS_H = (1, 2, 3, 4, 6, 8, 12, 24)
"""Lengths of blocks that the baseline is asked about; a block is judged by the longest that is not longer than it."""

Hours = Mapping[int, Histogram]
"""One column's rows by the hour of their time: whole hours since 1970, UTC."""


@dataclass(frozen=True)
class Rhythm:
    """`seasons`: each column's cells of the week, all columns' or none's. `clusterings`: of each column, by the hours
    of a block, how alike its rows are beside what is expected of them; `losses`: of losses, which have no season.
    `days`: the mean loss of each day that has labels, in order, the newest of many.
    """

    timezone: str = "UTC"
    seasons: Mapping[str, Season] = field(default_factory=dict)
    clusterings: Mapping[str, Mapping[int, Clustering]] = field(default_factory=dict)
    losses: Mapping[int, Clustering] = field(default_factory=dict)
    days: tuple[float, ...] = ()

    @classmethod
    def of(
        cls, columns: Mapping[str, Hours], losses: Hours | None = None, timezone: str = "UTC", *, seasonal: bool = True
    ) -> Rhythm:
        """From histograms of each hour. Days that are shorter than 24 hours at either end count where they have rows.

        `seasonal`: false where the parts that blocks are compared with have no hours of the week (segments).
        """
        zone = zone_of(timezone)
        cells = {hour: cell_of(hour, zone) for hours in columns.values() for hour in hours}
        is_seasonal = seasonal and bool(columns) and all(_has_enough(hours, cells) for hours in columns.values())
        if not is_seasonal:
            clusterings = {name: _by_span(hours, zone) for name, hours in columns.items()}
            return cls(timezone, {}, clusterings, _by_span(losses or {}, zone))
        seasons, clusterings = {}, {}
        for name, hours in columns.items():
            seasons[name], clusterings[name] = _season(hours, cells)
        return cls(timezone, seasons, clusterings, _by_span(losses or {}, zone))

    def budget(self, base: Budget = DEFAULT) -> Budget:
        """How blocks close: not before an hour where hours of the week are compared, else after whole days."""
        return replace(base, block_s_min=HOUR_S if self.seasons else base.block_s_max)

    def expected(self, name: str, whole: Histogram, rows_by_hour: Mapping[int, int]) -> tuple[Histogram, Clustering]:
        """What a column of a block is compared with, and how alike the block's rows are.

        `rows_by_hour`: the block's rows in each hour since 1970, UTC.
        """
        span_h = max(rows_by_hour, default=0) - min(rows_by_hour, default=0) + 1
        clustering = at_span(self.clusterings.get(name, {}), span_h)
        season = self.seasons.get(name)
        if season is None or not any(rows_by_hour.values()):
            return whole, clustering
        zone, shares = zone_of(self.timezone), np.zeros(CELLS)
        for hour, rows in rows_by_hour.items():
            shares[cell_of(hour, zone)] += rows
        # What the reference is worth is reckoned there: its rows are none of a block's.
        return season.reference(shares / shares.sum()), replace(clustering, block_rows=1.0)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "timezone": self.timezone,
            "seasons": {name: season.as_dict() for name, season in self.seasons.items()},
            "clusterings": {name: _plain(spans) for name, spans in self.clusterings.items()},
            "losses": _plain(self.losses),
            "days": list(self.days),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], columns: Mapping[str, Histogram]) -> Rhythm:
        """The rhythm that `as_dict` wrote; `columns`: the baseline's."""
        zone_of(str(plain["timezone"]))
        return cls(
            timezone=str(plain["timezone"]),
            seasons={name: Season.from_dict(each, columns[name].layout) for name, each in plain["seasons"].items()},
            clusterings={name: _unplain(spans) for name, spans in plain["clusterings"].items()},
            losses=_unplain(plain["losses"]),
            days=tuple(float(each) for each in plain.get("days", ())),
        )


def at_span(spans: Mapping[int, Clustering], span_h: float) -> Clustering:
    """That of the longest span which is not longer, else of the shortest: longer blocks are less alike, not more."""
    fitting = [each for each in spans if each <= span_h]
    if not spans:
        return Clustering()
    return spans[max(fitting)] if fitting else spans[min(spans)]


def zone_of(name: str) -> zoneinfo.ZoneInfo:
    """The time zone; `InvalidArgument` where there is none of the name."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(
            f"There is no time zone {name!r}: give its name as in Europe/Berlin or America/New_York, or UTC.",
            field="timezone",
        ) from None


def cell_of(hour: int, zone: zoneinfo.ZoneInfo) -> int:
    """The hour of the week, from Monday 0:00 on, in which an hour since 1970 (UTC) begins there."""
    local = dt.datetime.fromtimestamp(hour * HOUR_S, zone)
    return local.weekday() * DAY_H + local.hour


def hours_of(times_s: Floats) -> dict[int, np.ndarray[Any, np.dtype[np.int64]]]:
    """The places of a table's rows by the hour of their time; rows without a time are left out."""
    known = np.flatnonzero(np.isfinite(times_s))
    hours = np.floor(times_s[known] / HOUR_S).astype(np.int64)
    order = np.argsort(hours, kind="stable")
    found, starts = np.unique(hours[order], return_index=True)
    ends = [*starts.tolist(), len(order)]
    return {
        int(hour): known[order[begin:end]] for hour, (begin, end) in zip(found.tolist(), pairwise(ends), strict=True)
    }


def daily_means(losses: Floats, hours: Mapping[int, np.ndarray[Any, Any]], timezone: str) -> tuple[float, ...]:
    """The mean loss of each day there that has labels, in order; `hours`: the places of the losses by their hour."""
    zone = zone_of(timezone)
    days: dict[dt.date, list[Floats]] = {}
    for hour in sorted(hours):
        days.setdefault(dt.datetime.fromtimestamp(hour * HOUR_S, zone).date(), []).append(losses[hours[hour]])
    known = (both[~np.isnan(both)] for both in map(np.concatenate, days.values()))
    return tuple(float(each.mean()) for each in known if each.size)[-DAYS_MAX:]


def rows_by_hour(times_s: Floats) -> dict[int, int]:
    """How many rows are in each hour since 1970 (UTC); those without a time are left out."""
    hours, rows = np.unique(np.floor(times_s[np.isfinite(times_s)] / HOUR_S), return_counts=True)
    return dict(zip(hours.astype(np.int64).tolist(), rows.tolist(), strict=True))


def _has_enough(hours: Hours, cells: Mapping[int, int]) -> bool:
    """Three weeks at least, with 500 rows at least in each hour of the week."""
    if not hours or max(hours) - min(hours) + 1 < WEEKS_MIN * CELLS:
        return False
    rows = np.zeros(CELLS)
    for hour, histogram in hours.items():
        rows[cells[hour]] += histogram.rows
    return bool(rows.min() >= CELL_ROWS_MIN)


def _by_span(hours: Hours, zone: zoneinfo.ZoneInfo) -> dict[int, Clustering]:
    """Of blocks of each length that there are enough of, hours of the day counting as differences; of whole days."""
    keys: dict[int, Callable[[int], object]] = {span: partial(_span_of, span) for span in SPANS_H}
    keys[DAY_H] = lambda hour: dt.datetime.fromtimestamp(hour * HOUR_S, zone).date()
    found: dict[int, Clustering] = {}
    for span, key in keys.items():
        blocks: dict[object, list[Histogram]] = {}
        for hour, histogram in hours.items():
            blocks.setdefault(key(hour), []).append(histogram)
        if len(blocks) >= BLOCKS_MIN:
            found[span] = Clustering.of([block[0].merge(*block[1:]) for block in blocks.values()])
    return found


def _span_of(span: int, hour: int) -> int:
    return hour // span


def _season(hours: Hours, cells: Mapping[int, int]) -> tuple[Season, dict[int, Clustering]]:
    """A column's cells, and how alike rows of blocks of each length are beside them."""
    weeks = (max(hours) - min(hours) + 1) / CELLS
    layout = next(iter(hours.values())).layout
    merged: list[list[Histogram]] = [[] for _ in range(CELLS)]
    for hour, histogram in hours.items():
        merged[cells[hour]].append(histogram)
    gathered = [Histogram.empty(layout).merge(*each) for each in merged]
    found: dict[int, Clustering] = {}
    ordered = sorted(hours)
    tables = tabled([hours[hour] for hour in ordered])
    of_cells = tabled(gathered)
    places = np.array([cells[hour] for hour in ordered])
    for span in SPANS_H:
        both = [
            _beside_season(
                counts,
                rows,
                of_cell[0][places] / np.maximum(1.0, of_cell[1][places])[:, None],
                np.array(ordered) // span,
                1 - 1 / weeks,
            )
            for (counts, rows), of_cell in zip(tables, of_cells, strict=True)
        ]
        found[span] = max(both, key=lambda each: each.correlation)
    return Season.of(gathered, weeks, found[1]), found


def _beside_season(counts: Floats, rows: Floats, expected: Floats, spans: Any, kept: float) -> Clustering:
    """Blocks of one length around what their cells have; of the differences `kept` is left, for cells are of them."""
    _, places = np.unique(spans, return_inverse=True)
    blocks = int(places.max()) + 1
    of_blocks = np.bincount(places, weights=rows, minlength=blocks).astype(np.float64)
    summed = np.zeros((blocks, counts.shape[1]))
    means = np.zeros_like(summed)
    np.add.at(summed, places, counts)
    np.add.at(means, places, expected * rows[:, None])
    filled = of_blocks > 0
    of_blocks, summed, means = of_blocks[filled], summed[filled], means[filled]
    return Clustering.of_counts(summed, of_blocks, means / of_blocks[:, None], of_blocks.size * kept)


def _plain(spans: Mapping[int, Clustering]) -> dict[str, Any]:
    return {str(span): clustering.as_dict() for span, clustering in spans.items()}


def _unplain(plain: Mapping[str, Any]) -> dict[int, Clustering]:
    return {int(span): Clustering.from_dict(each) for span, each in plain.items()}
