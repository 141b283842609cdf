"""V2 datatypes and numpy dtypes, raw bytes of tensors, and BYTES elements. Pure functions."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

import numpy as np
import orjson

from tidegate.dataplane.base.stepwise import each, pause
from tidegate.errors import TooLarge, UnfitInput

_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
DATATYPES = (*_DTYPES, "BF16")
_LENGTH = struct.Struct("<I")
RANK_MAX = 16
PACKED_ROWS_MAX = 256
SUMMED_MAX = 32
"""So few numbers are looked at faster as Python's own."""
STRINGS_MAX = 1 << 20
"""Elements of a raw BYTES tensor: reading so many holds up the event loop for about half a second."""
STRINGS_A_STEP = 2048
EMPTY_LENGTH_MAX = 1 << 16
"""A tensor with values is bounded by its bytes; one without is bounded by this."""

Array = np.ndarray[Any, Any]


def dtype_of(datatype: str, name: str | None = None) -> np.dtype[Any]:
    """The in-process dtype of a V2 datatype; BF16 is held as FP32. Raises `UnfitInput` for an unknown one.

    `name` is the tensor's, for the message.
    """
    if datatype == "BF16":
        return _DTYPES["FP32"]
    try:
        return _DTYPES[datatype]
    except KeyError:
        whose = "" if name is None else f"input {name!r}: "
        raise UnfitInput(f"{whose}datatype {datatype!r} is none of {', '.join(DATATYPES)}") from None


def datatype_of(array: Array) -> str:
    """The V2 datatype of an array; strings and objects are BYTES."""
    name = _NAMES.get(array.dtype)  # nearly always: of other byte orders, and of texts, there are more types than one
    if name is not None:
        return name
    if array.dtype.kind in "OUS":
        return "BYTES"
    name = _NAMES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise UnfitInput(f"arrays of {array.dtype} have no V2 datatype")
    return name


def array_of(values: Any, dtype: np.dtype[Any]) -> Array:
    """Numbers as an array; raises `OverflowError` for one that the type has no room for (numpy makes it infinite)."""
    if dtype.kind != "f":
        return np.array(values, dtype=dtype)
    wide = floats_array(values) if type(values) is list else np.asarray(values, dtype=np.float64)
    if dtype.itemsize == 8:
        return wide
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype)
    lost = np.isinf(narrow) & np.isfinite(wide)
    if lost.any():
        raise OverflowError(f"{wide[lost][0]:g} is out of range")
    return narrow


def rows_array(rows: list[list[Any]], dtype: np.dtype[Any]) -> Array:
    """Rows of values as a matrix that may be written to.

    Few rows of floats are packed one value after the other, which takes a third of the time that NumPy takes to find
    out what there is. Whatever is not that NumPy reads, or says what is wrong with it.
    """
    packed = _packed(rows, dtype) if dtype.kind == "f" and 0 < len(rows) <= PACKED_ROWS_MAX else None
    return np.array(rows, dtype=dtype) if packed is None else packed


def _packed(rows: list[list[Any]], dtype: np.dtype[Any]) -> Array | None:
    width = len(rows[0])
    values: list[Any] = []
    for row in rows:
        if type(row) is not list or len(row) != width:
            return None
        values += row
    matrix = np.empty((len(rows), width), dtype)
    try:
        struct.pack_into(f"{len(values)}{dtype.char}", matrix.data, 0, *values)
    except (struct.error, OverflowError, TypeError):
        return None
    return matrix


def floats_array(values: list[float]) -> Array:
    """A flat list of numbers as float64. May be written to.

    Raises `ValueError` for what is no number, and `OverflowError` for an integer that no float holds.
    """
    try:
        return np.frombuffer(bytearray(floats_bytes(values)))
    except struct.error:
        return np.array(values, dtype=np.float64)  # whose refusals say what is wrong, and which takes what has a float


def floats_bytes(values: list[float]) -> bytes:
    """Numbers as the bytes of a float64 array, in a quarter of the time that NumPy takes to look at each.

    Raises `struct.error` for what is no number, and `OverflowError` for an integer that no float holds.
    """
    return struct.pack(f"<{len(values)}d", *values)


def described(array: Array) -> tuple[str, tuple[int, ...], Any]:
    """Datatype, shape and raw bytes of a tensor; one of BYTES has a list instead."""
    datatype = datatype_of(array)
    return datatype, array.shape, array.ravel().tolist() if datatype == "BYTES" else to_raw(array, datatype)


def to_raw(array: Array, datatype: str) -> bytes:
    """Little-endian row-major bytes; BYTES elements are a 4-byte length and the bytes."""
    if datatype == "BYTES":
        return _raw_strings(array.ravel())
    if datatype == "BF16":
        return (np.ascontiguousarray(array, dtype="<f4").view("<u4") >> 16).astype("<u2").tobytes()
    return array.astype(dtype_of(datatype), copy=False).tobytes()


