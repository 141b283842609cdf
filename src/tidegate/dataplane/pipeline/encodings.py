"""Request bodies with a content encoding, made what they were, and counted as what they take then.

Answers are given one where a client asks for it. Used by `infer.py` and, for messages, by gRPC's server.
"""

from __future__ import annotations

from typing import Protocol

from tidegate.dataplane.codec.inflate import WINDOWS, deflate, inflate, inflate_start
from tidegate.dataplane.codec.v2 import announced_bytes
from tidegate.dataplane.pipeline.buffered import Bounds
from tidegate.errors import TooLarge

COMPRESSED_BYTES_MIN, COMPRESSED_BYTES_MAX = 1024, 4 << 20
"""Answers of other sizes are sent as they are: compressing them gains nothing, or holds up every other request."""


class Encoded(Protocol):
    """A request whose body, or whose answer, has a content encoding."""

    headers: dict[bytes, bytes]
    body: bytes | bytearray
    held_bytes: int
    extra_head: bytes

    @property
    def engine(self) -> Bounds:
        """The inference engine, whose limits bound the decoded body."""

    def hold(self, size_bytes: int) -> None:
        """Be counted with so many bytes; raises `BuffersFull`."""


def inflate_body(exchange: Encoded) -> None:
    """Take the content encoding off an exchange's body."""
    encoding = exchange.headers[b"content-encoding"]
    exchange.body = inflate_held(exchange, exchange.body, encoding, _size_bytes_max(exchange))


def _size_bytes_max(exchange: Encoded) -> int:
    """What is JSON alone may not be larger than JSON may be, and tensors not larger than the JSON before them says.

    More is not even inflated, for that holds up the loop.
    """
    limits = exchange.engine.limits
    json_bytes_max = min(limits.json_bytes_max, limits.body_bytes_max)
    length = exchange.headers.get(b"inference-header-content-length", b"")
    if not length.isdigit() or len(length) > 12 or not 0 < int(length) <= json_bytes_max:
        return json_bytes_max
    head = inflate_start(exchange.body, exchange.headers[b"content-encoding"], int(length))
    return min(int(length) + announced_bytes(head), limits.body_bytes_max)


def inflate_held(exchange: Encoded, body: bytes | bytearray, encoding: bytes, size_bytes_max: int) -> bytes:
    """As `inflate`, with what it makes counted; raises `BuffersFull` before it makes more than there is room for."""
    buffered = exchange.engine.buffered
    room_bytes = max(buffered.free_bytes, buffered.room_bytes + exchange.held_bytes)
    try:
        data = inflate(body, encoding, min(size_bytes_max, room_bytes))
    except TooLarge:
        if room_bytes < size_bytes_max:
            raise buffered.full(room_bytes + 1) from None
        raise
    if exchange.held_bytes or len(data) > buffered.free_bytes:
        exchange.hold(len(data))
    return data


def deflate_answer(exchange: Encoded, body: bytes) -> bytes:
    """Compress an answer for a client that accepts one encoding and no other.

    Most HTTP libraries say 'gzip, deflate' unasked, and between machines of one network the compressing would cost more
    than the sending; one encoding alone is somebody's wish.
    """
    encoding = exchange.headers[b"accept-encoding"].strip().lower()
    window = WINDOWS.get(encoding, 0)
    if not window or not COMPRESSED_BYTES_MIN <= len(body) <= COMPRESSED_BYTES_MAX:
        return body
    exchange.extra_head += b"content-encoding: %b\r\n" % encoding
    return deflate(body, window)
