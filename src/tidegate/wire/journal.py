"""The capture journal's record and frame: one record per batch, framed by length and CRC-32.

Frame: magic b"TGJ1" once at the head of a file, then per record `<II` (payload length, CRC-32 of the payload) and the
payload, a msgpack array. Written by gateways; read by the compactor and by tests.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import msgspec

from tidegate.wire.decoding import msgpack_decoder

MAGIC = b"TGJ1"
CACHED = "cached"
"""How a batch was released that no replica computed."""
_FRAME = struct.Struct("<II")

log = logging.getLogger(__name__)


class CapturedRequest(msgspec.Struct, array_like=True):
    """One request of a batch. `pinned` requests stay out of experiments; `rows` is how many rows it has in this batch.

    `part` is None for a whole request. One that was larger than a batch is in several records, one for each part, with
    the part's (first row, rows of the whole request): put together by `id` and first row. Such a request was answered
    if and only if its parts hold all of its rows.
    """

    id: str
    unit: str | None
    variant: str
    pinned: bool
    at_s: float
    duration_s: float
    rows: int
    code: int
    part: tuple[int, int] | None = None


class BatchRecord(msgspec.Struct, array_like=True):
    """One batch: who asked, what went in, what came out.

    `inputs` and `outputs` map tensor names to (datatype, shape, little-endian raw bytes); a BYTES tensor is a list.
    Rows stand in the order of `requests`, each request owning its `rows` rows. `params` is the JSON object of the
    model's parameters, where the requests gave some. A request of no rows is a record of its own; so is one that was
    answered from the prediction cache, and `cached` says so.
    """

    endpoint: str
    version: str
    requests: list[CapturedRequest]
    inputs: dict[str, tuple[str, tuple[int, ...], Any]]
    outputs: dict[str, tuple[str, tuple[int, ...], Any]]
    params: str | None = None
    cached: bool = False


_records = msgpack_decoder(BatchRecord)


def frame(payload: bytes) -> bytes:
    """The payload with its length and CRC in front."""
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def read_records(stream: BinaryIO, report: Callable[[str], None] = log.warning) -> Iterator[BatchRecord]:
    """Records up to the first torn or damaged frame (after a crash the last one may be half-written).

    What is not read is told to `report`, with the place where it begins.
    Raises `ValueError` when the stream does not start with the magic bytes.
    """
    if stream.read(len(MAGIC)) != MAGIC:
        raise ValueError("not a capture journal: the first bytes are not TGJ1")
    offset = len(MAGIC)
    while head := stream.read(_FRAME.size):
        length, checksum = _FRAME.unpack(head) if len(head) == _FRAME.size else (0, -1)
        payload = stream.read(length)
        if len(payload) != length or zlib.crc32(payload) != checksum:
            name = getattr(stream, "name", "a capture journal")
            report(f"{name}: the record at byte {offset} is torn or damaged; it and what follows it are not read")
            return
        yield _records.decode(payload)
        offset += len(head) + length
