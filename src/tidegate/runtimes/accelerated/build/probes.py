"""Rows to compare two forms of a model on: real or made-up, at trees' splits, at labels' borders, and bad ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tidegate.runtimes.accelerated.build.preparation import Prepared
from tidegate.runtimes.accelerated.serve.ensemble import Ensemble, Tree
from tidegate.runtimes.base.runtime import Arrays, LoadedModel
from tidegate.wire.signature import MATRIX_INPUT, PREDICTION, TensorSpec

Array = np.ndarray[Any, Any]

SPREAD_ROWS = 256
SPLITS_MAX = 300
BORDERS_MAX = 24
BORDER_GAP = 1e-7
"""How near two rows with different labels are brought, relative to where they started from. Nearer than that, the
original itself may answer a row differently inside a batch."""
BAD_COLUMNS_MAX = 8
ODD_COLUMNS_MAX = 32
ODD_VALUES = (
    -0.0,
    0.0,
    5e-324,
    -5e-324,
    1e-40,
    -1e-40,
    1e-36,
    -1e-36,
    2.0**24 + 1,
    -(2.0**24) - 1,
    1e30,
    -1e30,
    3.4e38,
)
FLOAT32_MAX = float(np.finfo(np.float32).max)


def spread_rows(known: Array, ensemble: Ensemble | None, found: Prepared | None) -> Array:
    """The known rows, and rows around them: shuffled columns, noise, and thresholds of the trees as values."""
    rng = np.random.default_rng(11)
    width = known.shape[1]
    picked = known[rng.integers(0, len(known), size=(SPREAD_ROWS, width)), np.arange(width)]
    scale = known.std(axis=0) + 1e-3 * np.abs(known).mean(axis=0) + 1e-6
    noisy = picked + rng.normal(size=picked.shape) * scale * rng.choice([0.1, 1.0, 10.0], size=(SPREAD_ROWS, 1))
    parts = [known, picked, noisy]
    if ensemble is not None and found is not None:
        values = _thresholds_by_feature(ensemble, found)
        split = picked.copy()
        for feature, choices in values.items():
            split[:, feature] = rng.choice(choices, size=SPREAD_ROWS) + rng.normal(size=SPREAD_ROWS) * scale[feature]
        parts.append(split)
    return np.concatenate(parts)


def with_gaps(rows: Array) -> Array:
    """The rows with some of their values missing."""
    gaps = np.random.default_rng(13).random(rows.shape) < 0.2
    return np.where(gaps, np.nan, rows)


def _thresholds_by_feature(ensemble: Ensemble, found: Prepared) -> dict[int, Array]:
    """Thresholds per feature, in the pipeline's own input."""
    seen: dict[int, list[float]] = {}
    for tree in ensemble.trees[:64]:
        for node in np.flatnonzero((tree.left >= 0) & np.isfinite(tree.threshold))[:64]:
            feature = int(tree.feature[node])
            seen.setdefault(feature, []).append(found.undone(feature, float(tree.threshold[node])))
    return {feature: np.array(values) for feature, values in seen.items()}


# -- rows at the splits ------------------------------------------------------------------------------------------------


def split_rows(known: Array, ensemble: Ensemble, found: Prepared) -> Array:
    """Rows that reach a split and lie on it, or one ulp (of float64, and of float32) to either side of it."""
    splits = [
        (tree, int(node))
        for tree in ensemble.trees
        for node in np.flatnonzero((tree.left >= 0) & np.isfinite(tree.threshold))
    ]
    if not splits:
        return known[:0]
    every = np.unique(np.linspace(0, len(splits) - 1, min(len(splits), SPLITS_MAX)).astype(int))
    rows = [row for index in every for row in _rows_at(splits[index], known[index % len(known)], found)]
    return np.array(rows)


def _rows_at(split: tuple[Tree, int], row: Array, found: Prepared) -> Iterator[Array]:
    tree, node = split
    reached = row.copy()
    for feature, bounds in _path(tree, node).items():
        low, high = sorted(found.undone(feature, bound) if np.isfinite(bound) else bound for bound in bounds)
        if not low < reached[feature] <= high:
            reached[feature] = _between(low, high)
    feature = int(tree.feature[node])
    for value in near(found.undone(feature, float(tree.threshold[node]))):
        at = reached.copy()
        at[feature] = value
        yield at


