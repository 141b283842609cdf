"""Bounds of a mean of values in [0, 1] that hold at every look: the betting confidence sequence. Called by performance.

Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (2024): a gambler's capital against
"the mean is at most m" exceeds 1/alpha with probability alpha at most, at any time whatever, if that is true.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from tidegate.watch.histograms.values import Floats

_PRECISION = 1e-5
_HORIZONS = (200.0, 5e3, 1e5)
"""Rows that the stakes are best for: the capital is shared among three gamblers, one for each.

The paper's one gambler, whose stakes fall with each row, is for no number of rows: from 300 rows on its bound is
further from the mean, at 1,000 rows of rate 0.2 by .053 instead of .039 (Clopper and Pearson, for one look: .027).
"""
_GROWTH = 1.05
_RUIN = 0.5
"""What part of the capital one row can cost at most."""


def mean_lower(values: Floats, alpha: float) -> float:
    """A lower bound of the mean, above it at any look with probability <= alpha. Values in [0, 1], in order of arrival.

    Rows may be added and the bound asked for again as often as one likes. Where it may never fail (`alpha` 0) it is 0.
    """
    if not values.size or alpha <= 0:
        return 0.0
    rounds = _Rounds(values, alpha)
    if not rounds.refute(_PRECISION):
        return 0.0
    low, high = _PRECISION, 1.0
    while high - low > _PRECISION:  # capital falls as the mean that it bets against rises
        middle = (low + high) / 2
        low, high = (middle, high) if rounds.refute(middle) else (low, middle)
    return low


def mean_upper(values: Floats, alpha: float) -> float:
    """An upper bound of the mean, likewise."""
    return 1.0 - mean_lower(1.0 - values, alpha)


class _Rounds:
    """The rows in rounds that grow by a twentieth; stakes are set before each from the rows before it alone."""

    def __init__(self, values: Floats, alpha: float) -> None:
        self._enough = math.log(len(_HORIZONS) / alpha)
        self._starts = _starts(values.size)
        sums, squares = (np.add.reduceat(each, self._starts) for each in (values, values * values))
        self._sizes = np.diff(np.append(self._starts, values.size)).astype(np.float64)
        self._hits = sums if bool(np.all((values == 0) | (values == 1))) else None
        self._values, self._rounds = values, np.repeat(np.arange(self._sizes.size), self._sizes.astype(np.int64))
        rows, total, total_squares = (np.concatenate(([0.0], np.cumsum(x)[:-1])) for x in (self._sizes, sums, squares))
        variance = (0.25 + np.maximum(0.0, total_squares - total * total / np.maximum(rows, 1))) / (rows + 1)
        # One row for each gambler, one column for each round.
        self._stakes = np.sqrt(2 * math.log(1 / alpha) / (variance * np.array(_HORIZONS)[:, None]))

    def refute(self, mean: float) -> bool:
        """Whether the capital against "the mean is at most this" was large enough at the end of any round."""
        gains = np.cumsum(self._gains(np.minimum(self._stakes, _RUIN / mean), mean), axis=1)
        best = gains.max(axis=0)
        together = best + np.log(np.exp(gains - best).sum(axis=0))
        return bool(together.max() >= self._enough)

    def _gains(self, stakes: Floats, mean: float) -> Floats:
        """What each gambler wins in each round, as logarithms."""
        if self._hits is not None:
            won = self._hits * np.log1p(stakes * (1 - mean))
            return cast(Floats, won + (self._sizes - self._hits) * np.log1p(-stakes * mean))
        over = self._values - mean
        return np.stack([np.add.reduceat(np.log1p(each[self._rounds] * over), self._starts) for each in stakes])


def _starts(rows: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    ends = np.ceil(_GROWTH ** np.arange(0, math.log(rows + 1) / math.log(_GROWTH) + 1)).astype(np.int64)
    ends = np.unique(ends)
    return np.concatenate(([0], ends[ends < rows]))
