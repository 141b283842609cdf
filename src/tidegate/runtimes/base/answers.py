"""What somebody's own `predict` returned: tensors where it is one kind of number or text, else JSON row by row."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from tidegate.runtimes.base.inputs import is_missing

Array = np.ndarray[Any, Any]

_JSON = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class WrongAnswer(Exception):
    """`predict` returned something that is no answer."""


def rows_of(value: Any, rows: int) -> Any:
    """An array, or a list of one item for each row; raises `WrongAnswer` for anything else."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.to_dict("records")
    elif hasattr(value, "detach"):  # a torch tensor
        value = value.detach().cpu().numpy()
    elif hasattr(value, "to_numpy"):
        value = value.to_numpy()
    is_array = isinstance(value, np.ndarray) and value.ndim > 0 and value.dtype.kind in "biufUOMSTm"
    is_list = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if not is_array and not is_list:
        what = "None" if value is None else f"a {type(value).__name__}"
        raise WrongAnswer(f"'predict' returned {what}: return a list or an array of one item for each row")
    if len(value) != rows:
        raise WrongAnswer(f"'predict' returned {len(value)} items for {rows} rows: return one item for each row")
    return value if is_array else list(value)


def tensor_of(items: Any) -> Array | None:
    """Numbers, booleans or text of one kind and shape; None for anything else, which travels as JSON."""
    if isinstance(items, np.ndarray) and items.dtype.kind in "biuf":
        return items
    if isinstance(items, np.ndarray) and items.dtype.kind in "Mm":
        return None  # a list of nanoseconds are whole numbers
    listed = items.tolist() if isinstance(items, np.ndarray) else items
    try:
        array = np.array(listed)
    except ValueError:  # ragged
        return None
    if array.dtype.kind in "biuf":
        return array if len(_kinds(listed)) == 1 else None
    return array.astype(object) if array.dtype.kind == "U" and _kinds(listed) == {"text"} else None


def floats_of(items: Any) -> Array | None:
    """Numbers; None among them is a missing one."""
    try:
        array = np.array(items, dtype=None if isinstance(items, np.ndarray) and items.dtype.kind == "f" else np.float64)
    except (ValueError, TypeError):
        return None
    return array


def bytes_of(items: Any) -> Array | None:
    """Bytes, one a row; None for anything else."""
    listed = items.tolist() if isinstance(items, np.ndarray) else items
    if not listed or not all(isinstance(item, bytes) for item in listed):
        return None
    return _objects(listed)


def texts_of(items: Any) -> Array | None:
    """Texts, bytes or times (as ISO 8601), one a row, with None for a missing one; None where there is anything else.

    Nothing but missing values are texts too.
    """
    listed = items.tolist() if isinstance(items, np.ndarray) and items.dtype.kind != "M" else items
    texts = [None if is_missing(item) else _text(item) for item in listed]
    return _objects(texts) if all(text is None or isinstance(text, str | bytes) for text in texts) else None


def _text(item: Any) -> Any:
    """A time as text of ISO 8601, with nanoseconds where it has some; anything else as it is."""
    if isinstance(item, np.datetime64):
        short = item.astype("datetime64[us]")
        return short.astype(object).isoformat() if short == item else str(item)
    return item.isoformat() if hasattr(item, "isoformat") else item


def _objects(items: list[Any]) -> Array:
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def _kinds(item: Any) -> set[str]:
    """What nested lists hold: so that [1, "a"] is not taken for text, nor [True, 2] for numbers."""
    if isinstance(item, list | tuple | np.ndarray):
        return set().union(*(_kinds(one) for one in item)) if len(item) else set()
    if isinstance(item, bool | np.bool_):
        return {"bool"}
    return {"text"} if isinstance(item, str) else {"number"} if isinstance(item, int | float | np.number) else {"other"}


def json_of(items: Any) -> Array:
    """One JSON text a row."""
    rows = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        try:
            rows[index] = orjson.dumps(item, option=_JSON, default=_plain).decode()
        except TypeError as error:
            raise WrongAnswer(f"row {index} that 'predict' returned is no JSON: {error}") from None
    return rows


def _plain(value: Any) -> Any:
    """JSON for what it has no type for: times as ISO 8601, bytes in base64, pydantic's models as objects."""
    if isinstance(value, bytes):
        return base64.encodebytes(value).decode("ascii")
    for method in ("isoformat", "model_dump", "tolist"):
        if callable(found := getattr(value, method, None)):
            return found()
    raise TypeError(f"it holds a {type(value).__name__}")
