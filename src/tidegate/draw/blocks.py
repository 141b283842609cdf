"""Small pictures out of characters, for a row of a table in a terminal: a series, or a distribution."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.draw.scales import known, shown

BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-=+*#@"
"""From lowest to highest; the second where a terminal has no such characters."""
GAP = " "


def blocks(
    values: Sequence[float | None],
    width: int = 20,
    *,
    low: float = 0.0,
    high: float | None = None,
    is_ascii: bool = False,
) -> str:
    """A character a value, from `low` or the lowest up to the highest, or to `high`; a missing value is a blank.

    Of more than `width` values, neighbours share a character, which shows the highest of them.
    """
    if width < 1:
        raise ValueError(f"a width of {width} has no room for a character")
    found = [None if (number := known(value)) is None else shown(number) for value in values]
    groups = [_highest(found[at:to]) for at, to in _cuts(len(found), width)]
    there = [value for value in groups if value is not None]
    if not there:
        return GAP * len(groups)
    low, top = min(low, *there), max(low, *there, low if high is None else high)
    characters = ASCII if is_ascii else BLOCKS
    return "".join(GAP if value is None else characters[_step(value, low, top)] for value in groups)


def _cuts(count: int, width: int) -> list[tuple[int, int]]:
    groups = min(count, width)
    return [(index * count // groups, (index + 1) * count // groups) for index in range(groups)]


def _highest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _step(value: float, low: float, high: float) -> int:
    """The lowest character is what is nothing; whatever is more has a higher one."""
    if high <= low:
        return 0
    share = (value / 2 - low / 2) / (high / 2 - low / 2)  # halves, whose differences cannot overflow
    last = len(BLOCKS) - 1
    return 0 if share <= 0 else min(last, 1 + int(share * last * (1 - 1e-12)))
