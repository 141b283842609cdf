"""Tensors of a model's inputs and outputs as the columns that are watched: one value a row, each under one name.

The same for rows of validation data and for captured ones, so that a baseline and what is compared with it have the
same columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from tidegate.wire.signature import MATRIX_INPUT, MISSING_SUFFIX, PROBABILITIES, Signature, TensorSpec

WIDTH_MAX = 64
"""Values of one tensor's row with a column of their own; of longer rows (embeddings) the norm and some projections."""
PROJECTIONS = 8
_SEED = 15

Array = np.ndarray[Any, Any]
Role = Literal["input", "output"]


@dataclass(frozen=True)
class WatchedColumns:
    """Columns of equal length by name. `kinds`: where they do not follow from the datatype."""

    values: dict[str, Array] = field(default_factory=dict)
    datatypes: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)

    def of(self, role: Role) -> dict[str, Array]:
        """The columns of inputs, or of outputs."""
        return {name: values for name, values in self.values.items() if self.roles[name] == role}

    def where(self, rows: Array) -> WatchedColumns:
        """Of these rows alone; where they are all of them, the very same."""
        sizes = {len(values) for values in self.values.values()}
        if sizes == {len(rows)} and np.array_equal(rows, np.arange(len(rows))):
            return self
        chosen = {name: values[rows] for name, values in self.values.items()}
        return WatchedColumns(chosen, self.datatypes, self.kinds, self.roles)


def watched_columns(
    signature: Signature, inputs: Mapping[str, Array], outputs: Mapping[str, Array] | None = None
) -> WatchedColumns:
    """The columns of these tensors. What the signature has and the tensors have not is left out.

    An output that is called like an input is `output_NAME`.
    """
    found = WatchedColumns()
    for name, array, datatype, kind in _inputs(signature, inputs):
        _add(found, name, array, (datatype, kind, "input"))
    for name, array, datatype, kind in _outputs(signature, outputs or {}):
        _add(found, f"output_{name}" if name in found.values else name, array, (datatype, kind, "output"))
    return found


def _add(found: WatchedColumns, name: str, array: Array, how: tuple[str, str | None, Role]) -> None:
    datatype, kind, role = how
    found.values[name], found.datatypes[name], found.roles[name] = array, datatype, role
    if kind is not None:
        found.kinds[name] = kind


_Column = tuple[str, Array, str, str | None]


def _inputs(signature: Signature, tensors: Mapping[str, Array]) -> Iterator[_Column]:
    packed = _packed(signature.inputs, tensors)
    if packed is not None:
        for place, spec in enumerate(signature.inputs):
            yield spec.name, packed[:, place], spec.datatype, None
        return
    for spec in signature.inputs:
        array = tensors.get(spec.name)
        if array is None and signature.is_nameless and len(tensors) == 1:
            array = next(iter(tensors.values()))
        if array is None:
            continue
        array = _masked(array, tensors.get(spec.name + MISSING_SUFFIX), spec.datatype)
        name = "feature_{}" if spec.name == MATRIX_INPUT else spec.name + "[{}]"
        yield from _flat(spec.name, array, spec, name)


def _packed(specs: Sequence[TensorSpec], tensors: Mapping[str, Array]) -> Array | None:
    """Named columns that came as one tensor, in their order."""
    if len(tensors) != 1 or len(specs) < 2:
        return None
    array = next(iter(tensors.values()))
    return array if array.ndim == 2 and array.shape[1] == len(specs) else None


def _outputs(signature: Signature, tensors: Mapping[str, Array]) -> Iterator[_Column]:
    for place, spec in enumerate(signature.outputs):
        array = tensors.get(spec.name)
        if array is None:
            continue
        array = _masked(array, tensors.get(spec.name + MISSING_SUFFIX), spec.datatype)
        classes = signature.classes or ()
        if spec.name == PROBABILITIES and array.ndim == 2 and array.shape[1] == len(classes) <= WIDTH_MAX:
            for number, label in enumerate(classes):
                if len(classes) != 2 or number:  # of two, one says what the other does
                    yield f"{spec.name}[{label}]", array[:, number], spec.datatype, None
            continue
        is_class = place == 0 and signature.classes is not None and not spec.datatype.startswith(("FP", "BF"))
        for name, values, datatype, kind in _flat(spec.name, array, spec, spec.name + "[{}]"):
            yield name, values, datatype, "category" if is_class and datatype != "BOOL" else kind


def _flat(name: str, array: Array, spec: TensorSpec, numbered: str) -> Iterator[_Column]:
    """A tensor of one value a row as it is; of some values one column each; of many their norm and projections."""
    kind = "text" if spec.json else None
    wide = array.reshape(len(array), -1) if array.ndim > 1 else array[:, None]
    width = wide.shape[1]
    if width == 1 and (array.ndim == 1 or spec.name != MATRIX_INPUT):
        yield name, wide[:, 0], spec.datatype, kind
    elif width <= WIDTH_MAX:
        for place in range(width):
            yield numbered.format(place), wide[:, place], spec.datatype, kind
    elif wide.dtype.kind in "biuf":
        numbers = wide.astype(np.float64)
        yield f"{name}.norm", np.sqrt((numbers**2).sum(axis=1)), "FP64", None
        directions = np.random.default_rng(_SEED).normal(size=(width, PROJECTIONS)) / np.sqrt(width)
        for place, values in enumerate((numbers @ directions).T):
            yield f"{name}.projection_{place}", values, "FP64", None


def _masked(array: Array, mask: Array | None, datatype: str) -> Array:
    """With its missing values as NaN or None, where a tensor beside it says which they are."""
    if mask is None or not len(mask):
        return array
    gone = mask.astype(bool).reshape(mask.shape)
    if gone.shape != array.shape:
        gone = gone.reshape(array.shape) if gone.size == array.size else np.zeros(array.shape, dtype=bool)
    if datatype in ("BOOL", "BYTES") or array.dtype.kind == "O":
        kept = array.astype(object)
        kept[gone] = None
        return kept
    return np.where(gone, np.nan, array.astype(np.float64))
