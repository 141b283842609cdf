"""ONNX graphs on ONNX Runtime: the graph's own names in and out."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.errors import ModelLoadFailed, UnfitInput
from tidegate.runtimes.base.runtime import Arrays, Wanted, as_tensor, error_text
from tidegate.runtimes.models.graph_model import GraphModel, with_any_rows
from tidegate.wire.signature import TensorSpec

_DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(string)": "BYTES",
    "tensor(bool)": "BOOL",
    **{f"tensor({kind}{bits})": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}
_REFUSALS = frozenset({"InvalidArgument", "Fail"})


class OnnxModel(GraphModel):
    """A session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._outputs = [node.name for node in session.get_outputs()]
        self._maps = {node.name for node in session.get_outputs() if node.type.startswith("seq(map(")}
        self._keys: list[Any] = []
        nodes = session.get_inputs()
        specs, one_row = with_any_rows(tuple(_input_spec(node) for node in nodes))
        # A scalar beside other inputs is one for the whole call: each row has its own, and a call of its own.
        super().__init__(specs, one_row=one_row or (len(nodes) > 1 and not all(node.shape for node in nodes)))

    def _keys_of_scores(self) -> list[Any]:
        return self._keys

    def _run(self, feed: Arrays, wanted: Wanted) -> Arrays:
        names = [name for name in self._outputs if wanted is None or name in wanted]
        _check_text(feed)
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


def _check_text(feed: Arrays) -> None:
    """ONNX Runtime makes text of whatever it gets: of bytes their Python literal (`b'...'`)."""
    for name, array in feed.items():
        if array.dtype.kind == "O" and any(isinstance(item, bytes) for item in array.ravel().tolist()):
            raise UnfitInput(f"input {name!r} holds bytes that are not UTF-8, and ONNX strings are UTF-8", input=name)


def _input_spec(node: Any) -> TensorSpec:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise ModelLoadFailed(f"the ONNX input {node.name!r} is a {node.type}, which cannot be sent as a tensor")
    sides = [side if isinstance(side, int) and side >= 0 else -1 for side in node.shape]
    return TensorSpec(node.name, datatype, tuple(sides) or (-1,), nullable=False)
