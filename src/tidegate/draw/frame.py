"""The frame of a plot over time: its two axes with grid and labels, and where a value stands in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidegate.draw.markup import element, shortened, text
from tidegate.draw.scales import AxisScale, domain, rounded_out, ticks, written
from tidegate.draw.times import time_ticks

LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 20.0, 22.0
"""What labels need around the area, in units; with letters twice the size they still fit on a narrow screen."""
LABEL_WIDTH = 74.0
GRID_LINES = 5
EVENTS_MAX = 50
MARK_CHARS_MAX = 16


@dataclass(frozen=True)
class PlotSize:
    """Of the picture, in CSS pixels at its natural width: pages stretch and shrink it."""

    width: float = 480.0
    height: float = 180.0


USUAL = PlotSize()


@dataclass(frozen=True)
class Axis:
    """How values are read. `from_zero`: the axis begins at 0, as it should for amounts; not for scores.

    `level` is a name and a value of interest, such as a threshold or no difference at all, drawn as a dashed line.
    `events` are moments of trouble by name, such as alerts: the first `EVENTS_MAX` of them as upright lines. `marks`
    are moments that are none: a decision, a new phase.
    """

    unit: str = ""
    from_zero: bool = True
    level: tuple[str, float] | None = None
    events: Sequence[tuple[str, float]] = ()
    marks: Sequence[tuple[str, float]] = ()

    def said(self, value: float | None) -> str:
        """The value with its unit."""
        if value is None:
            return "no data"
        return f"{written(value)} {self.unit}".strip()


@dataclass(frozen=True)
class Axes:
    """Places of times (`x`) and values (`y`), and the markup of the axes."""

    x: AxisScale
    y: AxisScale
    markup: str

    @property
    def columns(self) -> int:
        """How many places side by side can be told apart."""
        return int(self.x.end - self.x.start)


def framed(size: PlotSize, axis: Axis, times: tuple[float, float] | None, values: Iterable[float]) -> Axes:
    """Axes for known values between the first and the last time; None: nothing is known, which the frame says."""
    found = list(values)
    level = [] if axis.level is None else [axis.level[1]]
    low, high = domain([*found, *level], axis.from_zero)
    low, high = rounded_out(low, high, GRID_LINES)
    y = AxisScale(low, high, size.height - BOTTOM, TOP)
    first, last = times or (0.0, 1.0)
    if first == last:
        first, last = first - 30.0, last + 30.0
    x = AxisScale(first, last, LEFT, size.width - RIGHT)
    parts = [grid(x, y, labelled=bool(found or level))]
    if axis.unit:
        parts.append(element("text", text(shortened(axis.unit, 40)), x=0, y=11, class_="unit"))
    if times is not None:
        parts.append(element("g", time_labels(x, size.height), class_="x"))
    if axis.level is not None:
        parts.append(element("path", d=f"M{x.start:g} {y(axis.level[1]):.1f}H{x.end:g}", class_="level"))
    if times is not None:
        parts.append(_moments(axis.marks, x, y, "mark") + _mark_names(axis.marks, x, y))
        parts.append(_moments(axis.events, x, y, "event"))
    if not found:
        parts.append(no_data(x, y))
    return Axes(x, y, "".join(parts))


def _moments(moments: Sequence[tuple[str, float]], x: AxisScale, y: AxisScale, look: str) -> str:
    """Those that lie within the time axis."""
    inside = [(name, at) for name, at in moments if x.low <= at <= x.high][:EVENTS_MAX]
    drawn = [
        element("path", element("title", text(shortened(name))), d=f"M{x(at):.1f} {y.start:g}V{y.end:g}", class_=look)
        for name, at in inside
    ]
    return "".join(drawn)


def _mark_names(marks: Sequence[tuple[str, float]], x: AxisScale, y: AxisScale) -> str:
    """Names over the marks that have room for theirs; all are in the legend."""
    labels, free = [], x.start
    for name, at in sorted(marks, key=lambda mark: mark[1]):
        half = len(shortened(name, MARK_CHARS_MAX)) * 4.0
        middle = min(x(at), x.end + RIGHT - half)
        if x.low <= at <= x.high and middle - half >= free:
            shown = text(shortened(name, MARK_CHARS_MAX))
            labels.append(element("text", shown, x=middle, y=y.end - 5, text_anchor="middle"))
            free = middle + half
    return "".join(labels)


def no_data(x: AxisScale, y: AxisScale) -> str:
    """What stands in the middle where nothing can be drawn."""
    middle = (x.start + x.end) / 2, (y.start + y.end) / 2
    return element("text", "no data", class_="empty", x=middle[0], y=middle[1], text_anchor="middle")


def grid(x: AxisScale, y: AxisScale, unit: str = "", *, labelled: bool = True, lines: int = GRID_LINES) -> str:
    """A line at each round value, with the value before it; at most `lines` above the lowest."""
    places = ticks(y.low, y.high, lines + 1)
    step = places[1] - places[0] if len(places) > 1 else None
    drawn = []
    for at in places:
        drawn.append(element("path", d=f"M{x.start:g} {y(at):.1f}H{x.end:g}"))
        if labelled:
            drawn.append(element("text", f"{written(at, step)}{unit}", x=x.start - 6, y=y(at) + 4, text_anchor="end"))
    return element("g", "".join(drawn), class_="grid")


def time_labels(x: AxisScale, height: float) -> str:
    """Round moments along the bottom of a picture of this height."""
    count_max = max(2, int((x.end - x.start) // LABEL_WIDTH))
    labels = [
        element("text", text(label), x=_within(x(at), label, x), y=height - 5, text_anchor="middle")
        for at, label in time_ticks(x.low, x.high, count_max)
    ]
    return element("text", "UTC", x=0, y=height - 5) + "".join(labels)


def _within(place: float, label: str, x: AxisScale) -> float:
    """So that no label is cut off at the right."""
    return min(place, x.end + RIGHT - len(label) * 4)
