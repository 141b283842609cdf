"""Values over time: lines, a value with its interval, and the small line within a row of a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tidegate.draw.frame import USUAL, Axes, Axis, PlotSize, framed
from tidegate.draw.markup import element
from tidegate.draw.plot import Key, Plot, PlotTable, chosen, event_key, level_key, line_key, picture, stroke
from tidegate.draw.scales import MISSING, AxisScale, domain, known, written
from tidegate.draw.thinning import Run, check_times, envelope, runs
from tidegate.draw.times import moment

Values = Sequence[float | None]

AMOUNTS, SCORES, SMALL = Axis(), Axis(from_zero=False), PlotSize(120.0, 28.0)
EVENT_NAMES_MAX = 3
"""So many kinds of events are named in a legend, of more their number; each says its own on hovering."""
CUT_SHARE = 0.1
"""Of the widest intervals so many may reach beyond the picture, where they would make the others flat."""
CUT_FROM = 4.0


@dataclass(frozen=True)
class Line:
    """One line of `series`; a missing value (None, NaN, infinity) is a gap."""

    name: str
    values: Values


@dataclass(frozen=True)
class Band:
    """A value over time and the interval that it lies in; an end that is infinite reaches beyond the picture."""

    name: str
    values: Values
    lower: Values
    upper: Values


def series(
    title: str,
    times: Sequence[float],
    lines: Sequence[Line],
    axis: Axis = AMOUNTS,
    size: PlotSize = USUAL,
    description: str = "",
) -> Plot:
    """Lines over time (seconds since 1970, in order). Long ones are thinned, so that every peak stays.

    Raises `ValueError` for times that are not in order, and for values without a time.
    """
    check_times(times)
    found = [runs(times, line.values, int(size.width)) for line in lines]
    frame = framed(size, axis, _ends(times), (value for every in found for run in every for _at, value in run))
    drawn = "".join(_line(every, frame, index) for index, every in enumerate(found))
    notes = [_newest(line.values, axis) for line in lines]
    said = _joined([description, *(f"{line.name}: {note}." for line, note in zip(lines, notes, strict=True))])
    keys = [line_key(line.name, index, note) for index, (line, note) in enumerate(zip(lines, notes, strict=True))]
    table = _table(title, times, [(_header(line.name, axis), line.values) for line in lines])
    svg = picture(title, said, (size.width, size.height), frame.markup + drawn)
    return Plot(svg, table, (*keys, *_of_interest(axis)))


def interval_series(
    title: str,
    times: Sequence[float],
    bands: Sequence[Band],
    axis: Axis = SCORES,
    size: PlotSize = USUAL,
    description: str = "",
) -> Plot:
    """Values over time with their intervals: a score with its bounds, or a confidence sequence.

    A few very wide intervals, as at the beginning of a sequence, are cut at the edge. Raises as `series` does.
    """
    check_times(times)
    columns = int(size.width)
    frame = framed(size, axis, _ends(times), _worth_showing(bands))
    areas = "".join(_area(times, band, frame, index) for index, band in enumerate(bands))
    found = [runs(times, band.values, columns) for band in bands]
    drawn = areas + "".join(_line(every, frame, index) for index, every in enumerate(found))
    notes = [_newest_interval(band, axis) for band in bands]
    said = _joined([description, *(f"{band.name}: {note}." for band, note in zip(bands, notes, strict=True))])
    keys = [line_key(band.name, index, note) for index, (band, note) in enumerate(zip(bands, notes, strict=True))]
    columns_of = [
        column
        for band in bands
        for column in (
            (_header(band.name, axis), band.values),
            (f"{band.name} lower", band.lower),
            (f"{band.name} upper", band.upper),
        )
    ]
    svg = picture(title, said, (size.width, size.height), frame.markup + drawn)
    return Plot(svg, _table(title, times, columns_of), (*keys, *_of_interest(axis)))


def sparkline(title: str, values: Values, size: PlotSize = SMALL, unit: str = "") -> Plot:
    """A small line without axes, from 0 or its lowest value on; for a row of a table, beside the number itself."""
    places = range(len(values))
    found = runs(places, values, int(size.width))
    low, high = domain((value for run in found for _at, value in run), from_zero=True)
    x = AxisScale(0.0, max(len(values) - 1, 1), 2.0, size.width - 2)
    y = AxisScale(low, high, size.height - 2, 2.0)
    axis = Axis(unit)
    drawn = _line(found, Axes(x, y, ""), 0)
    rows = [[str(index + 1), _cell(values[index])] for index in chosen(len(values))]
    table = PlotTable(title, ["point", unit or "value"], rows, len(values))
    return Plot(picture(title, _newest(values, axis), (size.width, size.height), drawn, "spark"), table)


def _of_interest(axis: Axis) -> list[Key]:
    level = [] if axis.level is None else [level_key(axis.level[0], axis.said(axis.level[1]))]
    marks = [event_key(name, "", "mark") for name in _names(axis.marks)]
    return level + marks + [event_key(name, "") for name in _names(axis.events)]


def _names(moments: Sequence[tuple[str, float]]) -> list[str]:
    names = list(dict.fromkeys(name for name, _at in moments))
    return names if len(names) <= EVENT_NAMES_MAX else [f"{len(moments)} events"]


def _line(found: list[Run], frame: Axes, index: int) -> str:
    """Runs as one path; a point alone as a dot."""
    joined, dots = [], []
    for run in found:
        points = [(frame.x(at), frame.y(value)) for at, value in run]
        if len(points) == 1:
            (x, y), *_ = points
            dots.append(element("circle", cx=x, cy=y, r=2.5, class_=f"{stroke(index)['class_']} dot"))
        else:
            joined.append(_path(points))
    path = element("path", d="".join(joined), **stroke(index)) if joined else ""
    return path + "".join(dots)


def _area(times: Sequence[float], band: Band, frame: Axes, index: int) -> str:
    """The interval as an area; where either end is missing there is none."""
    shapes = []
    for run in envelope(times, band.lower, band.upper, frame.columns):
        there = [(frame.x(at), frame.y(high)) for at, _low, high in run]
        back = [(frame.x(at), frame.y(low)) for at, low, _high in reversed(run)]
        if len(run) == 1:  # one interval alone has no width: a bar
            ((x, top),), ((_x, bottom),) = there, back
            there, back = [(x - 1.5, top), (x + 1.5, top)], [(x + 1.5, bottom), (x - 1.5, bottom)]
        shapes.append(f"{_path([*there, *back])}Z")
    return element("path", d="".join(shapes), class_=f"band {stroke(index)['class_']}") if shapes else ""


def _path(points: Iterable[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _worth_showing(bands: Sequence[Band]) -> Iterator[float]:
    """Every value, and of the ends of intervals those that do not make all others flat."""
    values = [number for band in bands for value in band.values if (number := known(value)) is not None]
    yield from values
    sides = (side for band in bands for side in (band.lower, band.upper))
    ends = sorted(number for side in sides for value in side if (number := known(value)) is not None)
    if not ends:
        return
    cut = int(len(ends) * CUT_SHARE / 2)
    inner = ends[cut : len(ends) - cut]
    too_wide = ends[-1] - ends[0] > CUT_FROM * (inner[-1] - inner[0])
    yield from (inner[0], inner[-1]) if too_wide else (ends[0], ends[-1])


def _ends(times: Sequence[float]) -> tuple[float, float] | None:
    return (float(times[0]), float(times[-1])) if len(times) else None


def _newest(values: Values, axis: Axis) -> str:
    """The newest value of a line, as its legend shows it."""
    return axis.said(known(values[-1])) if len(values) else "no data"


def _newest_interval(band: Band, axis: Axis) -> str:
    if not len(band.values):
        return "no data"
    value, low, high = known(band.values[-1]), known(band.lower[-1]), known(band.upper[-1])
    if value is None or (between := _between(low, high)) is None:
        return axis.said(value)
    return f"{axis.said(value)} ({between})"


def _between(low: float | None, high: float | None) -> str | None:
    """An interval in words; None where neither end is known."""
    if low is None:
        return None if high is None else f"{written(high)} or less"
    return f"{written(low)} or more" if high is None else f"{written(low)} to {written(high)}"


def _table(title: str, times: Sequence[float], columns: Sequence[tuple[str, Values]]) -> PlotTable:
    rows = [[moment(times[at]), *(_cell(values[at]) for _name, values in columns)] for at in chosen(len(times))]
    return PlotTable(title, ["time", *(name for name, _values in columns)], rows, len(times))


def _cell(value: float | None) -> str:
    """Exactly what was given: a table has no edges."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{float(value):.6g}"


def _header(name: str, axis: Axis) -> str:
    return f"{name} ({axis.unit})" if axis.unit else name


def _joined(sentences: Iterable[str]) -> str:
    return " ".join(sentence for sentence in sentences if sentence)
