"""A tree ensemble as arrays, whatever library trained it: read by `from_trees` and `from_boosters`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tidegate.runtimes.accelerated.serve.form import Head

Array = np.ndarray[Any, Any]

FLOAT32_INTEGER_MAX = 2**24


@dataclass
class Tree:
    """One tree: nodes by number, children -1 at leaves. `value` is (nodes, outputs); `target` None: to all outputs.

    `rows` is how many rows of the training data came by each node, where that is known.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    track: Array
    value: Array
    target: int | None = None
    rows: Array | None = None


@dataclass
class Ensemble:
    """All there is to the model: base + sum of the trees, divided.

    `float32`: features are rounded first. `sums_float32`: the original adds up in float32, tree by tree. `zero_to`: it
    takes numbers that near 0 for 0.
    """

    trees: list[Tree]
    base: Array
    head: Head
    n_features: int
    divisor: float = 1.0
    float32: bool = True
    classes: Any = None
    notes: list[str] = field(default_factory=list)
    sums_float32: bool = False
    zero_to: float = 0.0

    @property
    def votes_are_whole(self) -> bool:
        """Whether leaves hold 0 or 1, so that sums and ties are exact in float32 too."""
        if self.head != "votes" or len(self.trees) >= FLOAT32_INTEGER_MAX:
            return False
        leaves = [tree.value[tree.left < 0] for tree in self.trees]  # other nodes hold shares, which nobody adds up
        return all(bool((values == np.round(values)).all()) for values in leaves)


def aimed(tree: Tree, values: Array, column: int, columns: int) -> Tree:
    """The tree with its values in one of the outputs."""
    spread = np.zeros((len(values), columns))
    spread[:, column] = values
    return Tree(tree.feature, tree.threshold, tree.left, tree.right, tree.track, spread, column, tree.rows)
