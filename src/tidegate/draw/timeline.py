"""What was going on when: a row for each thing, with a bar from each beginning to its end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.draw.frame import RIGHT, time_labels
from tidegate.draw.markup import element, shortened, text
from tidegate.draw.plot import Plot, PlotTable, chosen, picture
from tidegate.draw.scales import MISSING, AxisScale
from tidegate.draw.times import moment

ROWS_MAX, SPANS_MAX = 30, 200
"""More than this make a picture that nobody reads: the others are in the table."""
ROW_HEIGHT, BOTTOM, TOP = 30.0, 22.0, 4.0
WIDTH = 640.0
_BAR, _LEFT = 9.0, 44.0
NAME_CHARS_MAX = 70


@dataclass(frozen=True)
class TimelineSpan:
    """From `begin` to `end` (seconds since 1970; None: it goes on). `look` is the class of its bar, a severity."""

    name: str
    begin: float
    end: float | None
    look: str
    note: str = ""


def timeline(title: str, spans: Sequence[TimelineSpan], window: tuple[float, float], description: str = "") -> Plot:
    """Spans as they lie within the window (seconds since 1970), in rows under their names.

    Spans of one name share a row, unless they overlap: what comes and goes is one thing that does.

    Raises `ValueError` for a window that does not end after it begins.
    """
    begin, end = window
    if not begin < end:
        raise ValueError(f"a window from {begin:g} to {end:g} has no length")
    drawn = _rows(spans[:SPANS_MAX])[:ROWS_MAX]
    height = TOP + BOTTOM + ROW_HEIGHT * max(len(drawn), 1)
    x = AxisScale(begin, end, _LEFT, WIDTH - RIGHT)
    parts = [element("g", time_labels(x, height), class_="x")]
    for index, row in enumerate(drawn):
        parts.append(_row(row, x, TOP + ROW_HEIGHT * index))
    if not drawn:
        parts.append(
            element("text", "nothing", class_="empty", x=WIDTH / 2, y=TOP + ROW_HEIGHT / 2, text_anchor="middle")
        )
    left_out = len(spans) - sum(map(len, drawn))
    more = f" {left_out} more are in the table." if left_out else ""
    svg = picture(title, f"{description}{more}".strip(), (WIDTH, height), "".join(parts))
    cells = [_cells(spans[at]) for at in chosen(len(spans))]
    return Plot(svg, PlotTable(title, ["what", "severity", "from", "to", "note"], cells, len(spans)))


def _rows(spans: Sequence[TimelineSpan]) -> list[list[TimelineSpan]]:
    """In the order in which names are given first; each span is on the first row of its name that has room for it."""
    rows: dict[str, list[list[TimelineSpan]]] = {}
    for span in spans:
        of_name = rows.setdefault(span.name, [])
        free = next((row for row in of_name if not any(_overlap(span, other) for other in row)), None)
        if free is None:
            of_name.append([span])
        else:
            free.append(span)
    return [row for of_name in rows.values() for row in of_name]


def _overlap(one: TimelineSpan, other: TimelineSpan) -> bool:
    ends = [math.inf if each.end is None else each.end for each in (one, other)]
    return one.begin < ends[1] and other.begin < ends[0]


def _row(spans: Sequence[TimelineSpan], x: AxisScale, top: float) -> str:
    track = element("path", d=f"M0 {top + 15 + _BAR / 2:.1f}H{x.end:g}", class_="track")
    name = element("text", text(shortened(spans[0].name, NAME_CHARS_MAX)), x=0, y=top + 11)
    return "".join([track, *(_bar(span, x, top) for span in spans), name])


def _bar(span: TimelineSpan, x: AxisScale, top: float) -> str:
    left, right = x(span.begin), x(x.high if span.end is None else span.end)
    width = max(right - left, 3.0)
    left = min(left, x.end - width)
    said = element("title", text(f"{span.name}: {_span_words(span)}"))
    return element(
        "rect",
        said,
        x=left,
        y=top + 15,
        width=width,
        height=_BAR,
        rx=3,
        class_=f"{span.look} {'ongoing' if span.end is None else 'over'}",
    )


def _span_words(span: TimelineSpan) -> str:
    return f"{span.look}, {moment(span.begin)} to {'now' if span.end is None else moment(span.end)}"


def _cells(span: TimelineSpan) -> list[str]:
    end = "goes on" if span.end is None else moment(span.end)
    return [shortened(span.name, 200), span.look, moment(span.begin), end, shortened(span.note, 300) or MISSING]
