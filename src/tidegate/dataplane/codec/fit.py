"""Makes a request's values fit a signature: Python values (plain JSON) or tensors (V2) in, a call's rows out.

Nothing is cast silently: what does not fit is `UnfitInput`, naming the input, what was expected and what came.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tidegate.dataplane.base.stepwise import each, pause, turned
from tidegate.dataplane.base.tensors import Array, array_of, dtype_of
from tidegate.dataplane.base.words import listing, type_name
from tidegate.dataplane.codec.columns import (
    Column,
    columns_of,
    elements,
    filled_up,
    left_out,
    mask_of,
    required,
    row_count,
    width_of,
    wrong_width,
)
from tidegate.dataplane.codec.ranges import EXACT_BELOW
from tidegate.errors import UnfitInput
from tidegate.wire.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from tidegate.dataplane.calls.call import Destination
    from tidegate.dataplane.calls.outputs import Tensors

NAMES_MAX = 128
"""Names that an error's message lists, and those that its details do: a client may send any number."""


class Fitted(msgspec.Struct, gc=False):
    """What a call needs of its input: `packed` or `tensors` (see `Call`), and how many rows there are."""

    rows: int
    packed: list[Any] | Array | None = None
    tensors: Tensors | None = None


# -- plain JSON: lists, lists of lists, records --------------------


def fit_values(features: Any, destination: Destination) -> tuple[Fitted, bool]:
    """Fit plain JSON's `features`; also tells whether it was one un-nested row (a list of values or one record)."""
    signature = destination.signature
    if isinstance(features, dict):
        return _fit_records([features], signature, destination), True
    if not isinstance(features, list):
        raise UnfitInput(f"'features' is {type_name(features)}: send a list of values, a list of rows or records")
    if not features:
        raise UnfitInput(
            "'features' is empty: send at least one row", input="features", expected="1 or more rows", got=0
        )
    if isinstance(features[0], dict):
        return _fit_records(features, signature, destination), False
    if signature.kind == "tensors" and destination.n_features is None:
        return _fit_nested(features, signature)
    single = not isinstance(features[0], list)
    return _fit_rows([features] if single else features, signature, destination), single


def _fit_rows(rows: list[Any], signature: Signature, destination: Destination) -> Fitted:
    width = width_of(rows, signature)
    for index, row in enumerate(each(rows)):
        if not isinstance(row, list):
            raise UnfitInput(
                f"row {index} of 'features' is {type_name(row)}, where a list of {width} values is expected"
            )
        if len(row) != width:
            raise wrong_width(index, width, len(row))
    return fit_columns(filled_up(turned(rows), signature), column_specs(signature, width), destination)


def column_specs(signature: Signature, width: int) -> list[TensorSpec]:
    """One spec per value of a row; an unnamed matrix's columns are called by their place."""
    if signature.kind == "columns":
        return list(signature.inputs)
    spec = signature.inputs[0]
    return [TensorSpec(f"features[{index}]", spec.datatype, (-1,), spec.nullable) for index in range(width)]


def _fit_records(records: list[Any], signature: Signature, destination: Destination) -> Fitted:
    if signature.kind == "matrix":
        raise UnfitInput(
            f"the model was trained without column names: send lists of {destination.n_features} values, not records"
        )
    names = [spec.name for spec in signature.inputs]
    needed = required(signature.inputs)
    for index, record in enumerate(each(records)):
        check_names(record, names, f"row {index} of 'features'", needed)
    if signature.kind == "tensors":
        return _stack_records(records, signature)
    return fit_columns(columns_of(records, signature.inputs), list(signature.inputs), destination)


def check_names(record: Any, names: list[str], where: str, needed: list[str] | None = None) -> None:
    """Raise `UnfitInput` unless the record has these names and no others; those that are not `needed` may lack."""
    if not isinstance(record, dict):
        raise UnfitInput(f"{where} is {type_name(record)}, where a record like the first one is expected")
    if record.keys() == set(names):
        return
    missing = [name for name in (names if needed is None else needed) if name not in record]
    unknown = record.keys() - set(names)
    extra = sorted(itertools.islice(unknown, NAMES_MAX))
    if not missing and not extra:
        return
    wrong = [f"lacks {listing(missing)}"] if missing else []
    wrong += [f"has {listing(extra, len(unknown))}, which the model does not take"] if extra else []
    raise UnfitInput(
        f"{where} {' and '.join(wrong)}",
        input=(missing or extra)[0],
        expected=names,
        got=sorted(itertools.islice(record, NAMES_MAX)),
    )


def fit_columns(columns: Sequence[Column], specs: list[TensorSpec], destination: Destination) -> Fitted:
    """Fit one list of values per spec; None is a missing value, and in place of a list an optional column left out."""
    rows = row_count(columns)
    tensors: Tensors = {}
    for values, spec in zip(columns, specs, strict=True):
        tensors |= left_out(spec, rows) if values is None else _column(values, spec)
    return packed_if_possible(tensors, specs, rows, destination)


