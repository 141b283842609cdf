"""How records lie in a segment's file, and how those are found that damage has left.

A file of version 2 begins with `TGJ2`, the segment's marker (8 random bytes) and the marker's CRC-32. Each record is a
frame: the marker, the payload's length, a CRC-32 (little-endian), the payload. The CRC-32 is the payload's, begun with
the CRC-32 of the marker XOR the length, so that it covers all three. After damage the next marker with a sound frame
behind it is the next record. No client can know a marker, so none can send a record.

A file of version 1 begins with `TGJ1`; its frames have length and CRC-32 alone, so what follows damage is not found.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

MAGIC, MAGIC_1 = b"TGJ2", b"TGJ1"
MARKER_BYTES = 8
HEAD_BYTES = 16
"""Of a file of version 2."""
FRAME = struct.Struct("<8sII")
FRAME_1 = struct.Struct("<II")
SEARCH_BYTES = 1 << 20


class Frame(msgspec.Struct, frozen=True):
    """A sound frame, and where it lies in the file."""

    offset: int
    end: int
    payload: bytes


class Gap(msgspec.Struct, frozen=True):
    """Bytes of the file that hold no record."""

    offset: int
    end: int


def file_head(marker: bytes) -> bytes:
    """What a file of version 2 begins with."""
    return MAGIC + marker + zlib.crc32(marker).to_bytes(4, "little")


def frame_head(marker: bytes, payload: bytes) -> bytes:
    """What stands in front of a record."""
    length = len(payload)
    return FRAME.pack(marker, length, zlib.crc32(payload, zlib.crc32(marker) ^ length))


def marker_of(stream: BinaryIO) -> bytes | None:
    """The marker that a file says it has, else that of its first record; None where damage has taken both."""
    stream.seek(0)
    head = stream.read(HEAD_BYTES + MARKER_BYTES)
    marker, check, again = head[4:12], head[12:HEAD_BYTES], head[HEAD_BYTES:]
    if len(check) == 4 and zlib.crc32(marker).to_bytes(4, "little") == check:
        return marker
    return again if len(again) == MARKER_BYTES and _frame_at(stream, HEAD_BYTES, again, _size(stream)) else None


def scan(stream: BinaryIO, offset: int, marker: bytes, *, ended: bool) -> Iterator[Frame | Gap]:
    """Frames from an offset on, and the gaps between them.

    What follows the last sound frame is a gap where the segment has `ended`; else it is not there yet.
    """
    at, size = max(offset, HEAD_BYTES), _size(stream)
    while at < size:
        found = _frame_at(stream, at, marker, size) or _next_frame(stream, at + 1, marker, size)
        if found is None:
            if ended:
                yield Gap(at, size)
            return
        if found.offset > at:
            yield Gap(at, found.offset)
        yield found
        at = found.end


def scan_1(stream: BinaryIO, offset: int) -> Iterator[Frame | Gap]:
    """Frames of a file of version 1; the first one that is torn or damaged ends them."""
    at, size = max(offset, len(MAGIC_1)), _size(stream)
    stream.seek(at)
    while at < size:
        head = stream.read(FRAME_1.size)
        length, check = FRAME_1.unpack(head) if len(head) == FRAME_1.size else (size, -1)
        payload = stream.read(length) if length <= size - at else b""
        if len(payload) != length or zlib.crc32(payload) != check:
            yield Gap(at, size)
            return
        yield Frame(at, at + FRAME_1.size + length, payload)
        at += FRAME_1.size + length


def _frame_at(stream: BinaryIO, at: int, marker: bytes, size: int) -> Frame | None:
    if at + FRAME.size > size:
        return None
    stream.seek(at)
    found, length, check = FRAME.unpack(stream.read(FRAME.size))
    end = at + FRAME.size + length
    if found != marker or end > size:
        return None
    payload = stream.read(length)
    return Frame(at, end, payload) if zlib.crc32(payload, zlib.crc32(marker) ^ length) == check else None


def _next_frame(stream: BinaryIO, at: int, marker: bytes, size: int) -> Frame | None:
    while at < size:
        stream.seek(at)
        data = stream.read(SEARCH_BYTES + MARKER_BYTES - 1)
        place = data.find(marker)
        while place >= 0:
            found = _frame_at(stream, at + place, marker, size)
            if found is not None:
                return found
            place = data.find(marker, place + 1)
        at += SEARCH_BYTES
    return None


def _size(stream: BinaryIO) -> int:
    return stream.seek(0, os.SEEK_END)
