"""Named arrays into what models take (a matrix, a data frame), and rows of plain JSON into named arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tidegate.errors import UnfitInput
from tidegate.runtimes.base.cells import element_of, is_special, series_of
from tidegate.runtimes.base.runtime import Arrays, numpy_dtype
from tidegate.wire.signature import LEFT_OUT, MATRIX_INPUT, MISSING_SUFFIX, Signature, TensorSpec


def row_count(inputs: Arrays) -> int:
    """Rows of a request."""
    return len(next(iter(inputs.values())))


def packed_of(inputs: Arrays, specs: Sequence[TensorSpec]) -> np.ndarray[Any, Any] | None:
    """The one 2-D tensor that holds all columns, if that is how they came."""
    if len(inputs) != 1:
        return None
    array = next(iter(inputs.values()))
    return array if array.ndim == 2 and (len(specs) > 1 or specs[0].name not in inputs) else None


def matrix_of(inputs: Arrays) -> np.ndarray[Any, Any]:
    """The 2-D array of a `matrix` signature."""
    array = inputs.get(MATRIX_INPUT)
    return next(iter(inputs.values())) if array is None else array


def columns_of(inputs: Arrays, specs: Sequence[TensorSpec]) -> list[np.ndarray[Any, Any]]:
    """One 1-D array per column in training order, however they came. Missing marks are left to `frame_of`."""
    packed = packed_of(inputs, specs)
    if packed is None:
        return [_column(inputs, spec) for spec in specs]
    if packed.shape[1] != len(specs):
        raise UnfitInput(f"expected {len(specs)} columns, got {packed.shape[1]}", expected=len(specs))
    return [_retyped(packed[:, index], spec) for index, spec in enumerate(specs)]


def _column(inputs: Arrays, spec: TensorSpec) -> np.ndarray[Any, Any]:
    array = inputs.get(spec.name)
    if array is None:
        raise UnfitInput(f"input {spec.name!r} is missing", input=spec.name)
    return array.reshape(len(array)) if array.ndim == 2 and array.shape[1] == 1 else array


def _retyped(column: np.ndarray[Any, Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    """A column cut from a float matrix, in the type it was trained with where that loses nothing."""
    wanted = numpy_dtype(spec.datatype)
    if wanted == column.dtype or wanted.kind not in "iub" or column.dtype.kind not in "fiu":
        return column
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        return column
    cast = column.astype(wanted)
    return cast if np.array_equal(cast, column) else column


def frame_of(inputs: Arrays, specs: Sequence[TensorSpec], categories: Mapping[str, Any] | None = None) -> Any:
    """A pandas data frame with the columns' own types; `categories` are the columns to make categorical.

    Integers with missing values become floats with NaN, as pandas made of them in training, unless that would round
    them: then they become its nullable integers. An optional column that is left out in all rows is not there.
    """
    import pandas as pd

    packed = packed_of(inputs, specs)
    if packed is not None and len(packed) and packed.shape[1] == len(specs) and not categories:
        datatypes = {spec.datatype for spec in specs}
        if len(datatypes) == 1 and numpy_dtype(datatypes.pop()) == packed.dtype:
            return pd.DataFrame(packed, columns=[spec.name for spec in specs], copy=False)
    series = {}
    for spec, column in zip(specs, columns_of(inputs, specs), strict=True):
        missing = inputs.get(spec.name + MISSING_SUFFIX)
        if spec.optional and missing is not None and (missing == LEFT_OUT).all():
            continue
        gone = None if missing is None or not missing.any() else missing.astype(bool).ravel()
        values = series_of(column, gone, spec) if is_special(spec) else _series(column, gone)
        if categories and spec.name in categories:
            values = pd.Series(pd.Categorical(values, categories=categories[spec.name]))
        series[spec.name] = values
    return pd.DataFrame(series, index=range(row_count(inputs)))


def _series(column: np.ndarray[Any, Any], missing: np.ndarray[Any, Any] | None) -> Any:
    import pandas as pd

    if column.dtype.kind in "OUS":
        # Missing text is NaN, as pandas reads it from files, and not None, which encoders take for a category.
        if missing is not None:
            column = column.astype(object).copy()
            column[missing] = np.nan
        values = [np.nan if value is None else value for value in column]
        # Also where every value is missing: a row alone must look as it does inside a batch.
        return pd.Series(values, dtype=pd.Series([""]).dtype)
    if missing is None:
        return pd.Series(column, copy=False)
    if column.dtype.kind == "f":
        return pd.Series(np.where(missing, np.nan, column))
    floats = column.astype(np.float64)
    if column.dtype.kind in "iu" and not np.array_equal(floats.astype(column.dtype), column):
        return pd.Series(column).astype(column.dtype.name.replace("int", "Int").replace("uI", "UI")).mask(missing)
    return pd.Series(np.where(missing, np.nan, floats))


def with_missing_nan(matrix: np.ndarray[Any, Any], missing: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    """A float matrix with NaN where a mark says missing."""
    if missing is None or not missing.any():
        return matrix
    return np.where(missing.astype(bool), np.nan, matrix)


def rows_to_inputs(rows: Sequence[Any], signature: Signature) -> Arrays:
    """Rows as plain JSON has them (lists in column order, or records) as named arrays; None is a missing value.

    Inspection builds its example and its trial rows with this; requests go through the data plane's codecs.
    """
    specs = signature.inputs
    if signature.kind == "tensors" and isinstance(rows[0], Mapping):
        return {spec.name: _stacked([row[spec.name] for row in rows], spec) for spec in specs}
    if signature.kind != "columns":
        return {specs[0].name: _stacked(rows, specs[0])}
    table = [[row[spec.name] for spec in specs] if isinstance(row, Mapping) else list(row) for row in rows]
    inputs: Arrays = {}
    for index, spec in enumerate(specs):
        inputs |= column_inputs([row[index] for row in table], spec)
    return inputs


def _stacked(values: Sequence[Any], spec: TensorSpec) -> np.ndarray[Any, Any]:
    array = np.array(values, dtype=object)
    if spec.datatype.startswith("FP"):
        array = np.where(array == np.array(None), np.nan, array)
    array = array.astype(numpy_dtype(spec.datatype))
    return array.reshape(len(values), *spec.shape[1:]) if -1 not in spec.shape[1:] else array


def column_inputs(values: Sequence[Any], spec: TensorSpec) -> Arrays:
    """One column and, when a value is missing, its `__missing` mark. Floats carry NaN instead."""
    missing = np.array([is_missing(value) for value in values], dtype=bool)
    dtype = numpy_dtype(spec.datatype)
    array = np.empty(len(values), dtype=dtype)
    filler: Any = np.nan if dtype.kind == "f" else "" if dtype.kind == "O" else 0
    for index, value in enumerate(values):
        array[index] = filler if missing[index] else element_of(value, spec)
    if missing.any() and dtype.kind != "f":
        return {spec.name: array, spec.name + MISSING_SUFFIX: missing}
    return {spec.name: array}


def is_missing(value: Any) -> bool:
    """None, NaN, or pandas' NA and NaT."""
    if value is None:
        return True
    if isinstance(value, str):
        return False
    different = value != value  # noqa: PLR0124 - the definition of NaN
    return (
        different is True
        or (isinstance(different, np.bool_) and bool(different))
        or type(different).__name__ == "NAType"
    )
