"""What a plain Python class declares about its input (`example`, `signature`), as a draft that an inspection tries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tidegate.errors import NotAModel
from tidegate.runtimes.base.runtime import numpy_dtype, v2_datatype
from tidegate.runtimes.models.python_folder import PythonClass
from tidegate.runtimes.signatures.hints import Hint
from tidegate.wire.signature import MATRIX_INPUT, InputKind, TensorSpec

Declared = tuple[InputKind, tuple[TensorSpec, ...], list[Hint], list[Any]]
"""Kind, inputs, values seen for each of them, and whole rows."""

_HOW = '\'example\' has to be one row: a list of numbers, or a record like {"age": 41, "plan": "pro"}'


def declared_of(loaded: PythonClass) -> Declared | None:
    """The declaration; None when the class makes none. Raises `NotAModel` for one that cannot be read."""
    rows = [] if loaded.example is None else _rows(loaded.example)
    if loaded.declared is not None:
        kind, specs = _of_signature(loaded.declared)
        return kind, specs, [Hint() for _ in specs], rows
    if not rows:
        return None
    first = rows[0]
    if isinstance(first, Mapping):
        specs = tuple(_spec(str(name), value) for name, value in first.items())
        kind = "columns" if all(len(spec.shape) == 1 for spec in specs) else "tensors"
        hints = [_hint(spec, [row[spec.name] for row in rows]) for spec in specs] if kind == "columns" else []
        return kind, specs, hints, rows
    if not all(type(value) in (int, float) for value in first):
        raise NotAModel(f"{_HOW}; a list may hold numbers only")
    spec = TensorSpec(MATRIX_INPUT, "FP64", (-1, len(first)))
    hints = [_hint(spec, [float(row[index]) for row in rows]) for index in range(len(first))]
    return "matrix", (spec,), hints, rows


def _rows(example: Any) -> list[Any]:
    """One row, or several of the same form."""
    example = example.tolist() if isinstance(example, np.ndarray) else example
    many = isinstance(example, list | tuple) and bool(example) and isinstance(example[0], list | tuple | Mapping)
    rows = [list(row) if isinstance(row, tuple) else row for row in (example if many else [example])]
    if not all(isinstance(row, list | Mapping) and len(row) for row in rows):
        raise NotAModel(f"{_HOW}, not {str(example)[:60]}")
    forms = {tuple(row) if isinstance(row, Mapping) else len(row) for row in rows}
    if len(forms) > 1:
        raise NotAModel("the rows of 'example' differ in their form: give each the same columns")
    return rows


def _spec(name: str, value: Any) -> TensorSpec:
    if isinstance(value, str | bool | int | float):
        datatype = {str: "BYTES", bool: "BOOL", int: "INT64"}.get(type(value), "FP64")
        return TensorSpec(name, datatype, (-1,))
    try:
        array = np.array(value)
    except ValueError:
        array = np.array(None)
    if array.ndim == 0 or array.dtype.kind not in "biufU":
        raise NotAModel(f"'example' has {value!r:.40} for {name!r}: give a number, a text, a boolean or lists of these")
    return TensorSpec(name, v2_datatype(array.dtype), (-1, *array.shape))


def _hint(spec: TensorSpec, values: list[Any]) -> Hint:
    """The values, and around a single number some others: rows that are all the same show nothing about batches."""
    hint = Hint(spec.datatype if spec.datatype != "FP64" else None)
    hint.add(values)
    if len(hint.values) == 1 and spec.datatype == "FP64":
        value = float(hint.values[0])
        hint.add([value + 1.0, value * 0.5, value - 1.0])
    return hint


def _of_signature(declared: Any) -> tuple[InputKind, tuple[TensorSpec, ...]]:
    """`{"age": "INT64"}` is columns; `{"image": ("FP32", [28, 28])}` is tensors."""
    if not isinstance(declared, Mapping) or not declared:
        raise NotAModel(
            '\'signature\' has to be a dict from names to V2 datatypes ({"age": "INT64"}), or to a datatype and the '
            'shape of one row ({"image": ("FP32", [28, 28])})'
        )
    specs = []
    for name, what in declared.items():
        datatype, shape = (what, []) if isinstance(what, str) else (what[0], list(what[1]))
        try:
            numpy_dtype(datatype)
        except KeyError:
            raise NotAModel(f"'signature' has {datatype!r} for {name!r}, which is no V2 datatype") from None
        specs.append(TensorSpec(str(name), datatype, (-1, *shape)))
    columns = all(len(spec.shape) == 1 for spec in specs)
    return ("columns" if columns else "tensors"), tuple(specs)