def _path(tree: Tree, node: int) -> dict[int, tuple[float, float]]:
    """Bounds (low, high] on features for a row to come to the node."""
    parents = {
        int(child): parent for side in (tree.left, tree.right) for parent, child in enumerate(side) if child >= 0
    }
    bounds: dict[int, tuple[float, float]] = {}
    while node in parents:
        parent = parents[node]
        feature, threshold = int(tree.feature[parent]), float(tree.threshold[parent])
        low, high = bounds.get(feature, (-np.inf, np.inf))
        is_left = tree.left[parent] == node
        bounds[feature] = (low, min(high, threshold)) if is_left else (max(low, threshold), high)
        node = parent
    return bounds


def _between(low: float, high: float) -> float:
    if np.isfinite(low) and np.isfinite(high):
        return low + (high - low) / 2
    if np.isfinite(low):
        return low + max(1.0, abs(low) * 0.1)
    return high - max(1.0, abs(high) * 0.1) if np.isfinite(high) else 0.0


def near(value: float) -> list[float]:
    """The value, its neighbours in float64 and float32, and where rounding tips, each with its neighbours."""
    with np.errstate(over="ignore"):
        rounded = np.float32(value)
        singles = [np.nextafter(rounded, np.float32(-np.inf)), rounded, np.nextafter(rounded, np.float32(np.inf))]
    exact = [value, *map(float, singles)]
    exact += [float(low) + (float(high) - float(low)) / 2 for low, high in itertools.pairwise(singles)]
    around = {float(np.nextafter(item, end)) for item in exact for end in (-np.inf, np.inf)}
    return sorted(item for item in {*exact, *around} if abs(item) < FLOAT32_MAX)


# -- rows at the borders between labels --------------------------------------------------------------------------------


def border_rows(model: LoadedModel, known: Array, specs: Sequence[TensorSpec]) -> Array:
    """Pairs of rows with different labels, brought together until they are very near each other."""
    labels = model.predict(as_inputs(known, specs), frozenset({PREDICTION}))[PREDICTION]
    first = np.flatnonzero(labels == labels[0])
    others = np.flatnonzero(labels != labels[0])
    count = min(len(first), len(others), BORDERS_MAX)
    low, high = known[first[:count]].copy(), known[others[:count]].copy()
    gap = 1.0
    while count and gap > BORDER_GAP:
        middle = (low + high) / 2
        is_low = model.predict(as_inputs(middle, specs), frozenset({PREDICTION}))[PREDICTION] == labels[0]
        low[is_low], high[~is_low] = middle[is_low], middle[~is_low]
        gap /= 2
    return np.concatenate((low, high))


# -- rows to refuse ----------------------------------------------------------------------------------------------------


def bad_rows(row: Array) -> dict[str, Array]:
    """Inputs that a model may refuse, by what is wrong with them; two rows each, the first of them sound."""
    width = len(row)
    found: dict[str, Array] = {}
    for name, value in {"NaN": np.nan, "inf": np.inf, "-inf": -np.inf, "1e39": 1e39, "1e308": 1e308}.items():
        for column in np.unique(np.linspace(0, width - 1, min(width, BAD_COLUMNS_MAX)).astype(int)):
            rows = np.stack((row, row))
            rows[1, column] = value
            found[f"{name} in column {column}"] = rows
    found["a row of NaN"] = np.stack((row, np.full(width, np.nan)))
    found["a column too many"] = np.ones((2, width + 1))
    found["text"] = np.full((2, width), "text", dtype=object)
    if width > 1:
        found["a column too few"] = np.ones((2, width - 1))
    return found


def odd_rows(row: Array) -> dict[str, Array]:
    """Numbers that formats and libraries differ on: zeros with a sign, the very small, the large; and other types."""
    columns = np.unique(np.linspace(0, len(row) - 1, min(len(row), ODD_COLUMNS_MAX)).astype(int))
    found: dict[str, Array] = {}
    for value in ODD_VALUES:
        rows = np.repeat(row[None, :], len(columns), axis=0)
        rows[np.arange(len(columns)), columns] = value
        found[f"{value!r} in a column"] = rows
    found["all 0"], found["all -0.0"] = np.zeros((1, len(row))), np.full((1, len(row)), -0.0)
    return found


def as_inputs(rows: Array, specs: Sequence[TensorSpec]) -> Arrays:
    """Rows as the signature names them: one packed tensor, of float32 where all columns are."""
    if rows.dtype.kind == "f" and all(spec.datatype == "FP32" for spec in specs):
        with np.errstate(over="ignore"):
            rows = rows.astype(np.float32)
    single = len(specs) == 1 and len(specs[0].shape) == 2
    return {specs[0].name if single else MATRIX_INPUT: rows}
