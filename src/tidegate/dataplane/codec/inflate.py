"""Content encodings, taken off and put on: bounded, and in steps. Knows bytes alone and no requests."""

from __future__ import annotations

import zlib
from typing import Any

from tidegate.dataplane.base.stepwise import pause
from tidegate.errors import MalformedRequest, TooLarge, WrongContentType

PIECE_BYTES = 1 << 20
"""Of what goes in and of what comes out: about 3 ms."""
DEFLATED_BYTES = 256 << 10
"""Of an answer: about 5 ms."""
WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15, b"identity": 0}


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


def deflate(body: bytes, window: int) -> bytes:
    """Compressed as `WINDOWS` says of an encoding."""
    deflater = zlib.compressobj(1, zlib.DEFLATED, window)
    parts: list[bytes] = []
    for at in range(0, len(body), DEFLATED_BYTES):
        parts.append(deflater.compress(body[at : at + DEFLATED_BYTES]))
        pause()
    return b"".join((*parts, deflater.flush()))
