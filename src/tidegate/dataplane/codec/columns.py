"""Columns that are more than numbers and text: JSON, bytes, times, and columns that a request may leave out.

Used by `fit.py` and `frames.py`. MLflow's signatures have such columns. Pure functions.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tidegate.dataplane.base.stepwise import each
from tidegate.dataplane.base.tensors import dtype_of
from tidegate.errors import UnfitInput
from tidegate.wire.signature import LEFT_OUT, MISSING_SUFFIX, Signature, TensorSpec

if TYPE_CHECKING:
    from tidegate.dataplane.calls.outputs import Tensors

Column = list[Any] | None
"""One value a row; None for a column that was left out."""


def required(specs: Sequence[TensorSpec]) -> list[str]:
    """The columns that a request must have."""
    return [spec.name for spec in specs if not spec.optional]


def columns_of(records: Sequence[Mapping[str, Any]], specs: Sequence[TensorSpec]) -> list[Column]:
    """Records, whose names were checked, by column. An optional one that only some have is missing in the others."""
    return [
        [record.get(spec.name) for record in each(records)]
        if not spec.optional or any(spec.name in record for record in each(records))
        else None
        for spec in specs
    ]


def width_of(rows: Sequence[Any], signature: Signature) -> int:
    """Values in each of these rows without names: one for each input, or fewer where the others may be left out.

    Columns go by their place, so only optional ones at the end may, and the first row says for all whether they are.
    """
    width = signature.n_features or 0
    least = _least_width(signature)
    first = len(rows[0]) if isinstance(rows[0], list) else width
    return first if least <= first < width else width


def wrong_width(row: int, expected: int, got: int, what: str = "features") -> UnfitInput:
    """The error for a row with too few or too many values."""
    return UnfitInput(
        f"row {row} of {what!r} has {got} values, but the model takes {expected}",
        input=what,
        row=row,
        expected=expected,
        got=got,
    )


def filled_up(columns: Iterable[Column], signature: Signature) -> list[Column]:
    """Columns in the model's order, with those at its end that were left out."""
    given = list(columns)
    return given + [None] * (len(signature.inputs) - len(given)) if signature.kind == "columns" else given


def are_first(places: Sequence[str], signature: Signature) -> bool:
    """Whether a table's columns are numbered, and all that the model needs, those at its end aside that it does not."""
    fits = _least_width(signature) <= len(places) <= len(signature.inputs)
    return fits and list(places) == [str(place) for place in range(len(places))]


def _least_width(signature: Signature) -> int:
    if signature.kind != "columns":
        return signature.n_features or 0
    needed = [place for place, spec in enumerate(signature.inputs, 1) if not spec.optional]
    return max(needed, default=1)


def apart(tensors: Tensors, specs: Sequence[TensorSpec]) -> Tensors:
    """The one 2-D tensor of a request by column, as far as it goes; more than it has keep their number for a name."""
    (array,) = tensors.values()
    names = [spec.name for spec in specs] + [str(place) for place in range(len(specs), array.shape[1])]
    return {name: array[:, place] for place, name in enumerate(names[: array.shape[1]])}


def row_count(columns: Sequence[Column]) -> int:
    """Rows of a table; raises `UnfitInput` where it has no column to tell them by."""
    if not columns:
        return 0
    for column in columns:
        if column is not None:
            return len(column)
    raise UnfitInput("the table has none of the model's columns: send at least one of them")


def left_out(spec: TensorSpec, rows: int) -> Tensors:
    """The tensors of an optional column that a request does not have."""
    dtype = dtype_of(spec.datatype)
    filler: Any = "" if dtype.kind == "O" else np.nan if dtype.kind == "f" else 0
    mask = np.full(rows, LEFT_OUT, dtype=np.uint8)
    return {spec.name: np.full(rows, filler, dtype=dtype), spec.name + MISSING_SUFFIX: mask}


def mask_of(missing: Sequence[bool], spec: TensorSpec) -> Tensors:
    """The mask beside a column."""
    return {spec.name + MISSING_SUFFIX: np.array(missing, dtype=np.uint8 if spec.optional else np.bool_)}


def check_masks(tensors: Tensors, specs: Sequence[TensorSpec]) -> None:
    """Raise `UnfitInput` for a mask that comes without the column whose missing values it tells."""
    for spec in specs:
        mask = spec.name + MISSING_SUFFIX
        if mask in tensors and spec.name not in tensors:
            raise UnfitInput(
                f"input {mask!r} says which values of {spec.name!r} are missing, and {spec.name!r} did not come: "
                "send both, or neither",
                input=spec.name,
            )


def elements(values: list[Any], spec: TensorSpec) -> list[Any]:
    """The BYTES elements of values as JSON has them; None stays None.

    Raises `UnfitInput` for text that is no base64 in a column of bytes, and for JSON that cannot be passed on as it is.
    """
    if spec.json:
        return [None if value is None else _json(value, row, spec) for row, value in enumerate(each(values))]
    if spec.holds == "binary":
        return [_bytes(value, row, spec) for row, value in enumerate(each(values))]
    return values


def _json(value: Any, row: int, spec: TensorSpec) -> str:
    try:
        return orjson.dumps(value, default=_text).decode()
    except TypeError as error:  # an integer above 64 bits, half a character, nested too deep, bytes that are no text
        raise UnfitInput(
            f"{spec.name!r} in row {row} holds what cannot be passed on: {error}", input=spec.name, row=row
        ) from None


def _bytes(value: Any, row: int, spec: TensorSpec) -> Any:
    if type(value) is not str:
        return value
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise UnfitInput(
            f"{spec.name!r} is no base64 in row {row}, which a column of bytes takes",
            input=spec.name,
            row=row,
            expected="base64",
        ) from None


def _text(value: Any) -> str:
    """TensorFlow's `{"b64": ...}` inside of JSON. Raises `ValueError` for bytes that are no text."""
    return value.decode() if isinstance(value, bytes) else str(value)
