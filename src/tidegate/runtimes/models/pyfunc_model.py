"""Any other MLflow flavour, through `mlflow.pyfunc`: a data frame, an array or a list in, whatever it predicts out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from tidegate.errors import UnfitInput
from tidegate.runtimes.base.answers import WrongAnswer, bytes_of, floats_of, json_of, rows_of, tensor_of, texts_of
from tidegate.runtimes.base.cells import cell_of
from tidegate.runtimes.base.inputs import frame_of, matrix_of, row_count
from tidegate.runtimes.base.runtime import (
    Arrays,
    Task,
    Wanted,
    as_tensor,
    error_text,
    numpy_dtype,
    output_spec,
    refusals,
)
from tidegate.wire.signature import LEFT_OUT, MISSING_SUFFIX, PREDICTION, Form, InputKind, Scalar, TensorSpec

Array = np.ndarray[Any, Any]

_REFUSALS = re.compile("schema|invalid param|type hint", re.IGNORECASE)


class PyfuncModel:
    """A loaded `mlflow.pyfunc.PyFuncModel`.

    `outputs` and `form` are those that registration saw (`note_outputs`): from then on the kind of answers stays.
    """

    def __init__(
        self,
        model: Any,
        kind: InputKind,
        specs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...] = (),
        form: Form = "",
    ) -> None:
        self._model = model
        self._kind = kind
        self._specs = specs
        self._outputs = {spec.name: spec for spec in outputs}
        self.form: Form = form
        self._hinted = _has_type_hint(model)
        self._unnamed = _has_no_names(model)
        self._texts = _text_tensors(model)
        self.task: Task = "other"
        self.classes: tuple[Scalar, ...] | None = None

    def predict(self, inputs: Arrays, wanted: Wanted, params: dict[str, Any] | None = None) -> Arrays:
        """What the model's `predict` returns: `prediction`, or the columns of a table, or a dictionary's items.

        Params that are not given have the model's defaults. Raises `UnfitInput` where it answers these rows without an
        output that is wanted (a column that it passes on and that they do not have).
        """
        parts = [
            (rows, self._answers(self._called(part, params), row_count(part))) for rows, part in self._alike(inputs)
        ]
        answers = parts[0][1] if len(parts) == 1 else _joined(parts)
        if lacking := sorted((wanted or frozenset()) - answers.keys()):
            raise UnfitInput(f"the model answers these rows without {', '.join(map(repr, lacking))}", output=lacking[0])
        return {name: array for name, array in answers.items() if wanted is None or name in wanted}

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """How its answers look."""
        return tuple(self._outputs.values())

    def note_outputs(self, answers: Arrays) -> None:
        """Answers look like these first ones from now on."""
        self._outputs = {name: self._outputs.get(name) or output_spec(name, array) for name, array in answers.items()}

    def widen(self, inputs: Arrays) -> None:
        """Take outputs that some of these rows show to be of no one shape or type for JSON. Fails as `predict` does."""
        named, _ = _named(self._called(inputs, None))
        for name, value in named.items():
            spec = self._outputs.get(name)
            if spec is None or spec.json or spec.holds:
                continue
            array = _tensor_of(rows_of(value, row_count(inputs)))
            if array is None or not _alike_in_kind(array, spec):
                self._outputs[name] = TensorSpec(name, "BYTES", (-1,), json=True)

    # -- in ------------------------------------------------------------------------------------------------------------

    def _alike(self, inputs: Arrays) -> list[tuple[Array, Arrays]]:
        """The rows by which optional columns they have: a column that was left out is not there for the model."""
        masks = [inputs.get(spec.name + MISSING_SUFFIX) for spec in self._specs if spec.optional]
        rows = np.arange(row_count(inputs))
        known = [mask for mask in masks if mask is not None]
        if not known or not len(rows):
            return [(rows, inputs)]
        lacks = np.stack(known, axis=1) == LEFT_OUT
        kinds = np.unique(lacks, axis=0)
        if len(kinds) == 1:
            return [(rows, inputs)]
        parts = [np.flatnonzero((lacks == kind).all(axis=1)) for kind in kinds]
        return [(part, {name: array[part] for name, array in inputs.items()}) for part in parts]

    def _called(self, inputs: Arrays, params: dict[str, Any] | None) -> Any:
        with refusals():
            try:
                return self._model.predict(self._features(inputs), params=params)
            except Exception as error:
                # MLflow raises this for input and params that do not fit the signature it enforces.
                if type(error).__name__ == "MlflowException" and _REFUSALS.search(str(error)):
                    raise UnfitInput(f"the model refused the input: {error_text(error)}") from error
                raise

    def _features(self, inputs: Arrays) -> Any:
        if self._kind == "columns":
            if self._hinted:
                return _items(inputs, self._specs[0])
            frame = frame_of(inputs, self._specs)
            for name, column in _booleans_with_gaps(inputs, self._specs).items():
                frame[name] = column
            if self._unnamed:
                frame.columns = range(len(frame.columns))
            return frame
        if self._kind == "tensors" and len(self._specs) > 1:
            return {name: array.astype(np.str_) if name in self._texts else array for name, array in inputs.items()}
        return matrix_of(inputs)

    # -- out -----------------------------------------------------------------------------------------------------------

    def _answers(self, result: Any, rows: int) -> Arrays:
        named, form = _named(result)
        if not self._outputs:
            self.form = form
        elif not self.form and form:  # registered when a table was answered as its values
            return {PREDICTION: as_tensor(result)}
        elif self.form != form:
            raise WrongAnswer(f"'predict' returned a {type(result).__name__}, which it did not at registration")
        if not named:
            raise WrongAnswer("'predict' returned nothing: return one item for each row")
        return {name: self._tensor(name, rows_of(value, rows)) for name, value in named.items()}

    def _tensor(self, name: str, items: Any) -> Array:
        spec = self._outputs.get(name)
        if spec is not None and spec.json:
            return json_of(items)
        if spec is not None and spec.datatype.startswith("FP") and (floats := floats_of(items)) is not None:
            return floats
        if spec is not None and spec.datatype == "BYTES" and (texts := texts_of(items)) is not None:
            return texts
        array = _tensor_of(items)
        if array is not None:
            return array
        found = bytes_of(items)
        if spec is None:
            made = json_of(items) if found is None else found
            self._outputs[name] = TensorSpec(
                name, "BYTES", (-1,), json=found is None, holds="" if found is None else "binary"
            )
            return made
        if spec.datatype != "BYTES":
            raise WrongAnswer(
                f"'predict' returned other rows than at registration, which were {spec.datatype}: {str(items)[:80]}"
            )
        return as_tensor(items) if found is None else found


def _tensor_of(items: Any) -> Array | None:
    return texts_of(items) if _are_times(items) else tensor_of(items)


def _alike_in_kind(array: Array, spec: TensorSpec) -> bool:
    """Whether an answer could be the output's: one shape, and both numbers, booleans or text."""
    found, known = (
        dtype.kind if dtype.kind in "Ob" else "number" for dtype in (array.dtype, numpy_dtype(spec.datatype))
    )
    return output_spec("", array).shape == spec.shape and found == known


