"""Trees turned so that most rows take the second branch at every node: the same answers, in two thirds of the time.

ONNX Runtime keeps a node's second child right behind it, and a processor guesses a branch that nearly always goes the
same way. `x <= t` with its children changed over is `x > t`, which for numbers of one type is `-x <= -u`, u being the
next number above t: so the engine is given each feature and its negative, and makes no comparison but one kind.
Used by `from_trees` when a form is made and by `engines` when it is served (decision 13).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tidegate.runtimes.accelerated.serve.ensemble import Ensemble, Tree

Array = np.ndarray[Any, Any]

NODES_MIN = 1000
"""Smaller ensembles gain less than the negatives cost."""


def pays(ensemble: Ensemble) -> bool:
    """Whether it is known how many rows took which branch, and there are nodes enough."""
    known = all(tree.rows is not None for tree in ensemble.trees)
    return known and sum(len(tree.left) for tree in ensemble.trees) >= NODES_MIN


def mirrored(ensemble: Ensemble) -> Ensemble:
    """The ensemble over twice the features, the second half being the negatives of the first.

    Thresholds must be of the type that features are compared in.
    """
    trees = [_turned(tree, ensemble.n_features) for tree in ensemble.trees]
    return replace(ensemble, trees=trees, n_features=2 * ensemble.n_features)


def with_negatives(x: Array, dtype: np.dtype[Any]) -> Array:
    """What a mirrored ensemble takes: (rows, 2 * features)."""
    features = x.shape[1]
    both = np.empty((len(x), 2 * features), dtype=dtype)
    both[:, :features] = x
    np.negative(both[:, :features], out=both[:, features:])
    return both


def _turned(tree: Tree, n_features: int) -> Tree:
    inner = tree.left >= 0
    left, right = np.where(inner, tree.left, 0), np.where(inner, tree.right, 0)
    with np.errstate(over="ignore"):
        above = np.nextafter(tree.threshold, tree.threshold.dtype.type(np.inf))
    rows = np.asarray(tree.rows)
    turn = inner & (rows[left] > rows[right]) & np.isfinite(tree.threshold) & np.isfinite(above)
    return replace(
        tree,
        feature=np.where(turn, tree.feature + n_features, tree.feature),
        threshold=np.where(turn, -above, tree.threshold),
        left=np.where(turn, tree.right, tree.left),
        right=np.where(turn, tree.left, tree.right),
        track=np.where(turn, np.asarray(tree.track) == 0, np.asarray(tree.track) != 0),
    )
