"""Protobuf's wire format (protobuf.dev/programming-guides/encoding): a message's fields, packed numbers. No I/O.

Used by `messages.py`. Written by hand because the six messages are small and the answers are mostly raw tensors.
"""

from __future__ import annotations

import itertools
import struct
from typing import Any

import numpy as np

from tidegate.dataplane.base.stepwise import ITEMS_A_STEP, each, pause
from tidegate.errors import MalformedRequest

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
VARINT_BYTES_MAX = 10
VARINTS_BYTES = 64 << 10
SMALL_BYTES_MAX = 4096
"""Longer fields are views into the message, not copies."""

Value = int | bytes | memoryview
_FIXED = {FIXED64: 8, FIXED32: 4}


def fields(data: bytes | memoryview, count_max: int) -> list[tuple[int, int, Value]]:
    """Number, wire type and value of each field, in order; fixed values come as their bytes.

    Raises `MalformedRequest` for what is no message, and for more than `count_max` fields.
    """
    found: list[tuple[int, int, Value]] = []
    position, size = 0, len(data)
    while position < size:
        tag, position = varint(data, position)
        wire_type = tag & 7
        if wire_type == VARINT:
            value, position = varint(data, position)
            found.append((tag >> 3, VARINT, value))
        else:
            if wire_type == BYTES:
                length, position = varint(data, position)
            else:
                length = _FIXED.get(wire_type, size)
            end = position + length
            if end > size or tag < 8 or len(found) >= count_max:
                raise MalformedRequest("the message is no protobuf message, ends early, or has too many fields")
            found.append((tag >> 3, wire_type, _slice(data, position, end)))
            position = end
        if len(found) > count_max:
            raise MalformedRequest(f"the message has more than {count_max} fields")
        if not len(found) % ITEMS_A_STEP:
            pause()
    return found


def _slice(data: bytes | memoryview, start: int, end: int) -> bytes | memoryview:
    return bytes(data[start:end]) if end - start <= SMALL_BYTES_MAX else memoryview(data)[start:end]


def varint(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The number at `position`, and where the next field begins."""
    value = shift = 0
    try:
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
            if shift > 63:
                break
    except IndexError:
        pass
    raise MalformedRequest("the message is no protobuf message, or ends early")


def signed(value: int) -> int:
    """An int64 from its varint."""
    return value - 2**64 if value >= 2**63 else value


def packed_varints(data: bytes | memoryview) -> np.ndarray[Any, Any]:
    """Packed varints as uint64, many at once."""
    raw = np.frombuffer(data, dtype=np.uint8)
    if len(raw) <= VARINTS_BYTES:
        return _some_varints(raw)
    cuts = [0]
    for at in each(range(VARINTS_BYTES, len(raw), VARINTS_BYTES)):
        # Behind the next byte that ends a number; without one the piece does not read, and it is no number anyhow.
        ends = np.flatnonzero(raw[at : at + VARINT_BYTES_MAX] < 0x80)
        cuts.append(at + int(ends[0]) + 1 if len(ends) else at)
    pieces = each([raw[begin:end] for begin, end in itertools.pairwise([*cuts, len(raw)])])
    return np.concatenate([_some_varints(piece) for piece in pieces])


def _some_varints(raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    pause()
    if not len(raw) or raw.max() < 0x80:
        return raw.astype(np.uint64)
    ends = np.flatnonzero(raw < 0x80)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    lengths = ends - starts + 1
    if not len(ends) or ends[-1] != len(raw) - 1 or lengths.max() > VARINT_BYTES_MAX:
        raise MalformedRequest("packed numbers end early")
    values = np.zeros(len(ends), dtype=np.uint64)
    for index in range(int(lengths.max())):
        has = lengths > index
        values[has] |= (raw[starts[has] + index].astype(np.uint64) & np.uint64(0x7F)) << np.uint64(7 * index)
    return values


# -- writing --------------------


def number(field: int, value: int) -> bytes:
    """A varint field; a negative one as int64."""
    return _varint(field << 3 | VARINT) + _varint(value)


def text(field: int, value: str) -> bytes:
    """A string field."""
    return blob(field, value.encode())


def blob(field: int, value: bytes) -> bytes:
    """A bytes field, or a message in a message."""
    return b"".join((blob_head(field, len(value)), value))


def blob_head(field: int, length: int) -> bytes:
    """What stands before a bytes field's value."""
    return _varint(field << 3 | BYTES) + _varint(length)


def packed(field: int, values: tuple[int, ...] | list[int]) -> bytes:
    """Packed integers (int64); nothing for none."""
    return blob(field, b"".join(map(_varint, values))) if values else b""


def double(value: Value) -> float:
    """A double from its fixed bytes."""
    found: float = struct.unpack("<d", value)[0]  # type: ignore[arg-type]  # of a field of this wire type: 8 bytes
    return found


def _varint(value: int) -> bytes:
    if 0 <= value < 128:
        return bytes((value,))
    value &= 2**64 - 1
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
