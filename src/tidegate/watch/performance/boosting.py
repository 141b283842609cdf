"""A small model of how a number depends on inputs: boosted trees of two levels on quantile bins, numpy alone.

Called by estimated: scikit-learn is not among what `watch` may use, and an expected error needs no more than this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegate.watch.histograms.values import Floats

ROUNDS = 120
RATE = 0.15
BINS = 32
LEAF_ROWS_MIN = 10
Bins = NDArray[np.int64]


@dataclass(frozen=True)
class _Split:
    """Rows whose bin of a feature is at most `bin` go left; a leaf has no feature and adds `value`."""

    value: float = 0.0
    feature: int = -1
    bin: int = -1
    left: _Split | None = None
    right: _Split | None = None


def fit(inputs: Floats, targets: Floats) -> Callable[[Floats], Floats]:
    """A function from rows to expected targets, fitted to these by least squares. NaN is a bin of its own."""
    edges = [np.unique(np.nanquantile(each, np.arange(1, BINS) / BINS)) for each in map(_with_number, inputs.T)]
    places = _binned(inputs, edges)
    mean, trees = float(targets.mean()), []
    residuals = targets - mean
    for _ in range(ROUNDS):
        tree = _grow(places, residuals, np.arange(len(targets)), levels=2)
        if tree.feature < 0:
            break
        trees.append(tree)
        residuals = residuals - RATE * _apply(tree, places)

    def predict(rows: Floats) -> Floats:
        found = _binned(rows, edges)
        return mean + RATE * sum((_apply(tree, found) for tree in trees), np.zeros(len(rows)))

    return predict


def _with_number(values: Floats) -> Floats:
    return np.zeros(1) if np.isnan(values).all() else values


def _binned(inputs: Floats, edges: list[Floats]) -> Bins:
    """Each value's bin; missing ones come last."""
    columns = [
        np.where(np.isnan(values), cuts.size + 1, np.searchsorted(cuts, values, side="left"))
        for values, cuts in zip(inputs.T, edges, strict=True)
    ]
    return np.stack(columns, axis=1).astype(np.int64)


def _grow(places: Bins, residuals: Floats, rows: NDArray[np.int64], levels: int) -> _Split:
    here = residuals[rows]
    leaf = _Split(value=float(here.mean()))
    if not levels or rows.size < 2 * LEAF_ROWS_MIN:
        return leaf
    best, feature, cut = 1e-12, -1, -1
    total = here.sum() ** 2 / rows.size
    for at in range(places.shape[1]):
        bins = places[rows, at]
        counts, sums = np.cumsum(np.bincount(bins)), np.cumsum(np.bincount(bins, weights=here))
        others = rows.size - counts
        allowed = (counts >= LEAF_ROWS_MIN) & (others >= LEAF_ROWS_MIN)
        if not allowed.any():
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            gains = np.where(allowed, sums**2 / counts + (here.sum() - sums) ** 2 / others - total, 0.0)
        if gains.max() > best:
            best, feature, cut = float(gains.max()), at, int(gains.argmax())
    if feature < 0:
        return leaf
    is_left = places[rows, feature] <= cut
    left, right = (_grow(places, residuals, rows[side], levels - 1) for side in (is_left, ~is_left))
    return _Split(feature=feature, bin=cut, left=left, right=right)


def _apply(tree: _Split, places: NDArray[Any]) -> Floats:
    if tree.left is None or tree.right is None:
        return np.full(len(places), tree.value)
    is_left = places[:, tree.feature] <= tree.bin
    return np.where(is_left, _apply(tree.left, places), _apply(tree.right, places))
