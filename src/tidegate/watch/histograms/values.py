"""Values as they came (arrays, lists, columns of data frames) into what is counted: numbers, or texts in one form.

The same value gives the same text however it was written, by the datatype of the signature: 1, "1", 1.0 and True are
one class. Called by layouts, histograms and losses; it knows pandas by its behaviour only and never imports it.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers as abstract
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegate.errors import InvalidArgument

Floats = NDArray[np.float64]
Column = NDArray[Any]

_PANDAS_MISSING = ("NAType", "NaTType")
_TRUE, _FALSE = ("1", "true", "1.0"), ("0", "false", "0.0")
_WHOLE_MAX = 2.0**53
"""Up to here a float is its integer exactly."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a column (infinities too, never NaN), and how many values were missing or no numbers."""

    values: Floats
    missing: int = 0
    invalid: int = 0


@dataclass(frozen=True)
class ValueTally:
    """How often each text occurs in a column, and how many values were missing or of another type."""

    counts: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    invalid: int = 0

    @property
    def valid(self) -> int:
        return sum(self.counts.values())


def column(values: Any, name: str = "values") -> Column:
    """One column as a one-dimensional array. Lists keep their elements' types, masked elements are None."""
    if isinstance(values, np.ma.MaskedArray):
        there = np.asarray(values.data).astype(object)
        there[np.ma.getmaskarray(values)] = None
        values = there
    if isinstance(values, str | bytes):
        raise InvalidArgument(f"{name} must be a column of values, and is one text: {values!r:.40}.", field=name)
    if isinstance(values, Sequence):
        array = np.fromiter(values, dtype=object, count=len(values))
    elif hasattr(values, "to_numpy"):
        array = np.asarray(values.to_numpy())
    else:
        array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InvalidArgument(
            f"{name} must be one column of values, and has the shape {array.shape}: pass one column at a time.",
            field=name,
        )
    return array


def is_missing(value: object) -> bool:
    """None, NaN, and what pandas has for them."""
    if value is None or type(value).__name__ in _PANDAS_MISSING:
        return True
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating) and math.isnan(value)


def datatype_of(array: Column) -> str:
    """The V2 datatype that holds a column's values: of objects, the narrowest that holds every one that is there."""
    if array.dtype.kind in "bui":
        return "BOOL" if array.dtype.kind == "b" else "INT64"
    if array.dtype.kind in "fmM":
        return "FP64"
    if array.dtype.kind != "O":
        return "BYTES"
    types = {type(value) for value in array.tolist() if not is_missing(value)}
    for datatype, base in (
        ("BOOL", (bool, np.bool_)),
        ("INT64", (bool, np.bool_, abstract.Integral)),
        ("FP64", (bool, np.bool_, abstract.Real)),
    ):
        if types and all(issubclass(each, base) for each in types):
            return datatype
    return "BYTES" if types else "FP64"


def numbers(array: Column) -> Numbers:
    """A column's numbers. Texts that say a number are numbers, an empty text is missing, times are seconds."""
    kind = array.dtype.kind
    if kind in "bui":
        return Numbers(array.astype(np.float64))
    if kind == "f":
        return _present(array.astype(np.float64))
    if kind in "mM":
        unit = "timedelta64[us]" if kind == "m" else "datetime64[us]"
        there = array[~np.isnat(array)]
        return Numbers(there.astype(unit).astype(np.int64) / 1e6, array.size - there.size)
    try:
        return _present(np.array(array.tolist(), dtype=np.float64).reshape(-1))
    except (TypeError, ValueError, OverflowError):
        return _numbers_one_by_one(array)


def _present(values: Floats) -> Numbers:
    there = values[~np.isnan(values)]
    return Numbers(there, values.size - there.size)


