"""What computes a form's scores: dense layers in NumPy, trees or a whole graph on ONNX Runtime. Used by `serving`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.errors import ModelLoadFailed
from tidegate.packaging.code import missing_library
from tidegate.runtimes.accelerated.serve.form import GRAPH_FILE, AcceleratedForm, read_array
from tidegate.runtimes.accelerated.serve.mirrored import with_negatives
from tidegate.runtimes.base.runtime import error_text

Array = np.ndarray[Any, Any]
TREE_ARRAYS = ("feature", "threshold", "left", "right", "track", "value", "root", "base")


def open_session(folder: Path) -> Any:
    """The form's ONNX session, on one thread. Raises `MissingLibrary`, `ModelLoadFailed`."""
    try:
        import onnxruntime as ort
    except ModuleNotFoundError as error:
        raise missing_library("onnxruntime", "to serve the accelerated form of the model") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # a replica's memory stays small; one row needs none of it
    try:
        return ort.InferenceSession(str(folder / GRAPH_FILE), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelLoadFailed(f"the accelerated form in {folder} cannot be loaded: {error_text(error)}") from error


class Dense:
    """Linear models and perceptrons: the very products that scikit-learn asks of NumPy, in float64."""

    def __init__(self, form: AcceleratedForm, folder: Path) -> None:
        self._layers = [
            (read_array(folder, f"weight-{index}"), read_array(folder, f"bias-{index}"), ACTIVATIONS[name])
            for index, name in enumerate(form.activations)
        ]

    def scores(self, x: Array) -> Array:
        """(rows, outputs) in float64."""
        for weight, bias, activation in self._layers:
            x = activation(x @ weight + bias)
        return x


class Trees:
    """A tree ensemble on ONNX Runtime. The splits are the original's to the last bit; sums are rounded to float32."""

    def __init__(self, form: AcceleratedForm, folder: Path) -> None:
        self._session = open_session(folder)
        self._names = [node.name for node in self._session.get_outputs()]
        self._dtype = np.dtype(np.float32 if form.graph_float32 else np.float64)
        self._divisor, self._band, self._votes = form.divisor, form.band, form.head == "votes"
        self._mirrored = form.mirrored
        self._folder = folder
        self._sum_dtype = np.dtype(np.float32 if form.sums_float32 else np.float64)
        self._exact: ExactTrees | None = None

    def scores(self, x: Array) -> Array:
        """(rows, outputs) in float64; near ties are added up again as the original does it."""
        if self._mirrored:
            fed = with_negatives(x, self._dtype)
        else:
            fed = x if x.dtype == self._dtype else x.astype(self._dtype)
        scores: Array = self._session.run(self._names, {"input": fed})[0].astype(np.float64)
        if self._votes and scores.shape[1] == 1:
            scores = both_classes(scores, self._divisor)  # before the division: whole votes then stay whole
        if self._divisor != 1.0:
            scores /= self._divisor
        if self._band:
            unsure = _near_tie(scores, self._band, at_most_1=self._votes)
            if unsure.any():
                scores[unsure] = self._exact_scores(x[unsure])
        return scores

    def _exact_scores(self, x: Array) -> Array:
        if self._exact is None:
            arrays = {name: read_array(self._folder, name, lazily=True) for name in TREE_ARRAYS}
            self._exact = ExactTrees(arrays, self._divisor, self._sum_dtype)
        return self._exact.scores(x)


def both_classes(second: Array, total: float = 1.0) -> Array:
    """(rows, 2) from the second class's share of `total`, (rows, 1). Faster than `hstack` for few rows."""
    both = np.empty((len(second), 2), dtype=second.dtype)
    np.subtract(total, second[:, 0], out=both[:, 0])
    both[:, 1] = second[:, 0]
    return both


def _near_tie(scores: Array, band: float, *, at_most_1: bool) -> Array:
    """Rows whose two highest scores (or whose only score and 0) are within `band` of each other.

    Scores above 1 widen the band; for those that are known to be no larger nobody looks.
    """
    if scores.shape[1] == 1:
        near: Array = np.abs(scores[:, 0]) <= band
        return near
    if scores.shape[1] == 2:
        gap = np.abs(scores[:, 1] - scores[:, 0])
    else:
        highest = np.partition(scores, -2, axis=1)
        gap = highest[:, -1] - highest[:, -2]
    widened = band if at_most_1 else band * np.maximum(1.0, np.abs(scores).max(axis=1))
    return np.asarray(gap <= widened)


class ExactTrees:
    """The ensemble in NumPy, added up as the original does, tree by tree: slow, and the original to the last bit."""

    def __init__(self, arrays: dict[str, Array], divisor: float, sum_dtype: np.dtype[Any]) -> None:
        self._arrays, self._divisor, self._dtype = arrays, divisor, sum_dtype

    def scores(self, x: Array) -> Array:
        """(rows, outputs); `x` as the trees see it."""
        leaves = self.leaves(x)
        values = self._arrays["value"][leaves.T]  # (trees, rows, outputs)
        base = np.broadcast_to(self._arrays["base"], (1, *values.shape[1:]))
        # cumsum, because sum adds in pairs.
        summed: Array = np.cumsum(np.concatenate((base, values)), axis=0, dtype=self._dtype)[-1]
        return summed / self._divisor

    def leaves(self, x: Array) -> Array:
        """(rows, trees): the node in which each row ends."""
        arrays = self._arrays
        nodes = np.repeat(np.asarray(arrays["root"])[None, :], len(x), axis=0)
        rows = np.arange(len(x))[:, None]
        while True:
            left = arrays["left"][nodes]
            if (left < 0).all():
                return nodes
            seen = x[rows, arrays["feature"][nodes]]
            goes_left = (seen <= arrays["threshold"][nodes]) | (np.isnan(seen) & arrays["track"][nodes])
            nodes = np.where(left < 0, nodes, np.where(goes_left, left, arrays["right"][nodes]))


class Graph:
    """A whole model as skl2onnx converted it: its last two outputs are labels and probabilities, or values."""

    def __init__(self, form: AcceleratedForm, folder: Path) -> None:
        self._session = open_session(folder)
        self.names = [node.name for node in self._session.get_outputs()]
        self._dtype = np.dtype(np.float32 if form.graph_float32 else np.float64)

    def run(self, x: Array, names: list[str]) -> list[Array]:
        """The outputs with these names."""
        found: list[Array] = self._session.run(names, {"input": x.astype(self._dtype, copy=False)})
        return found


def expit(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    found: Array = np.where(x >= 0, small.dtype.type(1), small) / (1 + small)
    return found


def softmax(x: Array) -> Array:
    """By row."""
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    found: Array = powers / powers.sum(axis=1, keepdims=True, dtype=np.float64).astype(powers.dtype)
    return found


def _relu(x: Array) -> Array:
    found: Array = np.maximum(x, 0.0)
    return found


def _same(x: Array) -> Array:
    return x


def _tanh(x: Array) -> Array:
    found: Array = np.tanh(x)
    return found


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "identity": _same,
    "relu": _relu,
    "tanh": _tanh,
    "logistic": expit,
    "softmax": softmax,
}
