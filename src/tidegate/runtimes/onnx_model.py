"""ONNX graphs on ONNX Runtime: the graph's own names in and out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.errors import ModelLoadFailed, UnfitInput
from tidegate.runtimes.base import Arrays, Task, Wanted, as_tensor, error_text, numpy_dtype, scalars
from tidegate.runtimes.inputs import row_count
from tidegate.wire.signature import Scalar, TensorSpec

_DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(string)": "BYTES",
    "tensor(bool)": "BOOL",
    **{f"tensor({kind}{bits})": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
_REFUSALS = frozenset({"InvalidArgument", "Fail"})


class OnnxModel:
    """A session. Where the graph was exported for one row at a time, several rows are run one after another."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = tuple(_input_spec(node) for node in session.get_inputs())
        self._outputs = [node.name for node in session.get_outputs()]
        self._dtypes = {spec.name: numpy_dtype(spec.datatype) for spec in self.inputs}
        self._one_row = any(node.shape and node.shape[0] == 1 for node in session.get_inputs())
        self._maps = {node.name for node in session.get_outputs() if node.type.startswith("seq(map(")}
        self.task: Task = "other"
        self.classes: tuple[Scalar, ...] | None = None
        self._keys: list[Any] = []

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """The graph's outputs, in its order."""
        feed = {name: self._cast(name, array) for name, array in inputs.items()}
        rows = row_count(feed)
        if not self._one_row or rows <= 1:
            return self._run(feed, wanted)
        parts = [self._run({name: array[i : i + 1] for name, array in feed.items()}, wanted) for i in range(rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def learn_classes(self, answers: Arrays) -> None:
        """Take the task and the labels from a first answer: labels beside a score for each of them."""
        names = list(answers)
        if self._keys:
            self.classes = scalars(self._keys)
        elif len(names) == 2 and answers[names[1]].ndim == 2 and answers[names[0]].dtype.kind in "iO":
            self.classes = tuple(range(answers[names[1]].shape[1])) if answers[names[0]].dtype.kind == "i" else None
        first = answers[names[0]]
        if self.classes is not None or first.dtype.kind in "iO":
            self.task = "classifier"
        elif first.dtype.kind == "f" and (first.ndim == 1 or first.shape[1:] == (1,)):
            self.task = "regressor"

    def _cast(self, name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        dtype = self._dtypes.get(name)
        if dtype is None:
            raise UnfitInput(f"the model has no input {name!r}: it has {', '.join(self._dtypes)}", input=name)
        return array if array.dtype == dtype else array.astype(dtype)

    def _run(self, feed: Arrays, wanted: Wanted) -> Arrays:
        names = [name for name in self._outputs if wanted is None or name in wanted]
        try:
            values = self._session.run(names, feed)
        except Exception as error:
            if type(error).__name__ in _REFUSALS or isinstance(error, ValueError | TypeError):
                raise UnfitInput(f"the model refused the input: {error_text(error)}") from error
            raise
        return {
            name: self._unzipped(value) if name in self._maps else as_tensor(value)
            for name, value in zip(names, values, strict=True)
        }

    def _unzipped(self, rows: list[dict[Any, float]]) -> np.ndarray[Any, Any]:
        """skl2onnx's ZipMap gives one dictionary a row; a tensor holds the same in the order of its keys."""
        if not rows:
            return np.empty((0, len(self._keys)), dtype=np.float32)
        self._keys = self._keys or list(rows[0])
        return np.array([[row[key] for key in self._keys] for row in rows], dtype=np.float32)


def _input_spec(node: Any) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise ModelLoadFailed(f"the ONNX input {node.name!r} is a {node.type}, which cannot be sent as a tensor")
    sides = [side if isinstance(side, int) and side >= 0 else -1 for side in node.shape]
    return TensorSpec(node.name, datatype, (-1, *sides[1:]), nullable=False)
