"""Serves a faster form with the original's names, datatypes and refusals. Loads no pickle, imports no scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.runtimes.accelerated.serve.engines import Dense, Graph, Trees, both_classes, expit, open_session, softmax
from tidegate.runtimes.accelerated.serve.form import AcceleratedForm, read_array, read_form
from tidegate.runtimes.accelerated.serve.steps import STEPS, refused
from tidegate.runtimes.accelerated.serve.tables import FrameEncoder
from tidegate.runtimes.base.inputs import columns_of, matrix_of, with_missing_nan
from tidegate.runtimes.base.runtime import Arrays, Task, Wanted, numpy_dtype
from tidegate.runtimes.models.onnx_model import OnnxModel
from tidegate.wire.signature import MISSING_SUFFIX, PREDICTION, PROBABILITIES, Scalar, Signature, TensorSpec

Array = np.ndarray[Any, Any]
HARMLESS_SQUARES = 1e76
"""Numbers whose squares add up to less are finite, and stay so in float32: one look at them instead of four."""


class NamedGraph(OnnxModel):
    """A form that is an ONNX graph with the original's own inputs and outputs (a `Model`, as the original is)."""

    def __init__(self, folder: Path) -> None:
        super().__init__(open_session(folder))


def fast_model(folder: Path, signature: Signature) -> FastModel | NamedGraph:
    """The form in a folder, ready to answer. Raises `ModelLoadFailed`, `MissingLibrary`."""
    return NamedGraph(folder) if read_form(folder).engine == "named" else FastModel(folder, signature)


class FastModel:
    """A form behind named arrays (a `Model`, as the original is).

    `signature` is the original's, or without `whole` that of what follows a table, which takes a matrix.
    """

    def __init__(self, folder: Path, signature: Signature, *, whole: bool = True) -> None:
        form = read_form(folder)
        self.form = form
        self.classes: tuple[Scalar, ...] | None = form.classes
        self.task: Task = "regressor" if form.classes is None else "classifier"
        self._specs = signature.inputs if signature.kind == "columns" else ()
        self._datatypes = {spec.name: numpy_dtype(spec.datatype) for spec in signature.outputs}
        self._names = list(self._datatypes)
        self._labels = _labels(form, self._datatypes[PREDICTION])
        self._table = FrameEncoder(form.table, folder, self._specs) if form.table is not None and whole else None
        self._steps = [(step, read_array(folder, f"step-{index}")) for index, step in enumerate(form.steps)]
        self._rounds_only = form.float32 and not self._steps and form.takes_inf == form.takes_overflow
        self._engine: Dense | Trees | Graph = _ENGINES[form.engine](form, folder)

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """See `Runtime.predict`."""
        x = self._features(inputs)
        names = self._names if wanted is None else [name for name in self._names if name in wanted]
        if isinstance(self._engine, Graph):
            found = self._from_graph(self._engine, x, names)
        else:
            scores = self._engine.scores(x)
            found = self._from_scores(scores.astype(np.float32) if self.form.sums_float32 else scores, names)
        for name, dtype in self._datatypes.items():
            if name in found and found[name].dtype != dtype:
                found[name] = found[name].astype(dtype)
        return found

    def _features(self, inputs: Arrays) -> Array:
        """The matrix as the engine takes it; raises `UnfitInput` for what the original refuses."""
        x = self._matrix(inputs)
        if x.ndim != 2 or x.dtype.kind not in "fiub":
            raise refused(f"expected a 2-D array of numbers, got {x.ndim}-D of {x.dtype}")
        if x.shape[1] != self.form.n_features:
            raise refused(f"X has {x.shape[1]} features, but the model is expecting {self.form.n_features} features")
        form = self.form
        if self._rounds_only and x.dtype.kind == "f" and np.vdot(x, x) < HARMLESS_SQUARES:
            return x.astype(np.float32, copy=False)
        if self._steps or not form.float32 or form.takes_inf != form.takes_overflow:
            x = x.astype(np.float64, copy=False)
            self._check(x, takes_inf=form.takes_inf)
            for step, array in self._steps:
                x = STEPS[step](x, array)
            if self.form.zero_to:
                x = np.where(np.abs(x) <= self.form.zero_to, 0.0, x)
        if self.form.float32:
            with np.errstate(over="ignore"):  # what overflows becomes infinite, and is refused as such
                x = x.astype(np.float32, copy=False)
        if self._steps or form.float32:
            self._check(x, takes_inf=form.takes_overflow)
        return x

    def _matrix(self, inputs: Arrays) -> Array:
        if self._table is not None:
            return self._table.matrix(inputs)
        return stacked(inputs, self._specs) if self._specs else matrix_of(inputs)

    def _check(self, x: Array, *, takes_inf: bool) -> None:
        if np.isfinite(x).all():
            return
        if not self.form.takes_nan and np.isnan(x).any():
            raise refused("Input X contains NaN.")
        if not takes_inf and np.isinf(x).any():
            raise refused(f"Input X contains infinity or a value too large for {x.dtype!r}.")

    def _from_scores(self, scores: Array, names: Sequence[str]) -> Arrays:
        found: Arrays = {}
        if PREDICTION in names:
            found[PREDICTION] = self._prediction(scores)
        if PROBABILITIES in names:
            found[PROBABILITIES] = _PROBABILITIES[self.form.head](scores)
        return found

    def _prediction(self, scores: Array) -> Array:
        head = self.form.head
        if self._labels is None:
            values: Array = scores[:, 0] if scores.shape[1] == 1 else scores
            return np.asarray(np.exp(values)) if head == "exp" else expit(values) if head == "sigmoid" else values
        if head in ("second_if_likelier", "likeliest"):
            return np.asarray(self._labels[_PROBABILITIES[head](scores).argmax(axis=1)])
        if scores.shape[1] > 1:
            return np.asarray(self._labels[scores.argmax(axis=1)])
        only = scores[:, 0]
        second = only > 0.5 if head == "half" else only >= 0 if head == "logistic_from_zero" else only > 0
        return np.asarray(self._labels[second.astype(np.intp)])

    def _from_graph(self, graph: Graph, x: Array, names: Sequence[str]) -> Arrays:
        outputs = dict(zip((PREDICTION, PROBABILITIES), graph.names, strict=False))
        values = graph.run(x, [outputs[name] for name in names])
        found = dict(zip(names, values, strict=True))
        if PREDICTION in found and self._labels is None and found[PREDICTION].shape[1:] == (1,):
            found[PREDICTION] = found[PREDICTION][:, 0]
        return found


