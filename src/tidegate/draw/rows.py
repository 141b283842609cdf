"""Bars in rows along one scale: amounts in their parts, each row with a mark where it was meant to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.draw.frame import RIGHT
from tidegate.draw.markup import element, shortened, text
from tidegate.draw.plot import Key, Plot, PlotTable, area_key, chosen, limit_key, picture
from tidegate.draw.scales import MISSING, AxisScale, domain, known, rounded_out, shown, ticks, written

ROWS_MAX = 20
"""More rows than this make a picture that nobody reads: the others are in the table."""
ROW_HEIGHT, BOTTOM, TOP = 34.0, 20.0, 2.0
WIDTH = 480.0
NAME_CHARS_MAX, NOTE_CHARS_MAX = 34, 34
_BAR = 11.0
_LOOKS = ("", " soft", " pale")


@dataclass(frozen=True)
class PlotRow:
    """Amounts of the parts, one after another along the row; None where one is not known. `meant`: where the row was
    meant to end, in the same unit.
    """

    name: str
    amounts: Sequence[float | None]
    meant: float | None = None


@dataclass(frozen=True)
class Parts:
    """What the parts of each row are called, in order, and what the mark of a row says."""

    names: Sequence[str]
    unit: str = ""
    meant: str = ""


def rows(title: str, parts: Parts, given: Sequence[PlotRow], description: str = "") -> Plot:
    """A bar for each row, its parts from strong to pale; all of them along one scale from 0.

    Raises `ValueError` for a row that has not one amount a part, and for more parts than can be told apart.
    """
    if not 1 <= len(parts.names) <= len(_LOOKS):
        raise ValueError(f"{len(parts.names)} parts: between 1 and {len(_LOOKS)} can be told apart")
    for one in given:
        if len(one.amounts) != len(parts.names):
            raise ValueError(f"{one.name!r} has {len(one.amounts)} amounts for {len(parts.names)} parts")
    drawn = given[:ROWS_MAX]
    height = TOP + BOTTOM + ROW_HEIGHT * max(len(drawn), 1)
    ends = [shown(max(_sum(one.amounts), known(one.meant) or 0.0)) for one in drawn]
    x = AxisScale(*rounded_out(*domain(ends, from_zero=True), 4), 0.0, WIDTH - RIGHT - 22)
    marks = [_grid(x, height)]
    marks += [_row(one, index, x, parts) for index, one in enumerate(drawn)]
    if not drawn:
        marks.append(
            element("text", "nothing", class_="empty", x=WIDTH / 2, y=TOP + ROW_HEIGHT / 2, text_anchor="middle")
        )
    said = " ".join([description, *(f"{one.name}: {_said(one, parts)}." for one in drawn)]).strip()
    svg = picture(title, said, (WIDTH, height), "".join(marks))
    headers = ["row", *(f"{name} ({parts.unit})" if parts.unit else name for name in parts.names)]
    headers += [parts.meant] if parts.meant else []
    return Plot(svg, PlotTable(title, headers, [_cells(given[at], parts) for at in chosen(len(given))], len(given)),
                _keys(parts))  # fmt: skip


def _keys(parts: Parts) -> tuple[Key, ...]:
    keys = [area_key(name, f"f1{_LOOKS[index]}") for index, name in enumerate(parts.names)]
    return (*keys, *([limit_key(parts.meant)] if parts.meant else []))


def _grid(x: AxisScale, height: float) -> str:
    places = ticks(x.low, x.high, 5)
    step = places[1] - places[0] if len(places) > 1 else None
    parts = []
    for at in places:
        parts.append(element("path", d=f"M{x(at):.1f} {TOP:g}V{height - BOTTOM + 3:g}"))
        anchor = "start" if at == places[0] else "middle"
        parts.append(element("text", written(at, step), x=x(at), y=height - 5, text_anchor=anchor))
    return element("g", "".join(parts), class_="grid")


def _row(one: PlotRow, index: int, x: AxisScale, parts: Parts) -> str:
    top, at = TOP + ROW_HEIGHT * index, 0.0
    name = element("text", text(shortened(one.name, NAME_CHARS_MAX)), x=0, y=top + 13)
    note = element("text", text(shortened(_said(one, parts), NOTE_CHARS_MAX)), x=x.end, y=top + 13, text_anchor="end")
    bars = []
    for look, amount in zip(_LOOKS, one.amounts, strict=False):
        if size := max(known(amount) or 0.0, 0.0):
            width = max(x(at + size) - x(at), 1.0)
            bars.append(element("rect", x=x(at), y=top + 18, width=width, height=_BAR, class_=f"f1{look}"))
            at += size
    meant = known(one.meant)
    mark = element("path", d=f"M{x(meant):.1f} {top + 16:g}V{top + 31:g}", class_="limit") if meant is not None else ""
    return name + note + "".join(bars) + mark


def _sum(amounts: Sequence[float | None]) -> float:
    return sum(max(known(amount) or 0.0, 0.0) for amount in amounts)


def _said(one: PlotRow, parts: Parts) -> str:
    unit = f" {parts.unit}" if parts.unit and len(parts.names) == 1 else ""
    amounts = [f"{_amount(amount)}{unit} {name}" for amount, name in zip(one.amounts, parts.names, strict=True)]
    if parts.meant and known(one.meant) is not None:
        amounts.append(f"{parts.meant} {_amount(one.meant)}{unit}")
    return ", ".join(amounts)


def _cells(one: PlotRow, parts: Parts) -> list[str]:
    return [one.name, *map(_amount, one.amounts), *([_amount(one.meant)] if parts.meant else [])]


def _amount(value: float | None) -> str:
    number = known(value)
    if number is None:
        return MISSING
    return f"{number:,.0f}" if number == round(number) and abs(number) < 1e7 else written(number)
