"""How alike the rows of one block are, and how many independent rows a block is then worth. Called by drift.

Traffic strolls: the rows of a day have more in common than rows of several days. Counting each of them as one of its
own makes every other day look like drift.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidegate.errors import InvalidArgument
from tidegate.watch.histogram import Histogram
from tidegate.watch.sizes import categories
from tidegate.watch.values import Floats

BLOCKS_MIN = 7


@dataclass(frozen=True)
class Clustering:
    """`correlation`: of two rows of one block (0: none). `block_rows`: of the blocks that the reference consists of."""

    correlation: float = 0.0
    block_rows: float = 1.0

    @classmethod
    def of(cls, blocks: Sequence[Histogram]) -> Clustering:
        """From the reference's blocks (whole days): the intraclass correlation, by the analysis of variance.

        Needs as many rows in each block as make a histogram worth comparing, and at least seven blocks.
        """
        if len(blocks) < BLOCKS_MIN:
            raise InvalidArgument(
                f"{len(blocks)} blocks do not say how much blocks differ: {BLOCKS_MIN} are needed.", field="blocks"
            )
        counts = np.stack([_counts(block) for block in blocks])
        rows = np.array(
            [block.ordinary.sum() if block.layout.is_ordered else block.rows for block in blocks], dtype=float
        )
        counts, rows = counts[rows > 0], rows[rows > 0]
        if rows.size < BLOCKS_MIN or rows.sum() <= rows.size:
            return cls()
        shares, mean = counts / rows[:, None], counts.sum(axis=0) / rows.sum()
        between = float((rows[:, None] * (shares - mean) ** 2).sum()) / (rows.size - 1)
        within = float((rows[:, None] * shares * (1 - shares)).sum()) / (rows.sum() - rows.size)
        typical = float(rows.sum() - (rows**2).sum() / rows.sum()) / (rows.size - 1)
        total = between + (typical - 1) * within
        return cls(max(0.0, (between - within) / total) if total > 0 else 0.0, typical)

    def of_block(self, histogram: Histogram) -> Histogram:
        """A window's histogram, of as many rows as it is worth."""
        return _worth(histogram, 1 + (histogram.rows - 1) * self.correlation)

    def of_reference(self, histogram: Histogram) -> Histogram:
        """The reference's, which has many blocks."""
        return _worth(histogram, 1 + (self.block_rows - 1) * self.correlation)


def _counts(histogram: Histogram) -> Floats:
    """What its shares are taken of: rows up to each inner cut, or of each category."""
    return histogram.below_cuts[1:-1] if histogram.layout.is_ordered else categories(histogram)


def _worth(histogram: Histogram, rows_for_one: float) -> Histogram:
    if rows_for_one <= 1:
        return histogram
    return Histogram(histogram.layout, tuple(round(count / rows_for_one) for count in histogram.counts))