def _numbers_one_by_one(array: Column) -> Numbers:
    found: list[float] = []
    missing = 0
    for value in array.tolist():
        if is_missing(value) or (isinstance(value, str) and not value.strip()):
            missing += 1
            continue
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            continue
        if math.isnan(number):
            missing += 1
        else:
            found.append(number)
    return Numbers(np.array(found, dtype=np.float64), missing, array.size - missing - len(found))


def text_lengths(array: Column) -> Numbers:
    """How many characters each text has."""
    found: list[int] = []
    missing = 0
    for value in array.tolist():
        if is_missing(value):
            missing += 1
            continue
        try:
            found.append(len(canonical(value, "BYTES")))
        except (TypeError, ValueError, OverflowError):
            continue
    return Numbers(np.array(found, dtype=np.float64), missing, array.size - missing - len(found))


def tally(array: Column, datatype: str) -> ValueTally:
    """Counts of a column's values, each in its one form for this datatype."""
    counts: Counter[str] = Counter()
    missing = invalid = 0
    for value, times in _distinct(array):
        if is_missing(value):
            missing += times
            continue
        try:
            counts[canonical(value, datatype)] += times
        except (TypeError, ValueError, OverflowError):
            invalid += times
    return ValueTally(dict(counts), missing, invalid)


def _distinct(array: Column) -> list[tuple[Any, int]]:
    if array.dtype.kind in "buif":
        values, times = np.unique(array, return_counts=True)
        return list(zip(values, times.tolist(), strict=True))
    try:
        return list(Counter(array.tolist()).items())
    except TypeError:  # a list among the values has no hash
        return [(value, 1) for value in array.tolist()]


def canonicals(array: Column, datatype: str) -> list[str | None]:
    """Each value's one text, in the column's order; None where it is missing or of another type."""
    known: dict[tuple[type, Any], str | None] = {}
    texts: list[str | None] = []
    for value in array.tolist():
        try:
            key = (type(value), value)
            if key not in known:
                known[key] = None if is_missing(value) else canonical(value, datatype)
            texts.append(known[key])
        except (TypeError, ValueError, OverflowError):
            texts.append(None)
    return texts


def canonical(value: Any, datatype: str = "BYTES") -> str:
    """The one text of a value of this datatype; `ValueError` or `TypeError` where it is none.

    BOOL: `true` or `false`. Integers: the decimal. Floating point: as short as it is exact, whole numbers without a
    point, rounded to the datatype's own precision. BYTES: texts as they are (so "1.0" is not "1"), bytes as UTF-8,
    numbers and booleans as numbers.
    """
    if datatype == "BOOL":
        return _flag(value)
    if datatype.startswith(("INT", "UINT")):
        return _whole(value)
    if datatype.startswith(("FP", "BF")):
        return _real(value, datatype)
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, str | np.datetime64):
        return str(value)
    if isinstance(value, bytes | np.bytes_):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return _whole(value) if _is_whole(value) else _real(value, "FP64")


def _flag(value: Any) -> str:
    text = str(value).strip().lower()
    if text not in _TRUE + _FALSE:
        raise ValueError(f"{value!r} is no boolean")
    return "true" if text in _TRUE else "false"


def _is_whole(value: Any) -> bool:
    return isinstance(value, bool | np.bool_ | abstract.Integral)


def _whole(value: Any) -> str:
    if _is_whole(value):
        return str(int(value))
    if isinstance(value, str | bytes):
        text = value.strip().lower()
        if text in ("true", "false"):
            return "1" if text == "true" else "0"
        try:
            return str(int(value))
        except ValueError:
            value = float(value)
    number = float(value)
    if not number.is_integer():
        raise ValueError(f"{value!r} is no integer")
    return str(int(number))


def _real(value: Any, datatype: str) -> str:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        value = value.strip().lower() == "true"
    number = float(value)
    if datatype in ("FP16", "FP32"):
        number = float(np.float16(number) if datatype == "FP16" else np.float32(number))
    if math.isnan(number):
        raise ValueError("NaN is no value")
    return str(int(number)) if number.is_integer() and abs(number) <= _WHOLE_MAX else repr(number)