def _raw_strings(flat: Array) -> bytes:
    parts: list[bytes] = []
    for at in range(0, flat.size, STRINGS_A_STEP):
        items = map(_as_bytes, flat[at : at + STRINGS_A_STEP].tolist())
        parts.append(b"".join([_LENGTH.pack(len(item)) + item for item in items]))
        pause()
    return b"".join(parts)


def from_raw(data: memoryview | bytes, datatype: str, shape: tuple[int, ...], name: str) -> Array:
    """The array whose raw bytes these are; raises `UnfitInput` naming the tensor when the size does not fit."""
    count = element_count(shape)
    if datatype == "BYTES":
        return _strings(bytes(data), count, name).reshape(shape)
    width = 2 if datatype == "BF16" else dtype_of(datatype, name).itemsize
    if len(data) != count * width:
        raise UnfitInput(
            f"input {name!r}: {datatype} of shape {list(shape)} is {count * width} bytes, but {len(data)} came",
            input=name,
        )
    if datatype == "BF16":
        return (np.frombuffer(data, dtype="<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    if datatype == "BOOL" and np.frombuffer(data, dtype="u1").max(initial=0) > 1:
        raise UnfitInput(f"input {name!r}: a byte is neither 0 nor 1, where BOOL is expected", input=name)
    return np.frombuffer(data, dtype=dtype_of(datatype)).reshape(shape)


def all_finite(array: Array) -> bool:
    """Whether no number of it is NaN or infinite."""
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())


def finite(array: Array) -> bool:
    """The same, in a tenth of the time where all are: then so is their sum, or that of their squares, unless huge."""
    dtype = array.dtype
    if dtype.kind != "f":
        return True
    flat = array.ravel()
    if flat.size <= SUMMED_MAX:
        return math.isfinite(sum(flat.tolist())) or all_finite(array)
    return (dtype.itemsize > 2 and math.isfinite(np.vdot(flat, flat))) or all_finite(array)


def base64_of(value: bytes) -> dict[str, str]:
    """Bytes that are no text, as the JSON of TensorFlow's API has them."""
    return {"b64": base64.b64encode(value).decode("ascii")}


def from_json_rows(rows: list[Any]) -> list[Any]:
    """The values of rows that are no tensors and came as one JSON text each."""
    return [orjson.loads(row) for row in rows]


def check_lengths(shape: tuple[int, ...] | list[int], name: str) -> None:
    """Raise `UnfitInput` for a shape that is none, or one that claims a great many rows and has not one value."""
    if len(shape) > RANK_MAX or any(length < 0 for length in shape):
        raise UnfitInput(
            f"input {name!r}: shape {list(shape)} is none: use up to {RANK_MAX} lengths, none of them negative",
            input=name,
        )
    if 0 in shape and max(shape) > EMPTY_LENGTH_MAX:
        raise UnfitInput(
            f"input {name!r}: shape {list(shape)} holds no value: its lengths may be up to {EMPTY_LENGTH_MAX}",
            input=name,
        )


def element_count(shape: tuple[int, ...]) -> int:
    """The product of a shape, in Python's integers, so that it cannot overflow."""
    count = 1
    for length in shape:
        count *= length
    return count


def _as_bytes(item: Any) -> bytes:
    if item is None:  # a missing text has no form of its own
        return b""
    return item if isinstance(item, bytes) else str(item).encode()


def _strings(data: bytes, count: int, name: str) -> Array:
    if count > STRINGS_MAX:
        raise TooLarge(
            f"input {name!r} has {count} BYTES elements, and this server takes {STRINGS_MAX}: send fewer a request",
            input=name,
            expected=STRINGS_MAX,
            got=count,
        )
    items = _elements(data, count) if count * 4 <= len(data) else None
    if items is None:
        raise UnfitInput(
            f"input {name!r}: {len(data)} bytes do not hold {count} length-prefixed BYTES elements", input=name
        )
    array = np.empty(count, dtype=object)
    array[:] = items
    return array


def _elements(data: bytes, count: int) -> list[Any] | None:
    """The elements, as text where they are UTF-8; None where lengths and data disagree.

    One pass. A length past the end makes a short slice, and the offset after it tells.
    """
    # Short ASCII strings, lengths and all, are text as they stand: nothing is left to be decoded one by one.
    plain = data.isascii()
    source: Any = data.decode("ascii") if plain else data
    items: list[Any] = []
    unpack, offset = _LENGTH.unpack_from, 0
    add = items.append
    try:
        for _ in each(range(count)):
            begin = offset + 4
            offset = begin + unpack(data, offset)[0]
            add(source[begin:offset])
    except struct.error:
        return None
    if offset != len(data):
        return None
    return items if plain else _texts(items)


def _texts(items: list[bytes]) -> list[str | bytes]:
    try:
        return [item.decode() for item in each(items)]
    except UnicodeDecodeError:
        return [_text(item) for item in each(items)]


def _text(item: bytes) -> str | bytes:
    try:
        return item.decode()
    except UnicodeDecodeError:
        return item
