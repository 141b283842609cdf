"""Models that name their own tensors (ONNX graphs, exported programs, SavedModels): what all of them do alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from tidegate.errors import ModelLoadFailed, UnfitInput
from tidegate.runtimes.base.inputs import row_count
from tidegate.runtimes.base.runtime import Arrays, Task, Wanted, as_tensor, numpy_dtype, scalars
from tidegate.wire.signature import Scalar, TensorSpec


class GraphModel(ABC):
    """Named tensors in and out. One that was made for one row a call is run row after row."""

    def __init__(self, inputs: tuple[TensorSpec, ...], *, one_row: bool) -> None:
        self.inputs = inputs
        self._dtypes = {spec.name: numpy_dtype(spec.datatype) for spec in inputs}
        self._one_row = one_row
        self.task: Task = "other"
        self.classes: tuple[Scalar, ...] | None = None
        self.name = ""
        self.others: dict[str, GraphModel] = {}
        """Further functions of the same model, by the names they are called by."""

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """The model's own outputs, in its order."""
        feed = {name: self._cast(name, array) for name, array in inputs.items()}
        rows = row_count(feed)
        if not self._one_row or rows <= 1:
            return self._run(feed, wanted)
        parts = [self._run({name: array[i : i + 1] for name, array in feed.items()}, wanted) for i in range(rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def drafts(self) -> list[tuple[TensorSpec, ...]]:
        """Inputs it may have, the likeliest first: most models know theirs."""
        return [self.inputs]

    def with_inputs(self, specs: tuple[TensorSpec, ...]) -> GraphModel:  # noqa: ARG002 (for those that did not know)
        """The model with the inputs that were inferred."""
        return self

    def learn_classes(self, answers: Arrays) -> None:
        """Take the task and the labels from a first answer: labels beside a score for each of them."""
        names = list(answers)
        if self._keys_of_scores():
            self.classes = scalars(self._keys_of_scores())
        elif len(names) == 2 and answers[names[1]].ndim == 2 and answers[names[0]].dtype.kind in "iO":
            self.classes = tuple(range(answers[names[1]].shape[1])) if answers[names[0]].dtype.kind == "i" else None
        first = answers[names[0]]
        if self.classes is not None or first.dtype.kind in "iO":
            self.task = "classifier"
        elif first.dtype.kind == "f" and (first.ndim == 1 or first.shape[1:] == (1,)):
            self.task = "regressor"

    def _keys_of_scores(self) -> list[Any]:
        """Labels that the model itself gives with its scores."""
        return []

    @abstractmethod
    def _run(self, feed: Arrays, wanted: Wanted) -> Arrays:
        """The outputs in `wanted`; raises `UnfitInput` for what the model refuses."""

    def _cast(self, name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        dtype = self._dtypes.get(name)
        if dtype is None:
            raise UnfitInput(f"the model has no input {name!r}: it has {', '.join(self._dtypes)}", input=name)
        return array if array.dtype == dtype else array.astype(dtype)


def with_any_rows(specs: tuple[TensorSpec, ...]) -> tuple[tuple[TensorSpec, ...], bool]:
    """A program's inputs for any number of rows, and whether it was made for one row a call, by their first axes.

    Raises `ModelLoadFailed` for a fixed number of more rows than one: of a batch, or of the layers of a state.
    """
    for spec in specs:
        if spec.shape[0] > 1:
            raise ModelLoadFailed(
                f"the model was exported for exactly {spec.shape[0]} rows a call (input {spec.name!r} has shape "
                f"{list(spec.shape)}, and the first axis of every input is taken for the rows): export it for any "
                "number of rows (torch.export: dynamic_shapes={...: {0: torch.export.Dim('rows')}}; TensorFlow: None; "
                "ONNX: dynamic_axes={...: {0: 'rows'}}), and a recurrent state with its rows first",
                input=spec.name,
            )
    freed = tuple(TensorSpec(spec.name, spec.datatype, (-1, *spec.shape[1:])) for spec in specs)
    return freed, any(spec.shape[0] == 1 for spec in specs)


def named_outputs(answer: Any) -> dict[str, Any]:
    """A program's answer by name: its own (of a dictionary or a named tuple), `output_0` and so on of a tuple, and
    `prediction` for one tensor alone.
    """
    if hasattr(answer, "_asdict"):
        answer = answer._asdict()
    if isinstance(answer, dict):
        return {str(name): value for name, value in answer.items()}
    if isinstance(answer, list | tuple):
        return {f"output_{index}": value for index, value in enumerate(answer)}
    return {"prediction": answer}


def texts(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A tensor as this process has it: bytes that are text as `str`, others as they are."""
    if array.dtype.kind not in "SO":
        return as_tensor(array)
    found = np.empty(array.size, dtype=object)
    found[:] = [_text(item) for item in array.ravel()]
    return found.reshape(array.shape)


def _text(item: Any) -> Any:
    try:
        return item.decode() if isinstance(item, bytes) else item
    except UnicodeDecodeError:
        return item
