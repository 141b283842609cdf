"""How alike the rows of one block are, and how many independent rows a block is then worth. Called by drift.

Traffic strolls: the rows of a day have more in common than rows of several days. Counting each of them as one of its
own makes every other day look like drift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy

from tidegate.errors import InvalidArgument
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.sizes import categories
from tidegate.watch.histograms.values import Floats

BLOCKS_MIN = 7
BELIEVED_ALPHA = 0.05
"""Blocks that differ no more than independent rows would, in 95 of 100 cases, count as not differing."""
_TAIL = 1e-4
"""About the probability of one column's false page in one block: the variance between blocks is as uncertain as there
are few of them, and this far out Student's quantile, which allows for that, is well above the normal one."""
_SEED = 15


@dataclass(frozen=True)
class Clustering:
    """`correlation`: of two rows of one block (0: none). `block_rows`: of the blocks that the reference consists of."""

    correlation: float = 0.0
    block_rows: float = 1.0

    @classmethod
    def of(cls, blocks: Sequence[Histogram]) -> Clustering:
        """From the reference's blocks (whole days), the larger of two: of the values and of the share that is missing.

        Needs as many rows in each block as make a histogram worth comparing, and at least seven blocks.
        """
        if len(blocks) < BLOCKS_MIN:
            raise InvalidArgument(
                f"{len(blocks)} blocks do not say how much blocks differ: {BLOCKS_MIN} are needed.", field="blocks"
            )
        found = [cls()]
        for every_count, every_rows in tabled(blocks):
            counts, rows = every_count[every_rows > 0], every_rows[every_rows > 0]
            if rows.size >= BLOCKS_MIN:
                found.append(cls.of_counts(counts, rows, counts.sum(axis=0) / rows.sum(), float(rows.size - 1)))
        return max(found, key=lambda each: each.correlation)

    @classmethod
    def of_counts(cls, counts: Floats, rows: Floats, expected: Floats, free: float) -> Clustering:
        """The intraclass correlation by the analysis of variance (Fisher), on the safe side where blocks are few.

        `counts`: blocks by classes; `rows`: of each block; `expected`: the classes' shares, of all blocks or of each;
        `free`: degrees of freedom that the blocks have around what is expected.
        """
        total = float(rows.sum())
        if total <= rows.size or free < 1:
            return cls()
        shares = counts / rows[:, None]
        between = float((rows[:, None] * (shares - expected) ** 2).sum()) / free
        within = float((rows[:, None] * shares * (1 - shares)).sum()) / (total - rows.size)
        typical = (total - float((rows**2).sum()) / total) / max(1, rows.size - 1)
        if within <= 0:
            return cls(1.0 if between > 0 else 0.0, typical)
        if between / within <= float(scipy.special.chdtri(free, BELIEVED_ALPHA)) / free:
            return cls(0.0, typical)
        ratio = between / within * _uncertain(free)
        return cls((ratio - 1) / (ratio + typical - 1), typical)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Clustering:
        """The clustering that `as_dict` wrote."""
        return cls(float(plain["correlation"]), float(plain["block_rows"]))

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def of_block(self, histogram: Histogram) -> Histogram:
        """A window's histogram, of as many rows as it is worth."""
        return _worth(histogram, self.rows_for_one(histogram.rows))

    def of_reference(self, histogram: Histogram) -> Histogram:
        """The reference's, which has many blocks."""
        return _worth(histogram, self.rows_for_one(self.block_rows))

    def of_losses(self, losses: Floats, block_rows: float | None = None) -> Floats:
        """As many losses as these are worth, spread over them as they are; in an order of chance, always the same.

        They are of one block, or of many of `block_rows`. In the order of their times a bad hour would look like a bad
        day to bounds that hold at every look.
        """
        worth = math.ceil(losses.size / self.rows_for_one(losses.size if block_rows is None else block_rows))
        if worth < losses.size:
            losses = np.sort(losses)[((np.arange(worth) + 0.5) * losses.size / worth).astype(np.int64)]
        return cast(Floats, np.random.default_rng(_SEED).permutation(losses))

    def rows_for_one(self, rows: float) -> float:
        """How many rows of a block of so many are worth one independent row (the design effect)."""
        return max(1.0, 1 + (rows - 1) * self.correlation)


INDEPENDENT = Clustering()
"""Rows of a block have nothing in common."""


def tabled(blocks: Sequence[Histogram]) -> list[tuple[Floats, Floats]]:
    """Counts (blocks by classes) and rows, of each of two: values, and what is missing or of another type.

    Numbers are counted up to each inner cut, categories by value.
    """
    ordered = blocks[0].layout.is_ordered
    values = np.stack([block.below_cuts[1:-1] if ordered else categories(block) for block in blocks])
    every = np.array([block.rows for block in blocks], dtype=np.float64)
    strange = np.array([block.counts[:2] for block in blocks], dtype=np.float64)
    return [(values, every - strange.sum(axis=1)), (strange, every)]


def _uncertain(free: float) -> float:
    """By how much a variance of so many degrees of freedom is to be taken larger, for tails as thin as these."""
    return float((scipy.special.stdtrit(free, _TAIL) / scipy.special.ndtri(_TAIL)) ** 2)


def _worth(histogram: Histogram, rows_for_one: float) -> Histogram:
    if rows_for_one <= 1:
        return histogram
    return Histogram(histogram.layout, tuple(round(count / rows_for_one) for count in histogram.counts))
