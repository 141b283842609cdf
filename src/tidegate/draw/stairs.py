"""An amount that is raised step by step over time, such as a canary's share of traffic: how it went, what is ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.draw.frame import USUAL, Axis, PlotSize, framed
from tidegate.draw.markup import element, shortened, text
from tidegate.draw.plot import Key, Plot, PlotTable, area_key, chosen, event_key, picture
from tidegate.draw.scales import MISSING, known, shown, written
from tidegate.draw.thinning import check_times
from tidegate.draw.times import moment

STEPS_MAX = 100
"""Steps that are drawn, the last ones, at most; the table chooses among all."""
AMOUNTS = Axis("%")
LABEL_WIDTH = 30.0
"""A step narrower than this has its amount in the table alone."""


@dataclass(frozen=True)
class Stair:
    """An amount from `begin` to `end` (seconds since 1970). `is_ahead`: it is planned, and may come otherwise.

    `note` says why it ended, or goes on.
    """

    amount: float
    begin: float
    end: float
    note: str = ""
    is_ahead: bool = False


def stairs(
    title: str, given: Sequence[Stair], axis: Axis = AMOUNTS, size: PlotSize = USUAL, description: str = ""
) -> Plot:
    """Each step as an area under its amount; what is ahead as a dashed outline.

    Raises `ValueError` for steps that do not follow one another in time, as seconds.
    """
    check_times([at for one in given for at in (one.begin, one.end)])
    drawn = given[-STEPS_MAX:]
    span = (drawn[0].begin, drawn[-1].end) if drawn else None
    frame = framed(size, axis, span, [shown(number) for one in drawn if (number := known(one.amount)) is not None])
    areas = []
    for one in drawn:
        if (amount := known(one.amount)) is None:
            continue
        left, right, top = frame.x(one.begin), frame.x(one.end), frame.y(amount)
        said = element("title", text(shortened(_said(one, axis), 200)))
        box = {"x": left, "y": top, "width": max(right - left, 1.0), "height": max(frame.y.start - top, 1.0)}
        areas.append(element("rect", said, **box, class_="ahead" if one.is_ahead else "now"))
        if right - left >= LABEL_WIDTH:
            label = f"{written(amount)} {axis.unit}".strip()
            areas.append(element("text", text(label), x=(left + right) / 2, y=max(top - 4, 10.0), text_anchor="middle"))
    words = " ".join([description, *(f"{_said(one, axis)}." for one in drawn[-10:])]).strip()
    svg = picture(title, words, (size.width, size.height), frame.markup + "".join(areas))
    rows = [_cells(given[at]) for at in chosen(len(given))]
    headers = [f"amount ({axis.unit})" if axis.unit else "amount", "from", "to", "why"]
    return Plot(svg, PlotTable(title, headers, rows, len(given)), _keys(given, axis))


def _keys(given: Sequence[Stair], axis: Axis) -> tuple[Key, ...]:
    keys = [area_key("as it went", "now")] if any(not one.is_ahead for one in given) else []
    if any(one.is_ahead for one in given):
        outline = element("rect", x=1, y=1, width=20, height=8, class_="ahead")
        keys.append(Key("ahead, on evidence", element("svg", outline, class_="key", width=22, height=10,
                                                      aria_hidden="true")))  # fmt: skip
    events = [event_key(name, "") for name in dict.fromkeys(name for name, _at in axis.events)]
    return (*keys, *events)


def _said(one: Stair, axis: Axis) -> str:
    amount = f"{written(one.amount)} {axis.unit}".strip() if known(one.amount) is not None else "an unknown share"
    about = "planned" if one.is_ahead else "from"
    note = f": {one.note}" if one.note else ""
    return f"{amount} {about} {moment(one.begin)} to {moment(one.end)}{note}"


def _cells(one: Stair) -> list[str]:
    amount = known(one.amount)
    until = f"{moment(one.end)}{' (planned)' if one.is_ahead else ''}"
    return [
        MISSING if amount is None else f"{amount:.6g}",
        moment(one.begin),
        until,
        shortened(one.note, 300) or MISSING,
    ]