def stacked(inputs: Arrays, specs: tuple[TensorSpec, ...]) -> Array:
    """Named columns side by side in the type they promote to, as pandas hands them to scikit-learn."""
    columns = columns_of(inputs, specs)
    if any(column.dtype.kind not in "fiub" for column in columns):
        raise refused("could not convert string to float")
    marked = [
        with_missing_nan(column, inputs.get(spec.name + MISSING_SUFFIX))
        for spec, column in zip(specs, columns, strict=True)
    ]
    return np.column_stack(marked)


def _labels(form: AcceleratedForm, dtype: np.dtype[Any]) -> Array | None:
    if form.classes is None:
        return None
    labels = np.empty(len(form.classes), dtype=dtype)
    labels[:] = form.classes
    return labels


def _as_they_are(scores: Array) -> Array:
    return both_classes(scores) if scores.shape[1] == 1 else scores


def _two(scores: Array) -> Array:
    return _as_they_are(expit(scores))


def _one_vs_rest(scores: Array) -> Array:
    each = expit(scores)
    total = each.sum(axis=1, keepdims=True)
    return np.where(total == 0, 1.0 / scores.shape[1], each / np.where(total == 0, 1.0, total))


_PROBABILITIES = {
    "votes": _as_they_are,
    "logistic": _two,
    "logistic_from_zero": _two,
    "softmax": softmax,
    "one_vs_rest": _one_vs_rest,
    "half": _as_they_are,
    "highest": _as_they_are,
    "second_if_likelier": _two,
    "likeliest": softmax,
}
_ENGINES: dict[str, Any] = {"dense": Dense, "trees": Trees, "graph": Graph}
