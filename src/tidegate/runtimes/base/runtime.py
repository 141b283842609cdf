"""What every loaded model looks like to its caller, and how a model's own refusals are told from its failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import numpy as np

from tidegate.errors import UnfitInput
from tidegate.wire.signature import Scalar, Signature, TensorSpec

Arrays = dict[str, np.ndarray[Any, Any]]
Wanted = frozenset[str] | None
Task = Literal["classifier", "regressor", "other"]
Progress = Callable[[float, str], None]

THREADS = 1
"""Threads a model may use for one call: replicas, not threads inside one, use the machine's cores."""
ERROR_TEXT_MAX = 600

_V2_OF_KIND = {"b": "BOOL", "i": "INT", "u": "UINT", "f": "FP", "U": "BYTES", "S": "BYTES", "O": "BYTES", "T": "BYTES"}
_NUMPY_OF_V2: dict[str, Any] = {
    "BOOL": np.dtype(bool),
    **{f"INT{bits}": np.dtype(f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "BYTES": np.dtype(object),
}


class ModelExited(Exception):
    """The model's own code called `sys.exit()`."""


class Runtime(Protocol):
    """A loaded model. Called by one thread at a time; it never changes what the model answers."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """Answers by output name, rows first; only those in `wanted` (None: all).

        Raises `UnfitInput` for inputs that the model refuses; anything else is the model's own failure.
        """


class LoadedModel(Protocol):
    """A runtime before its outputs are known: what an inspection works with."""

    task: Task
    classes: tuple[Scalar, ...] | None

    def predict(self, inputs: Arrays, wanted: Wanted) -> Arrays:
        """As `Runtime.predict`."""


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what libraries raise for input they cannot take into `UnfitInput`, with their own words.

    A model that ends the process has failed as one that raises has.
    """
    try:
        yield
    except SystemExit as error:
        raise ModelExited(f"the model's code called exit ({error.code})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise UnfitInput(f"the model refused the input: {error_text(error)}") from error
    except Exception as error:
        # LightGBM's own error is no ValueError; that library may not even be installed.
        if type(error).__name__ != "LightGBMError":
            raise
        raise UnfitInput(f"the model refused the input: {error_text(error)}") from error


def error_text(error: BaseException) -> str:
    """`Type: text` on one line, cut to a readable length; never a traceback."""
    text = " ".join(str(error).partition("Stack trace:")[0].split())  # XGBoost appends its own
    if len(text) > ERROR_TEXT_MAX:
        text = text[:ERROR_TEXT_MAX] + " …"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def v2_datatype(dtype: np.dtype[Any]) -> str:
    """The V2 name of a NumPy type (`FP64`, `INT32`, `BOOL`, `BYTES`, …)."""
    name = _V2_OF_KIND.get(dtype.kind, "BYTES")
    return name if name in ("BOOL", "BYTES") else f"{name}{dtype.itemsize * 8}"


def numpy_dtype(datatype: str) -> np.dtype[Any]:
    """The NumPy type of a V2 datatype; `object` for BYTES, whose elements are `str` inside a process."""
    found: np.dtype[Any] = _NUMPY_OF_V2[datatype]
    return found


def wrong_rows(answers: Arrays, rows: int) -> str | None:
    """What is wrong with the number of rows of these answers, by name; None where nothing is."""
    for name, array in answers.items():
        if not array.ndim:
            return f"its output {name!r} is a single value for all rows together, where it has to be one for each row"
        if len(array) != rows:
            return f"it answered {len(array)} rows as {name!r}, where it was asked {rows}"
    return None


def output_spec(name: str, array: np.ndarray[Any, Any]) -> TensorSpec:
    """How an answer looks, with any number of rows."""
    return TensorSpec(name, v2_datatype(array.dtype), (-1, *array.shape[1:]))


def as_tensor(value: Any) -> np.ndarray[Any, Any]:
    """Whatever a model returned, as an array with rows first: strings become objects, data frames their values."""
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    array = np.asarray(value)
    if array.dtype.kind in "UT":
        return array.astype(object)
    if array.dtype.kind == "M":
        times = array.astype("datetime64[us]").astype(object)
        return _tidy_objects(times)
    if array.dtype.kind in "OSm":
        return _tidy_objects(array)
    return array


def _tidy_objects(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Objects that are all numbers as numbers (a data frame of mixed columns), else text."""
    flat = array.ravel()
    if all(isinstance(item, bool | np.bool_) for item in flat):
        return array.astype(bool)
    if all(isinstance(item, int | float | np.number) and not isinstance(item, bool) for item in flat):
        return np.array(flat.tolist()).reshape(array.shape)
    texts = [as_text(item) for item in flat]
    tidy = np.empty(len(texts), dtype=object)
    tidy[:] = texts
    return tidy.reshape(array.shape)


def as_text(item: Any) -> str | bytes:
    """An element of a BYTES tensor: bytes that are no UTF-8 stay what they are."""
    if isinstance(item, bytes):
        try:
            return item.decode()
        except UnicodeDecodeError:
            return item
    if hasattr(item, "isoformat"):
        return str(item.isoformat())
    return item if isinstance(item, str) else "" if item is None else str(item)


def scalars(values: Any) -> tuple[Scalar, ...]:
    """Class labels as plain Python values; times as the text that answers have."""
    return tuple(as_tensor(values).tolist())
