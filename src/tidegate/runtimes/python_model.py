"""A plain Python class as a model: what goes into its `predict`, and what its answers become."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from tidegate.errors import MissingLibrary, UnfitInput
from tidegate.runtimes.base import Arrays, ModelExited, Task, Wanted, output_spec
from tidegate.runtimes.inputs import frame_of, matrix_of, row_count
from tidegate.runtimes.python_folder import PythonClass
from tidegate.wire.signature import PREDICTION, InputKind, Scalar, TensorSpec

Array = np.ndarray[Any, Any]

_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class WrongAnswer(Exception):
    """`predict` returned something that is no answer."""


class PythonModel:
    """`inputs` is a 2-D array (`matrix`), a data frame (`columns`) or a dict of arrays by name (`tensors`).

    `outputs` are those that registration saw (`settle` notes them): from then on the kind of answers stays.
    """

    def __init__(
        self, loaded: PythonClass, kind: InputKind, specs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...] = ()
    ) -> None:
        self.loaded = loaded
        self._kind = kind
        self._specs = specs
        self._outputs = {spec.name: spec for spec in outputs}
        self._json = {spec.name for spec in outputs if spec.json}
        self.task: Task = "other"
        self.classes: tuple[Scalar, ...] | None = None

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """`preprocess` (where there is one), then `predict`. A `ValueError` of theirs is a refusal of the input."""
        given = self._inputs(inputs)
        try:
            prepare = getattr(self.loaded.instance, "preprocess", None)
            result = self.loaded.instance.predict(prepare(given) if callable(prepare) else given)
        except ValueError as error:
            raise UnfitInput(f"the model refused the input: {' '.join(str(error).split())}") from error
        except SystemExit as error:
            raise ModelExited(f"the model's code called exit ({error.code})") from error
        answers = self._answers(result, row_count(inputs))
        return {name: array for name, array in answers.items() if wanted is None or name in wanted}

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """How its answers look, with the marks of those that are JSON."""
        return tuple(self._outputs.values())

    def settle(self, answers: Arrays) -> None:
        """Answers look like these first ones from now on."""
        for name, array in answers.items():
            spec = output_spec(name, array)
            self._outputs[name] = TensorSpec(name, spec.datatype, spec.shape, json=name in self._json)

    def _inputs(self, inputs: Arrays) -> Any:
        if self._kind == "matrix":
            return matrix_of(inputs)
        if self._kind == "tensors":
            return inputs
        try:
            return frame_of(inputs, self._specs)
        except ModuleNotFoundError as error:
            raise MissingLibrary(
                "a model of named columns gets a pandas data frame, and pandas is not installed in its environment: "
                "name pandas in its requirements.txt",
                library="pandas",
            ) from error

    def _answers(self, result: Any, rows: int) -> Arrays:
        if inspect.isawaitable(result):
            raise WrongAnswer("'predict' returned a coroutine: it has to be a plain method")
        named = result if isinstance(result, Mapping) else {PREDICTION: result}
        if not named:
            raise WrongAnswer("'predict' returned an empty dict: return one item for each row")
        answers = {str(name): self._tensor(str(name), value, rows) for name, value in named.items()}
        if self._outputs and answers.keys() != self._outputs.keys():
            raise WrongAnswer(f"'predict' returned {sorted(answers)}, where it returned {sorted(self._outputs)} before")
        return answers

    def _tensor(self, name: str, value: Any, rows: int) -> Array:
        items = _rows_of(value, rows)
        spec = self._outputs.get(name)
        if spec is None:
            array = _as_tensor(items)
            if array is None:
                self._json.add(name)
            return _as_json(items) if array is None else array
        if spec.json:
            return _as_json(items)
        array = _as_tensor(items) if not spec.datatype.startswith("FP") else _as_floats(items)
        if array is None or (array.dtype.kind == "O") != (spec.datatype == "BYTES"):
            raise WrongAnswer(
                f"'predict' returned other rows than at registration, which were {spec.datatype}: {str(items)[:80]}"
            )
        return array


def _rows_of(value: Any, rows: int) -> Any:
    """An array, or a list of one item for each row; raises `WrongAnswer` for anything else."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.to_dict("records")
    elif hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu().numpy()
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    is_array = isinstance(value, np.ndarray) and value.ndim > 0 and value.dtype.kind in "biufUO"
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if not is_array and not is_list:
        what = "None" if value is None else f"a {type(value).__name__}"
        raise WrongAnswer(f"'predict' returned {what}: return a list or an array of one item for each row")
    if len(value) != rows:
        raise WrongAnswer(f"'predict' returned {len(value)} items for {rows} rows: return one item for each row")
    return value if is_array else list(value)


def _as_tensor(items: Any) -> Array | None:
    """Numbers, booleans or text of one kind and shape; None for anything else, which travels as JSON."""
    if isinstance(items, np.ndarray) and items.dtype.kind in "biuf":
        return items
    listed = items.tolist() if isinstance(items, np.ndarray) else items
    try:
        array = np.array(listed)
    except ValueError:  # ragged
        return None
    if array.dtype.kind in "biuf":
        return array if len(_kinds(listed)) == 1 else None
    return array.astype(object) if array.dtype.kind == "U" and _kinds(listed) == {"text"} else None


def _as_floats(items: Any) -> Array | None:
    """Numbers; None among them is a missing one."""
    try:
        array = np.array(items, dtype=None if isinstance(items, np.ndarray) and items.dtype.kind == "f" else np.float64)
    except (ValueError, TypeError):
        return None
    return array


def _kinds(item: Any) -> set[str]:
    """What nested lists hold: so that [1, "a"] is not taken for text, nor [True, 2] for numbers."""
    if isinstance(item, list | tuple | np.ndarray):
        return set().union(*(_kinds(one) for one in item)) if len(item) else set()
    if isinstance(item, bool | np.bool_):
        return {"bool"}
    return {"text"} if isinstance(item, str) else {"number"} if isinstance(item, int | float | np.number) else {"other"}


def _as_json(items: Any) -> Array:
    """One JSON text a row."""
    rows = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        try:
            rows[index] = orjson.dumps(item, option=_JSON, default=_plain).decode()
        except TypeError as error:
            raise WrongAnswer(f"row {index} that 'predict' returned is no JSON: {error}") from None
    return rows


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"it holds a {type(value).__name__}")
