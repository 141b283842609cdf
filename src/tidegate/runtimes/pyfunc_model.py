"""Any other MLflow flavour, through `mlflow.pyfunc`: a data frame or an array in, whatever it predicts out."""

from __future__ import annotations

import re
from typing import Any

from tidegate.errors import UnfitInput
from tidegate.runtimes.base import Arrays, Task, Wanted, as_tensor, error_text, refusals
from tidegate.runtimes.inputs import frame_of, matrix_of
from tidegate.wire.signature import PREDICTION, InputKind, Scalar, TensorSpec

_REFUSALS = re.compile("schema|invalid param", re.IGNORECASE)


class PyfuncModel:
    """A loaded `mlflow.pyfunc.PyFuncModel`."""

    def __init__(self, model: Any, kind: InputKind, specs: tuple[TensorSpec, ...]) -> None:
        self._model = model
        self._kind = kind
        self._specs = specs
        self.task: Task = "other"
        self.classes: tuple[Scalar, ...] | None = None

    def predict(self, inputs: Arrays, wanted: Wanted, params: dict[str, Any] | None = None) -> Arrays:
        """`prediction`: what the model's `predict` returns. Params that are not given have the model's defaults."""
        if wanted is not None and PREDICTION not in wanted:
            return {}
        with refusals():
            try:
                return {PREDICTION: as_tensor(self._model.predict(self._features(inputs), params=params))}
            except Exception as error:
                # MLflow raises this for input and params that do not fit the signature it enforces.
                if type(error).__name__ == "MlflowException" and _REFUSALS.search(str(error)):
                    raise UnfitInput(f"the model refused the input: {error_text(error)}") from error
                raise

    def _features(self, inputs: Arrays) -> Any:
        if self._kind == "columns":
            return frame_of(inputs, self._specs)
        if self._kind == "tensors" and len(self._specs) > 1:
            return inputs
        return matrix_of(inputs)
