"""Tables, progress and small formatting for people. With rich on a terminal, plain text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tidegate import clock

if TYPE_CHECKING:
    from tidegate.client.files import OnProgress


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    """Rows under headers; `empty` where there are none."""
    if not rows:
        return empty
    return _rich_table(headers, rows) if sys.stdout.isatty() else plain_table(headers, rows)


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces, two between."""
    lines = [[header.upper() for header in headers], *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        made.add_column(header, overflow="fold")
    for row in rows:
        made.add_row(*[Text(cell) for cell in row])
    console = Console()
    with console.capture() as capture:
        console.print(made)
    return capture.get().strip("\n")


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
