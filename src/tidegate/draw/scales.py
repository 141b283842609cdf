"""From values to places along an axis: which part is shown, where its ticks are, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

VALUE_MAX = 1e300
"""What lies beyond is shown here, so that no difference of two values overflows; tables have the value itself."""
MISSING = "–"  # noqa: RUF001 - a dash is what tables have for nothing
_SUFFIXES = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e4, " k"))
_SUFFIX_SIZE = {" T": 1e12, " G": 1e9, " M": 1e6, " k": 1e3}


def known(value: float | None) -> float | None:
    """The value as a plain float; None for what is missing: None, NaN and infinity."""
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def shown(value: float) -> float:
    """A value as near as it can be drawn; infinity too."""
    return min(max(value, -VALUE_MAX), VALUE_MAX)


@dataclass(frozen=True)
class AxisScale:
    """Values from `low` to `high` (low < high) onto places from `start` to `end`; others onto the nearer end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (shown(value) - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def domain(values: Iterable[float], from_zero: bool) -> tuple[float, float]:
    """What an axis shows of these known values. `from_zero` takes zero in where they are all on one side of it.

    One value alone, or the same again and again, gets room on both sides.
    """
    low, high = math.inf, -math.inf
    for value in values:
        low, high = min(low, value), max(high, value)
    if low > high:
        return 0.0, 1.0
    low, high = shown(low), shown(high)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= max(abs(low), abs(high)) * 1e-12 or high - low < 1e-290:
        room = abs(low) * 0.1 if abs(low) > 1e-280 else 1.0
        return (0.0, room) if from_zero else (low - room, high + room)
    return low, high


def ticks(low: float, high: float, count_max: int = 5) -> list[float]:
    """Round numbers within, at most `count_max` (2 or more); a step is 1, 2 or 5 times a power of ten."""
    step = _step((high - low) / count_max)
    while math.floor(high / step) - math.ceil(low / step) + 1 > count_max:
        step = _step(step * 1.1)
    first = math.ceil(low / step)
    return [_rounded(index * step, step) for index in range(first, math.floor(high / step) + 1)]


def rounded_out(low: float, high: float, count_max: int = 5) -> tuple[float, float]:
    """The values that an axis ends at, so that its highest tick stands at or above what is drawn."""
    step = _step((high - low) / count_max)
    return _rounded(math.floor(low / step) * step, step), _rounded(math.ceil(high / step) * step, step)


def _step(rough: float) -> float:
    """The smallest round number that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    for times in (1.0, 2.0, 5.0, 10.0):
        if times * power >= rough * (1 - 1e-9):
            return times * power
    return 10.0 * power


def _rounded(value: float, step: float) -> float:
    decimals = -math.floor(math.log10(step))
    return round(value, decimals) + 0.0 if -300 < decimals < 300 else value


def written(value: float, step: float | None = None) -> str:
    """A number for people: with the decimals that a tick's `step` asks for, else with three digits.

    From ten thousand on with k, M, G or T; what is huger still, or tiny, as 1.2e+30.
    """
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-4:
        return f"{value:.3g}".replace("-", "−")  # noqa: RUF001 - a minus is as wide as a digit
    for least, suffix in _SUFFIXES:
        if size >= least:
            by = _SUFFIX_SIZE[suffix]
            return written(value / by, None if step is None else step / by) + suffix
    if step is None:
        decimals = 0 if size == 0 else max(0, 2 - math.floor(math.log10(size)))
        digits = f"{value:,.{decimals}f}"
        digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    else:
        digits = f"{value:,.{min(max(0, -math.floor(math.log10(step) + 1e-9)), 6)}f}"
    return digits.replace("-", "−")  # noqa: RUF001
