"""Ticks of a time axis, at round moments of UTC, and times as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime

from tidegate.draw.scales import ticks, written

DAY_S = 86_400.0
_STEPS_S = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0,
    3600.0, 2 * 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0, DAY_S, 2 * DAY_S, 7 * DAY_S, 14 * DAY_S,
)  # fmt: skip
_MONTHS = (1, 3, 6, 12, 24, 60, 120, 240, 600, 1200)
_MONTH_S = 30.44 * DAY_S
_EPOCH_MONDAY_S = 4 * DAY_S
"""1970-01-05: steps of weeks begin on Mondays."""
_FIRST_S, _LAST_S = -62_135_596_800.0, 253_402_300_799.0
"""The years 1 to 9999."""


def time_ticks(low: float, high: float, count_max: int) -> list[tuple[float, str]]:
    """Round moments from `low` to `high` (seconds since 1970), at most `count_max`, each with its label."""
    if not _FIRST_S <= low < high <= _LAST_S:
        return [(at, written(at)) for at in ticks(low, high, count_max)]
    for step_s in _STEPS_S:
        fitting = count_max if step_s >= 1 else max(count_max // 2, 1)  # labels with milliseconds are longer
        found = list(_every(step_s, low, high, fitting + 1))
        if len(found) <= fitting:
            return [(at, _label(at, step_s)) for at in found]
    for months in _MONTHS:
        starts = list(_months(months, low, high, count_max + 1))
        if len(starts) <= count_max:
            return [(at.timestamp(), f"{at:%b %Y}" if months < 12 else f"{at:%Y}") for at in starts]
    return []


def moment(at: float) -> str:
    """A time to the second, as in a table."""
    if not _FIRST_S <= at <= _LAST_S:
        return written(at)
    return f"{datetime.fromtimestamp(math.floor(at), UTC):%Y-%m-%d %H:%M:%S}Z"


def _every(step_s: float, low: float, high: float, count_max: int) -> Iterator[float]:
    offset = _EPOCH_MONDAY_S if step_s >= 7 * DAY_S else 0.0
    first = math.ceil((low - offset) / step_s)
    last = min(math.floor((high - offset) / step_s), first + count_max - 1)
    for index in range(first, last + 1):
        yield offset + index * step_s


def _months(months: int, low: float, high: float, count_max: int) -> Iterator[datetime]:
    begin = datetime.fromtimestamp(low, UTC)
    index = math.floor((begin.year * 12 + begin.month - 1) / months) * months
    found = 0
    while found < count_max and index // 12 <= 9999:
        if index >= 12:
            at = datetime(index // 12, index % 12 + 1, 1, tzinfo=UTC)
            if at.timestamp() > high:
                return
            if at.timestamp() >= low:
                found += 1
                yield at
        index += months


def _label(at: float, step_s: float) -> str:
    of_day = at % DAY_S
    when = datetime.fromtimestamp(at, UTC)
    if step_s >= DAY_S or (of_day == 0 and step_s >= 60):
        return f"{when.day} {when:%b}"
    if step_s >= 60:
        return f"{when:%H:%M}"
    if step_s >= 1:
        return f"{when:%H:%M:%S}"
    return f"{when:%H:%M:%S}.{round(at % 1 * 1000) % 1000:03d}"
