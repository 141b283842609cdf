"""Makes V2's tensors fit a signature. Numbers are widened where that loses nothing; all else is `UnfitInput`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tidegate.dataplane.base.stepwise import each
from tidegate.dataplane.base.tensors import Array, datatype_of, dtype_of
from tidegate.dataplane.base.words import listing
from tidegate.dataplane.codec.columns import apart, check_masks, left_out, required
from tidegate.dataplane.codec.fit import NAMES_MAX, Fitted, check_shape, family_of, packed_if_possible
from tidegate.dataplane.codec.ranges import EXACT_BELOW, check_exact
from tidegate.errors import UnfitInput
from tidegate.wire.signature import MATRIX_INPUT, MISSING_SUFFIX, TensorSpec

if TYPE_CHECKING:
    from tidegate.dataplane.calls.call import Destination
    from tidegate.dataplane.calls.outputs import Tensors


def fit_tensors(tensors: Tensors, nulls: Tensors, destination: Destination) -> Fitted:
    """Fit V2 inputs. `nulls` says of tensors whose JSON had nulls where they are."""
    signature = destination.signature
    if signature.kind == "columns":
        return _fit_column_tensors(tensors, nulls, destination)
    if len(tensors) == 1 and signature.is_nameless:
        tensors, nulls = (dict(zip((MATRIX_INPUT,), held.values(), strict=False)) for held in (tensors, nulls))
    _check_tensor_names(tensors, [spec.name for spec in signature.inputs])
    cast = {spec.name: _fit_tensor(tensors[spec.name], spec, nulls.get(spec.name)) for spec in signature.inputs}
    rows = _common_rows(cast)
    if signature.packed_datatype is not None and signature.kind == "matrix":
        return Fitted(rows, packed=cast[MATRIX_INPUT])
    if signature.packed_datatype is not None and destination.n_features is not None:
        return Fitted(rows, packed=cast[destination.packed_name])
    return Fitted(rows, tensors=cast)


def _fit_column_tensors(tensors: Tensors, nulls: Tensors, destination: Destination) -> Fitted:
    specs = list(destination.signature.inputs)
    if len(tensors) == 1:
        (name, array), *_ = tensors.items()
        if array.ndim == 2 and not (len(specs) == 1 and specs[0].name == name):
            if any(spec.optional for spec in specs):
                return _fit_column_tensors(apart(tensors, specs), apart(nulls, specs) if nulls else {}, destination)
            return _fit_packed_tensor(name, array, nulls.get(name), destination)
    optional = {spec.name + MISSING_SUFFIX for spec in specs if spec.nullable}
    _check_tensor_names(
        {name: array for name, array in tensors.items() if name not in optional},
        [spec.name for spec in specs if not spec.optional or spec.name in tensors],
    )
    check_masks(tensors, specs)
    needed = tensors.keys() | required(specs)
    cast: Tensors = {}
    for spec in specs:
        if spec.name not in needed:
            cast |= left_out(spec, next(iter(tensors.values())).size)  # a column; what is none is refused below
            continue
        array, gaps = tensors[spec.name], nulls.get(spec.name)
        cast[spec.name] = _fit_tensor(array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array, spec, gaps)
        cast |= _missing_mask(tensors, spec, len(array), gaps)
    return packed_if_possible(cast, specs, _common_rows(cast), destination)


def _missing_mask(tensors: Tensors, spec: TensorSpec, rows: int, gaps: Array | None) -> Tensors:
    """Which values are missing: as the client's own mask says, and where it sent null."""
    name = spec.name + MISSING_SUFFIX
    if not spec.has_mask:
        return {}
    mask = tensors.get(name, np.zeros(rows, dtype=bool))
    if mask.shape != (rows,) or (mask.dtype != np.bool_ and not (spec.optional and mask.dtype == np.uint8)):
        raise UnfitInput(f"input {name!r} must be BOOL of shape [{rows}]", input=name)
    if gaps is not None:
        mask = np.where(gaps.ravel(), np.ones(1, dtype=mask.dtype), mask)
    return {name: mask.astype(np.uint8) if spec.optional else mask}


def _fit_packed_tensor(name: str, array: Array, gaps: Array | None, destination: Destination) -> Fitted:
    specs = list(destination.signature.inputs)
    if array.shape[1] != len(specs):
        raise UnfitInput(
            f"input {name!r} has {array.shape[1]} columns, but the model takes {len(specs)}",
            input=name,
            expected=len(specs),
            got=array.shape[1],
        )
    cast: Tensors = {}
    for index, spec in enumerate(specs):
        missing = gaps[:, index] if gaps is not None and gaps[:, index].any() else None
        cast[spec.name] = _fit_tensor(_whole(array[:, index], spec, missing), spec, missing)
        cast |= _missing_mask({}, spec, len(array), missing)
    return packed_if_possible(cast, specs, len(array), destination)


def _whole(column: Array, spec: TensorSpec, missing: Array | None) -> Array:
    """A float column of whole numbers as the integers an integer column takes: lossless, so no silent cast."""
    if column.dtype.kind != "f" or family_of(spec.datatype) != "int":
        return column
    column = column if missing is None else np.where(missing, 0, column)  # it is NaN there, which is no integer
    want = dtype_of(spec.datatype)
    fits = np.isfinite(column) & (column == np.floor(column)) & (np.abs(column) < EXACT_BELOW)
    fits &= (column >= np.iinfo(want).min) & (column <= np.iinfo(want).max)
    if not fits.all():
        raise UnfitInput(
            f"column {spec.name!r} takes {spec.datatype}, but not all of its values are whole numbers of its range",
            input=spec.name,
            expected=spec.datatype,
            got=str(column[~fits][0]),
        )
    return column.astype(want)


def _check_tensor_names(tensors: Tensors, expected: list[str]) -> None:
    if tensors.keys() == set(expected):
        return
    missing = [name for name in expected if name not in tensors]
    known = set(expected)
    extra = [name for name in each(tensors) if name not in known]
    wrong = ([f"missing {listing(missing)}"] if missing else []) + ([f"unknown {listing(extra)}"] if extra else [])
    raise UnfitInput(
        f"inputs do not fit the model: {', '.join(wrong)}; it takes {listing(expected)}",
        input=(missing or extra)[0],
        expected=expected,
        got=list(tensors)[:NAMES_MAX],
    )


def _fit_tensor(array: Array, spec: TensorSpec, gaps: Array | None) -> Array:
    check_shape(array, spec)
    if gaps is not None and not spec.nullable:
        row = int(np.argwhere(gaps)[0][0])
        said = f"input {spec.name!r} is null in row {row}, and the model takes no missing values"
        raise UnfitInput(said, input=spec.name, row=row, expected=spec.datatype, got="null")
    want = dtype_of(spec.datatype)
    if array.dtype == want:
        return array
    # Widening numbers loses nothing; everything else is refused.
    if array.dtype.kind in "iuf" and want.kind in "iuf" and np.can_cast(array.dtype, want, "safe"):
        check_exact(array, spec)
        return array.astype(want)
    raise UnfitInput(
        f"input {spec.name!r} is {datatype_of(array)}, but the model takes {spec.datatype}",
        input=spec.name,
        expected=spec.datatype,
        got=datatype_of(array),
    )


def _common_rows(tensors: Tensors) -> int:
    counts = {name: len(array) for name, array in tensors.items()}
    if len(set(counts.values())) > 1:
        raise UnfitInput(f"inputs disagree about the number of rows: {counts}", got=counts)
    return next(iter(counts.values()))