def _items(inputs: Arrays, spec: TensorSpec) -> list[Any]:
    """A list of one value a row, for a model with a type hint."""
    elements = inputs[spec.name].tolist()
    gone = inputs.get(spec.name + MISSING_SUFFIX, np.zeros(len(elements), dtype=bool)).tolist()
    return [None if absent else cell_of(element, spec) for element, absent in zip(elements, gone, strict=True)]


def _booleans_with_gaps(inputs: Arrays, specs: tuple[TensorSpec, ...]) -> dict[str, Array]:
    """Columns of booleans of which some are missing: MLflow takes None among them, and no floats."""
    found = {}
    for spec in specs:
        gone = inputs.get(spec.name + MISSING_SUFFIX)
        if spec.datatype == "BOOL" and gone is not None and gone.any() and not (gone == LEFT_OUT).all():
            found[spec.name] = inputs[spec.name].astype(object)
            found[spec.name][gone.astype(bool)] = None
    return found


def _named(result: Any) -> tuple[dict[str, Any], Form]:
    """The parts of an answer by name, and the form that they have together."""
    if hasattr(result, "to_frame") and hasattr(result, "to_numpy"):  # a series, which MLflow answers as a table
        if result.name is None:
            return {PREDICTION: result}, "series"
        result = result.to_frame()
    if hasattr(result, "to_dict") and hasattr(result, "columns"):
        return {str(name): result[name] for name in result.columns}, "records"
    if isinstance(result, Mapping):
        return {str(name): value for name, value in result.items()}, "columns"
    return {PREDICTION: result}, ""


def _are_times(items: Any) -> bool:
    first = items[0] if len(items) else None
    return isinstance(first, np.datetime64) or hasattr(first, "isoformat")


def _joined(parts: list[tuple[Array, Arrays]]) -> Arrays:
    """Answers to some rows each as the answers to all.

    Raises `UnfitInput` where they are of different kinds, as where a column is passed on.
    """
    first = parts[0][1]
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    looks = {name: (array.dtype, array.shape[1:]) for name, array in first.items()}
    if any({name: (array.dtype, array.shape[1:]) for name, array in one.items()} != looks for _, one in parts):
        raise UnfitInput(
            "the model answers differently where optional columns are left out: send rows that have them, and rows "
            "that do not, in requests of their own"
        )
    return {name: np.concatenate([answers[name] for _, answers in parts])[order] for name in first}


def _has_type_hint(model: Any) -> bool:
    asked = getattr(model.metadata, "_is_signature_from_type_hint", None)  # there is no public way to ask
    return bool(asked is not None and asked())


def _has_no_names(model: Any) -> bool:
    schema = model.metadata.get_input_schema()
    return schema is not None and not schema.has_input_names()


def _text_tensors(model: Any) -> frozenset[str]:
    """The tensors that MLflow takes only in NumPy's own type for text."""
    schema = model.metadata.get_input_schema()
    if schema is None or not schema.is_tensor_spec():
        return frozenset()
    return frozenset(one.name for one in schema.inputs if one.type.kind == "U")
