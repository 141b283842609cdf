"""What a column looks like in each hour of the week: 168 cells, each as near to the whole as its rows are few.

Called by rhythm. A block of rows is compared with the cells that its own rows fall into, in the same proportions, so
that nights are compared with nights and Mondays with Mondays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tidegate.watch.histograms.clustering import Clustering, tabled
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.layout import Layout
from tidegate.watch.histograms.values import Floats

CELLS = 168
WEEKS_MIN = 3
CELL_ROWS_MIN = 500


@dataclass(frozen=True)
class Season:
    """One column's cells, from Monday 0:00 on in the baseline's time zone.

    `worth`: how many independent rows a row of a cell's is worth (an hour's rows are alike, and a cell has few hours).
    `pull`: how many rows the whole counts for in each cell (empirical Bayes: the rows of a cell over which it knows
    more than the whole does; infinite where hours of the week do not differ).
    """

    layout: Layout
    cells: tuple[tuple[int, ...], ...]
    worth: float = 1.0
    pull: float = float("inf")

    @classmethod
    def of(cls, cells: Sequence[Histogram], weeks: float, hourly: Clustering) -> Season:
        """From each cell's histogram; `hourly`: how alike the rows of one hour are beside their hour of the week."""
        typical = sum(cell.rows for cell in cells) / (CELLS * weeks)
        worth = 1 / hourly.rows_for_one(typical)
        scaled = [
            Histogram(cell.layout, tuple(round(count * worth) for count in cell.counts)) for cell in cells if cell.rows
        ]
        between = _correlation(scaled)
        pull = (1 - between) / between if between > 0 else float("inf")
        return cls(cells[0].layout, tuple(cell.counts for cell in cells), worth, pull)

    @cached_property
    def _counts(self) -> Floats:
        return np.array(self.cells, dtype=np.float64)

    def reference(self, shares: Floats) -> Histogram:
        """What a block is expected to look like that has these shares of its rows in each cell (168, summing to 1).

        As a histogram of as many rows as the expectation is worth: its variance is that of the cells' own rows, of the
        whole's that fill in, and of the cells that differ from the whole.
        """
        counts = self._counts
        rows, whole = counts.sum(axis=1) * self.worth, counts.sum(axis=0)
        everything = rows.sum()
        pooled = whole / max(1.0, whole.sum())
        known = np.divide(rows, rows + self.pull, out=np.zeros_like(rows), where=rows > 0)
        own = counts / np.maximum(1.0, counts.sum(axis=1))[:, None]
        expected = shares @ (known[:, None] * own + (1 - known[:, None]) * pooled)
        variance = float((shares**2 * known**2 / np.maximum(rows, 1.0)).sum())
        variance += float(shares @ (1 - known)) ** 2 / max(1.0, everything)
        variance += float((shares**2 * (1 - known) ** 2).sum()) / (self.pull + 1)
        return Histogram(self.layout, tuple(np.rint(expected / variance).astype(np.int64).tolist()))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the layout: that is the whole's."""
        pull = None if np.isinf(self.pull) else self.pull
        return {"cells": [list(cell) for cell in self.cells], "worth": self.worth, "pull": pull}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], layout: Layout) -> Season:
        """The season that `as_dict` wrote."""
        cells = tuple(tuple(int(count) for count in cell) for cell in plain["cells"])
        if len(cells) != CELLS or any(len(cell) != layout.bins for cell in cells):
            raise ValueError(f"a season has {CELLS} cells of {layout.bins} bins")
        pull = float("inf") if plain["pull"] is None else float(plain["pull"])
        return cls(layout, cells, float(plain["worth"]), pull)


def _correlation(cells: Sequence[Histogram]) -> float:
    """How much cells differ: without allowance for uncertainty, which there is little of in so many cells."""
    counts, rows = tabled(cells)[0]
    counts, rows = counts[rows > 0], rows[rows > 0]
    if rows.size < 2 or rows.sum() <= rows.size:
        return 0.0
    return Clustering.of_counts(counts, rows, counts.sum(axis=0) / rows.sum(), float(rows.size - 1)).correlation
