"""The capture journal's record and frame: one record per batch, framed by length and CRC-32.

Frame: magic b"TGJ1" once at the head of a file, then per record `<II` (payload length, CRC-32 of the payload) and the
payload, a msgpack array. Written by gateways; read by the compactor and by tests.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import msgspec

MAGIC = b"TGJ1"
_FRAME = struct.Struct("<II")


class CapturedRequest(msgspec.Struct, array_like=True):
    """One request of a batch. `pinned` requests stay out of experiments; `rows` is how many rows it had."""

    id: str
    unit: str | None
    variant: str
    pinned: bool
    at_s: float
    duration_s: float
    rows: int
    code: int


class BatchRecord(msgspec.Struct, array_like=True):
    """One batch: who asked, what went in, what came out.

    `inputs` and `outputs` map tensor names to (datatype, shape, little-endian raw bytes); a BYTES tensor is a list.
    Rows stand in the order of `requests`, each request owning its `rows` rows.
    """

    endpoint: str
    version: str
    requests: list[CapturedRequest]
    inputs: dict[str, tuple[str, tuple[int, ...], Any]]
    outputs: dict[str, tuple[str, tuple[int, ...], Any]]


def frame(payload: bytes) -> bytes:
    """The payload with its length and CRC in front."""
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def read_records(stream: BinaryIO) -> Iterator[BatchRecord]:
    """Records up to the first torn or damaged frame (after a crash the last one may be half-written).

    Raises `ValueError` when the stream does not start with the magic bytes.
    """
    if stream.read(len(MAGIC)) != MAGIC:
        raise ValueError("not a capture journal: the first bytes are not TGJ1")
    decoder = msgspec.msgpack.Decoder(BatchRecord)
    while len(head := stream.read(_FRAME.size)) == _FRAME.size:
        length, checksum = _FRAME.unpack(head)
        payload = stream.read(length)
        if len(payload) != length or zlib.crc32(payload) != checksum:
            return
        yield decoder.decode(payload)
