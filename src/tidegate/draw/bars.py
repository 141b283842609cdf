"""Bars: two distributions side by side, and how a whole is shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tidegate.draw.frame import GRID_LINES, LEFT, RIGHT, TOP, USUAL, PlotSize, grid, no_data
from tidegate.draw.markup import element, shortened, text
from tidegate.draw.plot import COLOURS, Plot, PlotTable, area_key, chosen, outline_key, picture
from tidegate.draw.scales import MISSING, AxisScale, known, rounded_out, written

BINS_MAX = 60
"""Narrower bars could not be told apart: neighbours are drawn as one."""
BOTTOM = 22.0
LABEL_CHARS_MAX = 14
GRID_LINE_HEIGHT = 24.0
"""Lines of the grid stand at least so far apart."""
_GAP = 1.0
THIN = PlotSize(240.0, 12.0)


@dataclass(frozen=True)
class Bins:
    """One distribution: how many there were in each bin. `name` says when or of what."""

    name: str
    counts: Sequence[float | None]


def bin_names(edges: Sequence[float]) -> list[str]:
    """Names of the bins between neighbouring edges; the outer edges may be infinite."""
    inner = [written(edge) for edge in edges]
    names = []
    for index, (low, high) in enumerate(pairwise(inner)):
        if edges[index] == float("-inf"):
            names.append(f"< {high}")
        elif edges[index + 1] == float("inf"):
            names.append(f"≥ {low}")
        else:
            names.append(f"{low} to {high}")
    return names


def histogram_pair(
    title: str,
    bins: Sequence[str],
    reference: Bins,
    current: Bins,
    size: PlotSize = USUAL,
    description: str = "",
) -> Plot:
    """Two distributions over the same bins: the current one as bars, the reference as an outline over them.

    Each is drawn as shares of its own whole, so that their sizes do not matter.
    Raises `ValueError` where a distribution has not one count a bin.
    """
    for one in (reference, current):
        if len(one.counts) != len(bins):
            raise ValueError(f"{one.name!r} has {len(one.counts)} counts for {len(bins)} bins")
    shares = [_shares(one.counts) for one in (reference, current)]
    groups = _groups(len(bins))
    drawn = [[_sum(every, group) for group in groups] for every in shares]
    high = max((share for every in drawn for share in every if share is not None), default=0.0)
    lines = min(GRID_LINES, max(1, int((size.height - BOTTOM - TOP) // GRID_LINE_HEIGHT)))
    y = AxisScale(*rounded_out(0.0, high or 1.0, lines), size.height - BOTTOM, TOP)
    x = AxisScale(0.0, max(len(groups), 1), LEFT, size.width - RIGHT)
    parts = [
        grid(x, y, " %", lines=lines),
        _bars(drawn[1], x, y),
        _outline(drawn[0], x, y),
        _labels([_name(bins, group) for group in groups], x, size.height - 5),
    ]
    if not any(share is not None for every in drawn for share in every):
        parts.append(no_data(x, y))
    svg = picture(title, description, (size.width, size.height), "".join(parts))
    headers = ["bin", *(f"{one.name} ({what})" for one in (reference, current) for what in ("count", "%"))]
    columns = [_cells(one.counts, every) for one, every in zip((reference, current), shares, strict=True)]
    rows = [[bins[index], *columns[0][index], *columns[1][index]] for index in chosen(len(bins))]
    keys = (outline_key(reference.name), area_key(current.name, "now"))
    return Plot(svg, PlotTable(title, headers, rows, len(bins)), keys)


def bar_share(title: str, parts: Sequence[tuple[str, float | None]], size: PlotSize = THIN) -> Plot:
    """How a whole is shared, as one bar; each part is drawn by its share of the sum, and none that is not above 0."""
    amounts = [max(known(amount) or 0.0, 0.0) for _name, amount in parts]
    total = sum(amount / 2**20 for amount in amounts)  # which cannot overflow
    shares = [amount / 2**20 / total if total else 0.0 for amount in amounts]
    drawn, at = [element("rect", width=size.width, height=size.height, rx=3, class_="none")], 0.0
    room = size.width - _GAP * max(sum(share > 0 for share in shares) - 1, 0)
    for index, share in enumerate(shares):
        if share > 0:
            width = max(share * room, 1.0)
            drawn.append(element("rect", x=at, width=width, height=size.height, class_=_fill(index)))
            at += width + _GAP
    shares_text = [_percent(share) if total else MISSING for share in shares]
    said = ", ".join(f"{name} {share}" for (name, _amount), share in zip(parts, shares_text, strict=True)) or "nothing"
    svg = picture(title, said, (size.width, size.height), "".join(drawn), "share")
    rows = [[parts[index][0], shares_text[index]] for index in chosen(len(parts))]
    keys = [area_key(name, _fill(index), shares_text[index]) for index, (name, _amount) in enumerate(parts)]
    return Plot(svg, PlotTable(title, ["part", "share"], rows, len(parts)), tuple(keys))


def _shares(counts: Sequence[float | None]) -> list[float | None]:
    """In percent; None for what is missing, and everywhere where nothing was counted."""
    found = [None if (number := known(count)) is None else max(number, 0.0) / 2**20 for count in counts]
    total = sum(number for number in found if number is not None)
    return [None if number is None or not total else 100 * (number / total) for number in found]


def _groups(count: int) -> list[range]:
    """Neighbouring bins that are drawn as one, as evenly as can be."""
    groups = min(count, BINS_MAX)
    return [range(index * count // groups, (index + 1) * count // groups) for index in range(groups)]


def _sum(shares: Sequence[float | None], group: range) -> float | None:
    found = [share for index in group if (share := shares[index]) is not None]
    return sum(found) if found else None


def _name(bins: Sequence[str], group: range) -> str:
    return bins[group[0]] if len(group) == 1 else f"{bins[group[0]]} … {bins[group[-1]]}"


def _bars(shares: Sequence[float | None], x: AxisScale, y: AxisScale) -> str:
    room = x(1.0) - x(0.0)
    gap = _GAP if room > 4 * _GAP else 0.0
    found = []
    for index, share in enumerate(shares):
        if share:
            top = y(share)
            box = {"x": x(index) + gap / 2, "y": top, "width": room - gap, "height": max(y.start - top, 0.5)}
            found.append(element("rect", class_="now", **box))
    return "".join(found)


def _outline(shares: Sequence[float | None], x: AxisScale, y: AxisScale) -> str:
    """The tops of the bins as steps; broken where a share is missing."""
    steps, is_joined = [], False
    for index, share in enumerate(shares):
        if share is not None:
            steps.append(f"{'L' if is_joined else 'M'}{x(index):.1f} {y(share):.1f}H{x(index + 1):.1f}")
        is_joined = share is not None
    return element("path", d="".join(steps), class_="outline") if steps else ""


def _labels(names: Sequence[str], x: AxisScale, y: float) -> str:
    """As many names as there is room for, each under its bar, or the first and the last; all are in the table."""
    shown = [shortened(name, LABEL_CHARS_MAX) for name in names]
    longest = max(map(len, shown), default=1)
    room = max(1, int((x.end - x.start) // (longest * 7.5 + 8)))
    every = -(-len(shown) // room) or 1
    places = [(x(index + 0.5), "middle", name) for index, name in list(enumerate(shown))[::every]]
    if len(shown) > 1 and len(places) < 3 and every > 1:
        fit = (len(shown[0]) + len(shown[-1])) * 7.5 + 8 <= x.end - x.start
        places = [(x.start, "start", shown[0]), *([(x.end, "end", shown[-1])] if fit else [])]
    labels = [element("text", text(name), x=at, y=y, text_anchor=anchor) for at, anchor, name in places]
    return element("g", "".join(labels), class_="x")


def _cells(counts: Sequence[float | None], shares: Sequence[float | None]) -> list[tuple[str, str]]:
    return [
        (
            MISSING if (number := known(count)) is None else f"{number:,.6g}",
            MISSING if share is None else f"{share:.1f}",
        )
        for count, share in zip(counts, shares, strict=True)
    ]


def _fill(index: int) -> str:
    return f"f{index % COLOURS + 1}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
