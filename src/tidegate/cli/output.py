"""Tables, progress and small formatting for people: folded and drawn on a terminal, plain text elsewhere."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import TYPE_CHECKING

import click

from tidegate import clock

if TYPE_CHECKING:
    from tidegate.client.registration.files import OnProgress
    from tidegate.wire.rest import VariantView

WIDTH = 80
"""What is told in sentences is folded to so many characters."""


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    """Rows under headers; `empty` where there are none."""
    if not rows:
        return empty
    if not sys.stdout.isatty():
        return plain_table(headers, rows)
    return terminal_table(headers, rows, shutil.get_terminal_size().columns)


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces, two between."""
    lines = [[header.upper() for header in headers], *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def terminal_table(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Columns within a terminal's width. Lines break between words, so that ids and URLs can be copied.

    Where that is not enough, each row becomes a block with a line for each column.
    """
    widths = _widths([headers, *rows], width - len(_GAP) * (len(headers) - 1))
    if widths is None:
        longest = max(map(len, headers))
        beside = [longest, max(width - longest - len(_GAP), 1)]
        blocks = [
            "\n".join(_folded([header, cell], beside) for header, cell in zip(headers, row, strict=True))
            for row in rows
        ]
        return "\n\n".join(blocks)
    head = click.style(
        _GAP.join(header.ljust(length) for header, length in zip(headers, widths, strict=True)), bold=True
    )
    return "\n".join([head, _GAP.join("─" * length for length in widths), *(_folded(row, widths) for row in rows)])


_GAP = "  "


def _widths(lines: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Of each column, taken from those that can give most; None where some word would have to be broken."""
    columns = list(zip(*lines, strict=True))
    needed = [max(len(word) for cell in column for word in [*cell.split(), ""]) for column in columns]
    widths = [max(map(len, column)) for column in columns]
    while sum(widths) > width:
        slack, widest = max(
            (length - least, index) for index, (length, least) in enumerate(zip(widths, needed, strict=True))
        )
        if slack == 0:
            return None
        widths[widest] -= 1
    return widths


def _folded(row: Sequence[str], widths: Sequence[int]) -> str:
    """A row, as many lines high as its longest cell."""
    cells = [
        textwrap.wrap(cell, max(length, 1), break_long_words=False, break_on_hyphens=False) or [""]
        for cell, length in zip(row, widths, strict=True)
    ]
    lines = zip_longest(*cells, fillvalue="")
    return "\n".join(
        _GAP.join(part.ljust(length) for part, length in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def sentences(lines: Iterable[str]) -> list[str]:
    """Lines, folded between words where a terminal is narrower; elsewhere as they are."""
    if not sys.stdout.isatty():
        return [*lines]
    width = shutil.get_terminal_size().columns
    return [part for text in lines for line in text.splitlines() for part in _parts(line, width)]


def _parts(line: str, width: int) -> list[str]:
    return textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


@contextmanager
def progress(bar: bool) -> Iterator[OnProgress]:
    """Somewhere to report (message, fraction) to; `bar` draws one, else each new message is a line."""
    if not bar:
        yield _Lines().report
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task("", total=1.0)
        yield lambda message, fraction: drawn.update(task, description=escape(message), completed=fraction)


class _Lines:
    def __init__(self) -> None:
        self.last = ""

    def report(self, message: str, _fraction: float) -> None:
        if message != self.last:
            self.last = message
            click.echo(message, err=True)


def weight(percent: float) -> str:
    """`90 %`, `2.5 %`."""
    return f"{percent:g} %"


def split(traffic: dict[str, float]) -> str:
    """`1=90 2=10`, as the traffic command takes it; `-` where nothing is routed."""
    return " ".join(f"{version}={percent:g}" for version, percent in traffic.items()) or "-"


def named(variant: VariantView) -> str:
    """`2`, and where an experiment names it `2 (treatment)`."""
    return variant.version if variant.name in ("", variant.version) else f"{variant.version} ({variant.name})"


def span(value_s: float | None) -> str:
    """A span of time as people give it: `15m`, `36h`, `30d`."""
    for unit, unit_s in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if value_s and value_s % unit_s == 0:
            return f"{value_s / unit_s:g}{unit}"
    return f"{value_s or 0:g}s"


def moment(at_s: float | None) -> str:
    """`2026-01-31 12:00:00Z`, `-` where there is none yet."""
    return f"{clock.rfc3339(at_s)[:19].replace('T', ' ')}Z" if at_s else "-"


def size(size_bytes: int) -> str:
    """`1.4 MB`."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
