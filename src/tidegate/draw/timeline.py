"""What was going on when: a row for each thing, a bar from its beginning to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.draw.frame import RIGHT, time_labels
from tidegate.draw.markup import element, shortened, text
from tidegate.draw.plot import Plot, PlotTable, chosen, picture
from tidegate.draw.scales import MISSING, AxisScale
from tidegate.draw.times import moment

ROWS_MAX = 30
"""More rows than this make a picture that nobody reads: the others are in the table."""
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
    """Spans as they lie within the window (seconds since 1970), each on a row of its own under its name.

    Raises `ValueError` for a window that does not end after it begins.
    """
    begin, end = window
    if not begin < end:
        raise ValueError(f"a window from {begin:g} to {end:g} has no length")
    drawn = spans[:ROWS_MAX]
    height = TOP + BOTTOM + ROW_HEIGHT * max(len(drawn), 1)
    x = AxisScale(begin, end, _LEFT, WIDTH - RIGHT)
    parts = [element("g", time_labels(x, height), class_="x")]
    for index, span in enumerate(drawn):
        parts.append(_row(span, x, TOP + ROW_HEIGHT * index))
    if not drawn:
        parts.append(
            element("text", "nothing", class_="empty", x=WIDTH / 2, y=TOP + ROW_HEIGHT / 2, text_anchor="middle")
        )
    more = f" {len(spans) - len(drawn)} more are in the table." if len(spans) > len(drawn) else ""
    svg = picture(title, f"{description}{more}".strip(), (WIDTH, height), "".join(parts))
    rows = [_cells(spans[at]) for at in chosen(len(spans))]
    return Plot(svg, PlotTable(title, ["what", "severity", "from", "to", "note"], rows, len(spans)))


def _row(span: TimelineSpan, x: AxisScale, top: float) -> str:
    left, right = x(span.begin), x(x.high if span.end is None else span.end)
    width = max(right - left, 3.0)
    left = min(left, x.end - width)
    said = element("title", text(f"{span.name}: {_span_words(span)}"))
    bar = element(
        "rect",
        said,
        x=left,
        y=top + 15,
        width=width,
        height=_BAR,
        rx=3,
        class_=f"{span.look} {'ongoing' if span.end is None else 'over'}",
    )
    track = element("path", d=f"M0 {top + 15 + _BAR / 2:.1f}H{x.end:g}", class_="track")
    name = element("text", text(shortened(span.name, NAME_CHARS_MAX)), x=0, y=top + 11)
    return track + bar + name


def _span_words(span: TimelineSpan) -> str:
    return f"{span.look}, {moment(span.begin)} to {'now' if span.end is None else moment(span.end)}"


def _cells(span: TimelineSpan) -> list[str]:
    end = "goes on" if span.end is None else moment(span.end)
    return [shortened(span.name, 200), span.look, moment(span.begin), end, shortened(span.note, 300) or MISSING]
