"""p-values of "these two histograms are of one distribution", and which of many to believe. Called by drift.

They rank features and bound the share of false findings in one evaluation; how large a difference is, they do not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import NDArray

from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.sizes import categories
from tidegate.watch.histograms.values import Floats

EXPECTED_MIN = 5.0
ROWS_MIN = 100
PERMUTATIONS = 10_000
_CHUNK = 125
_EXCEEDED_ENOUGH = 20
"""A permutation test may stop here: a p-value this large is known well enough (Besag and Clifford 1991)."""
_SEED = 15


def homogeneity_p(reference: Histogram, current: Histogram) -> float:
    """Pearson's χ² over all bins, missing ones and new ones too.

    Bins with less than five expected rows are put together with their neighbours; where there are fewer than 100 rows,
    or less than two such bins are left, by permutation: p = (1 + #≥) / (1 + N), so that it holds at any size.
    """
    before, now = _counts(reference), _counts(current)
    seen = before + now > 0
    before, now = before[seen], now[seen]
    n, m = float(now.sum()), float(before.sum())
    if before.size < 2 or not n or not m:
        return 1.0
    if min(n, m) >= ROWS_MIN:
        pooled_before, pooled_now = _pooled(before, now, min(n, m) / (n + m))
        if pooled_now.size > 1:
            return float(scipy.special.chdtrc(pooled_now.size - 1, _chi2(pooled_now, pooled_before + pooled_now, n, m)))
    return _permutation_p(before, now)


def _counts(histogram: Histogram) -> Floats:
    """All bins; of categories with those that are not ordinary as one tail."""
    counts = histogram.counts
    if histogram.layout.kind == "category":
        return np.concatenate((categories(histogram), counts[:2]))
    return np.array(counts, dtype=np.float64)


def _pooled(before: Floats, now: Floats, share: float) -> tuple[Floats, Floats]:
    """Neighbours put together, by their totals alone, until each bin expects five rows in the smaller sample."""
    expected = (before + now) * share
    if (expected >= EXPECTED_MIN).all():
        return before, now
    starts, gathered = [0], 0.0
    for place, each in enumerate(expected.tolist()):
        if gathered >= EXPECTED_MIN:
            starts.append(place)
            gathered = 0.0
        gathered += each
    if gathered < EXPECTED_MIN:
        starts.pop()
    if not starts:
        return before[:0], now[:0]
    return np.add.reduceat(before, starts), np.add.reduceat(now, starts)


def _chi2(now: Floats, totals: Floats, n: float, m: float) -> float:
    """Of a table of two rows, from the one: (x - E)² / E over both is (x - E)²·N / (E·m)."""
    expected = totals * (n / (n + m))
    return float(((now - expected) ** 2 / expected).sum()) * (n + m) / m


def _permutation_p(before: Floats, now: Floats) -> float:
    """Of the same rows dealt out at random: how often the smaller side looks at least as odd as it does."""
    fewer = now if now.sum() <= before.sum() else before
    totals, rows = before + now, int(fewer.sum())
    expected = totals * (rows / totals.sum())
    seen = float(((fewer - expected) ** 2 / expected).sum()) * (1 - 1e-12)
    exceeded = 0
    for chunk in range(PERMUTATIONS // _CHUNK):
        drawn = _dealt(totals, rows, chunk)
        reached = np.flatnonzero(((drawn - expected) ** 2 / expected).sum(axis=1) >= seen)
        if exceeded + reached.size >= _EXCEEDED_ENOUGH:
            return _EXCEEDED_ENOUGH / (chunk * _CHUNK + int(reached[_EXCEEDED_ENOUGH - exceeded - 1]) + 1)
        exceeded += reached.size
    return (1 + exceeded) / (1 + PERMUTATIONS)


def _dealt(totals: Floats, rows: int, chunk: int) -> Floats:
    """The bins' counts of so many rows drawn from all, without putting back, a few hundred times."""
    if rows < ROWS_MIN:
        ends = np.cumsum(totals)
        bins = np.searchsorted(ends, _hands(int(ends[-1]), rows, chunk), side="right")
        flat = bins + np.arange(_CHUNK)[:, None] * totals.size
        return np.bincount(flat.ravel(), minlength=_CHUNK * totals.size).reshape(_CHUNK, -1).astype(np.float64)
    rng = np.random.default_rng((_SEED, chunk))
    if totals.sum() < 1e9:
        drawn = rng.multivariate_hypergeometric(totals.astype(np.int64), rows, size=_CHUNK, method="marginals")
    else:  # numpy's limit; of so many rows, drawing with and without putting back are the same
        drawn = rng.multinomial(rows, totals / totals.sum(), size=_CHUNK)
    return drawn.astype(np.float64)


@lru_cache(maxsize=PERMUTATIONS // _CHUNK)
def _hands(total: int, rows: int, chunk: int) -> NDArray[np.int64]:
    """Different rows of all, at random: the same for every feature of an evaluation, which costs no validity."""
    rng = np.random.default_rng((_SEED, chunk))
    if total < 2 * rows * rows:
        return rng.random((_CHUNK, total)).argpartition(rows - 1, axis=1)[:, :rows]
    hands = rng.integers(total, size=(0, rows))
    while len(hands) < _CHUNK:  # three in four have no row twice
        more = np.sort(rng.integers(total, size=(_CHUNK, rows)), axis=1)
        hands = np.concatenate((hands, more[(np.diff(more, axis=1) > 0).all(axis=1)]))
    return hands[:_CHUNK]


def believed(p_values: Sequence[float], weights: Sequence[float], rate: float) -> list[bool]:
    """Benjamini and Hochberg's choice with weights (Genovese, Roeder, Wasserman 2006).

    Of what is chosen, at most `rate` is false on average. Weights of any positive sum say how the rate is shared out;
    what has none is never chosen. Holds for independent p-values and positively dependent ones.
    """
    p, w = np.array(p_values, dtype=np.float64), np.array(weights, dtype=np.float64)
    if not p.size or w.sum() <= 0:
        return [False] * p.size
    w = w * (w.size / w.sum())
    weighted = np.divide(p, w, out=np.full(p.size, np.inf), where=w > 0)
    ordered = np.sort(weighted)
    passes = np.flatnonzero(ordered <= rate * np.arange(1, p.size + 1) / p.size)
    return [False] * p.size if not passes.size else (weighted <= ordered[passes[-1]]).tolist()
