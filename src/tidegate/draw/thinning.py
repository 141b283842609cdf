"""Long series without what nobody could see: per column of the picture its first, lowest, highest and last value.

So each peak is kept. A gap is kept where it fills a column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tidegate.draw.scales import known

Point = tuple[float, float]
Run = list[Point]
"""Neighbouring points that are joined by a line."""
PER_COLUMN = 4
TIME_MAX_S = 1e15


def check_times(times: Sequence[float]) -> None:
    """Raises `ValueError` for times that are not finite seconds in order."""
    in_order = all(before <= after for before, after in pairwise(times))
    if len(times) and not (in_order and -TIME_MAX_S <= times[0] <= times[-1] <= TIME_MAX_S):
        raise ValueError(f"times must be seconds in order, between -{TIME_MAX_S:g} and {TIME_MAX_S:g}")


def runs(times: Sequence[float], values: Sequence[float | None], columns: int) -> list[Run]:
    """The points in runs, a gap between two runs; of long series at most four a column. `times` are checked ones."""
    if len(times) != len(values):
        raise ValueError(f"{len(times)} times for {len(values)} values")
    width = (times[-1] - times[0]) / columns if len(times) > PER_COLUMN * columns else 0.0
    if width > 0:
        return _thinned(times, values, width, columns)
    found: list[Run] = [[]]
    for at, value in zip(times, values, strict=True):
        number = known(value)
        if number is not None:
            found[-1].append((float(at), number))
        elif found[-1]:
            found.append([])
    return [run for run in found if run]


@dataclass(slots=True)
class _PixelColumn:
    """What is kept of one column; `first` is None where it has no value."""

    first: Point | None = None
    low: Point = (0.0, 0.0)
    high: Point = (0.0, 0.0)
    last: Point = (0.0, 0.0)

    def take(self, point: Point) -> None:
        if self.first is None:
            self.first = self.low = self.high = point
        elif point[1] < self.low[1]:
            self.low = point
        elif point[1] > self.high[1]:
            self.high = point
        self.last = point

    def points(self) -> list[Point]:
        return [] if self.first is None else sorted({self.first, self.low, self.high, self.last}, key=_at)


def _thinned(times: Sequence[float], values: Sequence[float | None], width: float, columns: int) -> list[Run]:
    found: list[Run] = [[]]
    start, number_now, column = times[0], 0, _PixelColumn()
    for at, value in zip(times, values, strict=True):
        number = min(int((at - start) / width), columns - 1)
        if number != number_now:
            _end(found, column)
            number_now, column = number, _PixelColumn()
        if (is_known := known(value)) is not None:
            column.take((float(at), is_known))
    _end(found, column)
    return [run for run in found if run]


def envelope(
    times: Sequence[float], lower: Sequence[float | None], upper: Sequence[float | None], columns: int
) -> list[list[tuple[float, float, float]]]:
    """(time, lower, upper) in runs, infinite ends as they are; of long series one a column, the widest there is."""
    if not len(times) == len(lower) == len(upper):
        raise ValueError(f"{len(times)} times for {len(lower)} lower and {len(upper)} upper ends")
    width = (times[-1] - times[0]) / columns if len(times) > PER_COLUMN * columns else 0.0
    found: list[list[tuple[float, float, float]]] = [[]]
    column = None
    for at, low, high in zip(times, lower, upper, strict=True):
        if low is None or high is None or math.isnan(low) or math.isnan(high):
            if width <= 0 and found[-1]:
                found.append([])
            continue
        its = int((at - times[0]) / width) if width > 0 else None
        if its is None or its != column:
            if column is not None and its is not None and its > column + 1 and found[-1]:
                found.append([])
            column = its
            found[-1].append((float(at), float(low), float(high)))
        else:
            first, lowest, highest = found[-1][-1]
            found[-1][-1] = (first, min(lowest, float(low)), max(highest, float(high)))
    return [run for run in found if run]


def _end(found: list[Run], column: _PixelColumn) -> None:
    """A column that was entered and has no value is a gap; one between two sparse samples is none."""
    if points := column.points():
        found[-1].extend(points)
    elif found[-1]:
        found.append([])


def _at(point: Point) -> float:
    return point[0]