def packed_if_possible(tensors: Tensors, specs: list[TensorSpec], rows: int, destination: Destination) -> Fitted:
    """One 2-D array where the signature allows it: it merges and travels faster than a tensor per column."""
    signature = destination.signature
    if signature.packed_datatype is None and signature.kind == "columns":
        return Fitted(rows, tensors=tensors)
    if signature.packed_datatype is None:  # one 2-D tensor of text or booleans
        return Fitted(rows, tensors={signature.inputs[0].name: np.stack([tensors[s.name] for s in specs], axis=1)})
    packed = np.empty((rows, len(specs)), dtype=destination.packed_dtype)
    for index, spec in enumerate(specs):
        packed[:, index] = tensors[spec.name]
    return Fitted(rows, packed=packed)


def _column(values: list[Any], spec: TensorSpec) -> Tensors:
    """One column's array, and beside it which values are missing where the datatype has no NaN to say so."""
    missing = [value is None for value in each(values)]
    has_missing = any(missing)
    if has_missing and not spec.nullable:
        raise UnfitInput(
            f"{spec.name!r} is null in row {missing.index(True)}, and the model takes no missing values",
            input=spec.name,
            row=missing.index(True),
            expected=spec.datatype,
            got="null",
        )
    array = _typed(elements(values, spec) if spec.json or spec.holds else values, spec)
    return {spec.name: array, **(mask_of(missing, spec) if spec.has_mask else {})}


def _typed(values: list[Any], spec: TensorSpec) -> Array:
    filler, check = _RULES[family_of(spec.datatype)]
    clean = [filler if value is None else value for value in each(values)]
    for row, value in enumerate(each(clean)):
        if not check(value):
            raise _wrong_type(spec, row, value)
    try:
        return array_of(clean, dtype_of(spec.datatype))
    except (OverflowError, ValueError) as error:
        raise UnfitInput(f"{spec.name!r}: {error} ({spec.datatype} is expected)", input=spec.name) from None


def family_of(datatype: str) -> str:
    """`float`, `int`, `BOOL` or `BYTES`."""
    if datatype.startswith(("FP", "BF")):
        return "float"
    return "int" if datatype.startswith(("INT", "UINT")) else datatype


def _is_number(value: Any) -> bool:
    return type(value) is float or type(value) is int


def _is_whole(value: Any) -> bool:
    return type(value) is int or (type(value) is float and value.is_integer() and abs(value) < EXACT_BELOW)


_RULES: dict[str, tuple[Any, Any]] = {
    "float": (math.nan, _is_number),
    "int": (0, _is_whole),
    "BOOL": (False, lambda value: type(value) is bool),
    "BYTES": ("", lambda value: type(value) is str or type(value) is bytes),
}


def _wrong_type(spec: TensorSpec, row: int, value: Any) -> UnfitInput:
    shown = repr(value) if len(repr(value)) <= 40 else repr(value)[:37] + "..."
    hint = " (1 for true, 0 for false)" if type(value) is bool and spec.datatype != "BYTES" else ""
    return UnfitInput(
        f"{spec.name!r} is {shown} ({type_name(value)}) in row {row}, where {spec.datatype} is expected{hint}",
        input=spec.name,
        row=row,
        expected=spec.datatype,
        got=type_name(value),
    )


def _fit_nested(features: list[Any], signature: Signature) -> tuple[Fitted, bool]:
    """One row or several of a model with one input of another rank than 2, told apart by the depth of nesting."""
    if len(signature.inputs) != 1:
        names = [spec.name for spec in signature.inputs]
        raise UnfitInput(f"the model has {len(names)} inputs: send records with {listing(names)}")
    spec = signature.inputs[0]
    array = nested_array(features, spec)
    single = array.ndim == len(spec.shape) - 1
    if single:
        array = array[np.newaxis]
    check_shape(array, spec)
    return Fitted(len(array), tensors={spec.name: array}), single


def _stack_records(records: list[dict[str, Any]], signature: Signature) -> Fitted:
    tensors = {}
    for spec in signature.inputs:
        tensors[spec.name] = nested_array([record[spec.name] for record in each(records)], spec)
        check_shape(tensors[spec.name], spec)
    return Fitted(len(records), tensors=tensors)


def nested_array(values: list[Any], spec: TensorSpec) -> Array:
    """Nested lists as an array of the spec's datatype; its shape is for the caller to check."""
    try:
        boxed = np.array(values, dtype=object)
    except ValueError:
        raise UnfitInput(f"{spec.name!r} is nested unevenly: its lists differ in length", input=spec.name) from None
    _, check = _RULES[family_of(spec.datatype)]
    pause()
    for row, value in enumerate(each(boxed.ravel().tolist())):
        if not check(value):
            raise _wrong_type(spec, row, value)
    try:
        return array_of(boxed, dtype_of(spec.datatype))
    except (OverflowError, ValueError) as error:
        raise UnfitInput(f"{spec.name!r}: {error} ({spec.datatype} is expected)", input=spec.name) from None


def check_shape(array: Array, spec: TensorSpec) -> None:
    """Raise `UnfitInput` unless the array has the spec's rank and lengths (-1 fits any)."""
    if array.ndim == len(spec.shape) and all(
        want in (-1, got) for want, got in zip(spec.shape, array.shape, strict=True)
    ):
        return
    raise UnfitInput(
        f"input {spec.name!r} has shape {list(array.shape)}, but the model takes {list(spec.shape)} (-1 is any length)",
        input=spec.name,
        expected=list(spec.shape),
        got=list(array.shape),
    )
