"""Draws a dashboard's panels as SVG from what a Prometheus answers, without Grafana: for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

WIDTH, UNIT_HEIGHT, GAP = 1200, 26, 10
COLOURS = ("#0f766e", "#c2410c", "#4338ca", "#a16207", "#be185d", "#15803d", "#475569", "#7c3aed", "#0369a1")
HEAD, LINE = 24, 15
LINES_MAX = 6


@dataclass(frozen=True)
class Line:
    """One series: what it is called, and its points (seconds, value)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Drawn:
    """A panel of Grafana's JSON with what its queries gave."""

    panel: dict[str, Any]
    lines: Sequence[Line]


def svg(title: str, panels: Sequence[Drawn]) -> str:
    """The whole dashboard, laid out on Grafana's grid of 24 columns."""
    height = 40 + max(_bottom(drawn) for drawn in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="11" fill="#1f2937">',
        f'<rect width="{WIDTH}" height="{height}" fill="#f3f4f6"/>',
        f'<text x="{GAP}" y="26" font-size="17" font-weight="bold">{escape(title)}</text>',
        *(_panel(drawn) for drawn in panels),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bottom(drawn: Drawn) -> int:
    at = drawn.panel["gridPos"]
    return int((at["y"] + at["h"]) * UNIT_HEIGHT)


def _panel(drawn: Drawn) -> str:
    at = drawn.panel["gridPos"]
    x, y = at["x"] * WIDTH / 24 + GAP / 2, 40 + at["y"] * UNIT_HEIGHT
    width, height = at["w"] * WIDTH / 24 - GAP, at["h"] * UNIT_HEIGHT - GAP
    unit = drawn.panel["fieldConfig"]["defaults"]["unit"]
    inside = {"stat": _numbers, "heatmap": _heat}.get(drawn.panel["type"], _graph)
    return "\n".join(
        [
            f'<g transform="translate({x:.0f} {y:.0f})">',
            f'<rect width="{width:.0f}" height="{height:.0f}" rx="4" fill="white" stroke="#d1d5db"/>',
            f'<text x="8" y="17" font-weight="bold">{escape(drawn.panel["title"])}</text>',
            inside(drawn.lines, unit, width, height),
            "</g>",
        ]
    )


def _numbers(lines: Sequence[Line], unit: str, width: float, height: float) -> str:
    shown = lines[:4]
    parts = []
    for i, line in enumerate(shown):
        x = width * (i + 0.5) / len(shown)
        value = escape(written(line.points[-1][1], unit))
        size = 24 if len(shown) < 3 else 17
        parts.append(
            f'<text x="{x:.0f}" y="{height * 0.68:.0f}" font-size="{size}" text-anchor="middle" '
            f'fill="{COLOURS[0]}">{value}</text>'
        )
        if line.name:
            parts.append(
                f'<text x="{x:.0f}" y="{height - 8:.0f}" text-anchor="middle" fill="#6b7280">{escape(line.name)}</text>'
            )
    return "\n".join(parts)


def _graph(lines: Sequence[Line], unit: str, width: float, height: float) -> str:
    points = [point for line in lines for point in line.points]
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    top = max(value for _, value in points) or 1.0
    legend = min(len(lines), LINES_MAX)
    left, floor, ceiling = 52.0, height - 10 - LINE * ((legend + 1) // 2), HEAD + 6.0

    def place(at: float, value: float) -> str:
        x = left + (width - left - 12) * (at - first) / ((last - first) or 1)
        return f"{x:.1f},{floor - (floor - ceiling) * value / top:.1f}"

    parts = []
    for share in (0.0, 0.5, 1.0):
        y = floor - (floor - ceiling) * share
        parts.append(f'<path d="M{left} {y:.1f}H{width - 12:.0f}" stroke="#e5e7eb"/>')
        label = _on_axis(top * share, unit)
        parts.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end" fill="#6b7280">{label}</text>')
    for i, line in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(place(*point) for point in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.4"/>')
    parts += [_legend(i, line, unit, width, floor) for i, line in enumerate(lines[:LINES_MAX])]
    return "\n".join(parts)


def _heat(lines: Sequence[Line], unit: str, width: float, height: float) -> str:
    """Cells by time and bucket; the lines are cumulative, named by their upper bounds."""
    bounds = sorted(lines, key=lambda line: float(line.name))
    below: dict[float, float] = {}
    cells: list[list[tuple[float, float]]] = []
    for line in bounds:
        cells.append([(at, value - below.get(at, 0.0)) for at, value in line.points])
        below = dict(line.points)
    used = [i for i, row in enumerate(cells) if any(count > 0 for _, count in row)]
    if not used:
        return ""
    low, high = used[0], used[-1]
    most = max(count for row in cells for _, count in row)
    times = sorted({at for row in cells for at, _ in row})
    left, floor, ceiling = 52.0, height - 12, HEAD + 6.0
    wide, tall = (width - left - 12) / len(times), (floor - ceiling) / (high - low + 1)
    parts = []
    for i in range(low, high + 1):
        y = floor - tall * (i - low + 1)
        label = written(float(bounds[i].name), unit)
        parts.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end" fill="#6b7280">{label}</text>')
        for at, count in cells[i]:
            if count > 0:
                x = left + wide * times.index(at)
                parts.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{wide:.2f}" height="{tall:.1f}" fill="{COLOURS[1]}" '
                    f'fill-opacity="{max(0.05, count / most):.2f}"/>'
                )
    return "\n".join(parts)


def _legend(i: int, line: Line, unit: str, width: float, floor: float) -> str:
    x, y = 10 + (i % 2) * (width - 10) / 2, floor + 14 + LINE * (i // 2)
    name = line.name.replace("validation gate: ", "gate: ").replace(" of version ", " of ")
    text = escape(f"{name}: {written(line.points[-1][1], unit)}")
    return (
        f'<rect x="{x:.0f}" y="{y - 8:.0f}" width="9" height="9" fill="{COLOURS[i % len(COLOURS)]}"/>'
        f'<text x="{x + 13:.0f}" y="{y:.0f}">{text}</text>'
    )


def _on_axis(value: float, unit: str) -> str:
    """Short: there is little room."""
    return f"{value:.3g}" if unit in _SUFFIXES else written(value, unit)


_SUFFIXES = {"reqps": " req/s", "rowsps": " rows/s", "ops": "/s", "bytes": " B"}


def written(value: float, unit: str) -> str:
    """A value as Grafana would, near enough."""
    if unit == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 else f"{value:.3g} s"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "percent":
        return f"{value:.3g} %"
    suffix = _SUFFIXES.get(unit, "")
    return f"{value:,.4g}{suffix}" if abs(value) < 10_000 else f"{value:,.0f}{suffix}"
