"""Request bodies with a content encoding, made what they were: bounded, and counted as what they take then.

Answers are given one where a client asks for it. Used by `infer.py` and, for messages, by `grpc_server.py`.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from tidegate.dataplane.stepwise import pause
from tidegate.dataplane.v2 import announced_bytes
from tidegate.errors import MalformedRequest, TooLarge, WrongContentType

if TYPE_CHECKING:
    from tidegate.dataplane.infer import Exchange

PIECE_BYTES = 1 << 20
"""Of what goes in and of what comes out: about 3 ms."""
DEFLATED_BYTES = 256 << 10
"""Of an answer: about 5 ms."""
COMPRESSED_BYTES_MIN, COMPRESSED_BYTES_MAX = 1024, 4 << 20
"""Answers of other sizes are sent as they are: compressing them gains nothing, or holds up every other request."""
WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15, b"identity": 0}


def inflate_body(exchange: Exchange) -> None:
    """Take the content encoding off an exchange's body."""
    encoding = exchange.headers[b"content-encoding"]
    exchange.body = inflate_held(exchange, exchange.body, encoding, _size_bytes_max(exchange))


def _size_bytes_max(exchange: Exchange) -> int:
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


def inflate_held(exchange: Exchange, body: bytes | bytearray, encoding: bytes, size_bytes_max: int) -> bytes:
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


def inflate_start(body: bytes | bytearray, encoding: bytes, size_bytes: int) -> bytes:
    """The first bytes of the body without its content encoding; nothing where that cannot be read."""
    window = WINDOWS.get(encoding.strip().lower(), 0)
    try:
        return zlib.decompressobj(window).decompress(bytes(body), size_bytes) if window else bytes(body[:size_bytes])
    except zlib.error:
        return b""


def inflate(body: bytes | bytearray, encoding: bytes, size_bytes_max: int) -> bytes:
    """The body without its content encoding; raises `TooLarge` before it takes more than `size_bytes_max`."""
    window = WINDOWS.get(encoding.strip().lower())
    if window is None:
        raise WrongContentType(f"content encoding {encoding.decode('latin-1')!r} is not taken: use gzip or deflate")
    if window == 0:
        return bytes(body)
    inflater = zlib.decompressobj(window)
    try:
        # One byte more, or data of just this size would leave its end unread.
        data, more_bytes = _inflate_all(inflater, bytes(body), size_bytes_max + 1)
    except zlib.error as error:
        if "memory" in str(error):  # zlib's own, for which Python has no other exception here
            raise MemoryError from None
        raise MalformedRequest(f"the body is no {encoding.decode()} data: {error}") from None
    if len(data) > size_bytes_max:
        raise TooLarge(f"the body inflates to more than {size_bytes_max} bytes", expected=size_bytes_max)
    if not inflater.eof:
        raise MalformedRequest(f"the {encoding.decode()} data ends early")
    if more_bytes:
        raise MalformedRequest(f"{more_bytes} bytes follow the end of the {encoding.decode()} data")
    return data


def _inflate_all(inflater: Any, packed: bytes, size_bytes_max: int) -> tuple[bytes, int]:
    """A megabyte at a time; also how many bytes follow the end. Of data that ends early there is what came."""
    pieces: list[bytes] = []
    at = size_bytes = 0
    while size_bytes < size_bytes_max and not inflater.eof:
        piece = inflater.unconsumed_tail
        if not piece:
            piece = packed[at : at + PIECE_BYTES]
            at += len(piece)
        inflated = inflater.decompress(piece, min(PIECE_BYTES, size_bytes_max - size_bytes))
        if not inflated and not inflater.unconsumed_tail and at >= len(packed):
            break
        pieces.append(inflated)
        size_bytes += len(inflated)
        pause()
    return b"".join(pieces), len(inflater.unused_data) + len(packed) - at


def deflate_answer(exchange: Exchange, body: bytes) -> bytes:
    """Compress an answer for a client that accepts one encoding and no other.

    Most HTTP libraries say 'gzip, deflate' unasked, and between machines of one network the compressing would cost more
    than the sending; one encoding alone is somebody's wish.
    """
    encoding = exchange.headers[b"accept-encoding"].strip().lower()
    window = WINDOWS.get(encoding, 0)
    if not window or not COMPRESSED_BYTES_MIN <= len(body) <= COMPRESSED_BYTES_MAX:
        return body
    exchange.extra_head += b"content-encoding: %b\r\n" % encoding
    deflater = zlib.compressobj(1, zlib.DEFLATED, window)
    parts: list[bytes] = []
    for at in range(0, len(body), DEFLATED_BYTES):
        parts.append(deflater.compress(body[at : at + DEFLATED_BYTES]))
        pause()
    return b"".join((*parts, deflater.flush()))
