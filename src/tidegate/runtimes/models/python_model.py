"""A plain Python class as a model: what goes into its `predict`, and what its answers become."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from tidegate.errors import MissingLibrary, UnfitInput
from tidegate.runtimes.base.answers import WrongAnswer, floats_of, json_of, rows_of, tensor_of
from tidegate.runtimes.base.inputs import frame_of, matrix_of, row_count
from tidegate.runtimes.base.runtime import Arrays, ModelExited, Task, Wanted, output_spec
from tidegate.runtimes.models.python_folder import PythonClass
from tidegate.wire.signature import PREDICTION, InputKind, Scalar, TensorSpec

Array = np.ndarray[Any, Any]


class PythonModel:
    """`inputs` is a 2-D array (`matrix`), a data frame (`columns`) or a dict of arrays by name (`tensors`).

    `outputs` are those that registration saw (`note_outputs`): from then on the kind of answers stays.
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

    def note_outputs(self, answers: Arrays) -> None:
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
        items = rows_of(value, rows)
        spec = self._outputs.get(name)
        if spec is None:
            array = tensor_of(items)
            if array is None:
                self._json.add(name)
            return json_of(items) if array is None else array
        if spec.json:
            return json_of(items)
        array = tensor_of(items) if not spec.datatype.startswith("FP") else floats_of(items)
        if array is None or (array.dtype.kind == "O") != (spec.datatype == "BYTES"):
            raise WrongAnswer(
                f"'predict' returned other rows than at registration, which were {spec.datatype}: {str(items)[:80]}"
            )
        return array
