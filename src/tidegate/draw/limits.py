"""Values beside the limits that they must keep: a row for each, along a scale of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tidegate.draw.frame import RIGHT
from tidegate.draw.markup import element, shortened, text
from tidegate.draw.plot import Key, Plot, PlotTable, chosen, picture
from tidegate.draw.scales import MISSING, AxisScale, domain, known, rounded_out, written

ROWS_MAX = 20
ROW_HEIGHT, TOP = 46.0, 4.0
WIDTH = 480.0
NAME_CHARS_MAX, NOTE_CHARS_MAX = 28, 44
_MIDDLE = 25.0

LimitState = Literal["unknown", "ok", "breached", "undecided"]
_LOOKS: dict[LimitState, str] = {"ok": "s1", "undecided": "s2", "breached": "trouble", "unknown": "idle"}


@dataclass(frozen=True)
class Limit:
    """A value, how far it may really be (`bound`, None where nothing is known), and what it must keep.

    `is_least`: it must not be below the limit, rather than not above it. `state` is said in a word.
    """

    name: str
    value: float | None
    bound: float | None
    limit: float
    is_least: bool = False
    state: LimitState = "unknown"
    unit: str = ""


def limits(title: str, given: Sequence[Limit], description: str = "") -> Plot:
    """For each its value as a dot, from there to its bound a line, and beyond the limit where neither may be.

    The scales of two rows have nothing to do with each other: each ends where what it shows does.
    """
    drawn = given[:ROWS_MAX]
    height = TOP + ROW_HEIGHT * max(len(drawn), 1)
    parts = [_row(one, TOP + ROW_HEIGHT * index) for index, one in enumerate(drawn)]
    if not drawn:
        parts.append(
            element("text", "nothing", class_="empty", x=WIDTH / 2, y=TOP + ROW_HEIGHT / 2, text_anchor="middle")
        )
    said = " ".join([description, *(f"{one.name}: {_words(one)}, {one.state}." for one in drawn)]).strip()
    headers = ["name", "value", "bound", "limit", "unit", "state"]
    rows = [_cells(given[at]) for at in chosen(len(given))]
    return Plot(
        picture(title, said, (WIDTH, height), "".join(parts)), PlotTable(title, headers, rows, len(given)), _KEYS
    )


def _key(name: str, markup: str) -> Key:
    return Key(name, element("svg", markup, class_="key", width=22, height=10, aria_hidden="true"))


_KEYS = (
    _key(
        "value, and how far it may be",
        element("path", d="M4 5H20", class_="reach s1") + element("circle", cx=5.0, cy=5.0, r=3.5, class_="s1 dot"),
    ),
    _key("limit, and beyond it", element("rect", x=8, y=0, width=14, height=10, class_="beyond")
         + element("path", d="M8 0V10", class_="limit")),
)  # fmt: skip


def _row(one: Limit, top: float) -> str:
    x, y = _scale(one), top + _MIDDLE
    look = _LOOKS[one.state]
    parts = [
        element("path", d=f"M{x.start:g} {y:g}H{x.end:g}", class_="track"),
        _beyond(one, x, y),
        element("text", text(shortened(one.name, NAME_CHARS_MAX)), x=0, y=top + 12),
        element("text", text(shortened(_words(one), NOTE_CHARS_MAX)), x=x.end, y=top + 12, text_anchor="end"),
    ]
    value, bound = known(one.value), one.bound
    if value is not None:
        if bound is not None and not math.isnan(bound):
            parts.append(element("path", d=f"M{x(value):.1f} {y:g}H{x(bound):.1f}", class_=f"reach {look}"))
        parts.append(element("circle", cx=x(value), cy=y, r=4.5, class_=f"{look} dot"))
    return "".join(parts)


def _beyond(one: Limit, x: AxisScale, y: float) -> str:
    limit = known(one.limit)
    if limit is None:
        return ""
    at = x(limit)
    begin, end = (x.start, at) if one.is_least else (at, x.end)
    where = element("rect", x=begin, y=y - 7, width=max(end - begin, 0.0), height=14, class_="beyond")
    return where + element("path", d=f"M{at:.1f} {y - 9:g}V{y + 9:g}", class_="limit")


def _scale(one: Limit) -> AxisScale:
    """So that the limit is never at the edge, and a bound far beyond leaves room for the value."""
    there = [number for one_ in (one.value, one.bound, one.limit) if (number := known(one_)) is not None]
    low, high = domain(there, from_zero=True)
    room = (high - low) * 0.25
    low, high = (low - room if low < 0 else low), (high + room if high > 0 else high)
    return AxisScale(*rounded_out(low, high, 10), 6.0, WIDTH - RIGHT)


def _words(one: Limit) -> str:
    unit = f" {one.unit}" if one.unit else ""
    value, bound = known(one.value), known(one.bound)
    limit = f"at {'least' if one.is_least else 'most'} {_number(one.limit)}{unit}"
    if value is None:
        return f"not known, {limit}"
    reach = "" if bound is None else f" ({'up' if bound >= value else 'down'} to {written(bound)}{unit})"
    return f"{written(value)}{unit}{reach}, {limit}"


def _number(value: float) -> str:
    return MISSING if known(value) is None else written(value)


def _cells(one: Limit) -> list[str]:
    def cell(value: float | None) -> str:
        return MISSING if value is None or math.isnan(value) else f"{value:.6g}"

    limit = f"at {'least' if one.is_least else 'most'} {cell(one.limit)}"
    return [shortened(one.name, 200), cell(one.value), cell(one.bound), limit, one.unit or MISSING, one.state]
