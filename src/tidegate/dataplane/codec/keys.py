"""Refuses JSON that gives a key twice: decoders keep one of the values, and the client meant who knows which.

Called by the edges for bodies that a decoder has read already, so it may take them for valid JSON.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from tidegate.dataplane.base.stepwise import ITEMS_A_STEP, each, pause
from tidegate.errors import MalformedRequest

SHORT_BYTES_MAX = 512
_REMEMBERED_MAX = 1024
PIECES_BYTES = 16 << 10
_COLON = re.compile(rb"\s*:")


def check_keys(body: bytes | bytearray) -> None:
    """Raise `MalformedRequest` that names the key. Never parses: long runs of numbers cost next to nothing."""
    if body.count(b'"') <= 2:  # a single key, as in nearly every request
        return
    _check_text(body)
    if b"\\" in body:
        json.loads(body, object_pairs_hook=_unique, parse_int=len)  # int() refuses very long ones
        return
    # Every other piece is a string's content; what stands between says whether it is a key, and of which object.
    objects: list[set[bytes]] = []
    text = b""
    for index, piece in enumerate(_pieces(bytes(body))):
        if index % 2:
            text = piece
            continue
        if index and _COLON.match(piece):
            if text in objects[-1]:
                raise _twice(text.decode())
            objects[-1].add(text)
        _follow(piece, objects)


def _pieces(body: bytes) -> Iterator[bytes]:
    """What stands between quotation marks."""
    at = 0
    while (cut := body.find(b'"', at + PIECES_BYTES)) >= 0:
        yield from body[at:cut].split(b'"')
        at = cut + 1
        pause()
    yield from body[at:].split(b'"')


def _check_text(body: bytes | bytearray) -> None:
    """What decoders skip, they do not check: strings of fields that nobody asked for."""
    if body.isascii():
        return
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise MalformedRequest(f"the JSON is not UTF-8: {error.reason} at byte {error.start}") from None


@lru_cache(_REMEMBERED_MAX)
def check_short(body: bytes) -> None:
    """As `check_keys`, for what comes over and over again: the JSON in front of binary tensors."""
    check_keys(body)


def _follow(piece: bytes, objects: list[set[bytes]]) -> None:
    """Enter and leave objects as the braces say; found by `find`, which passes over long runs of numbers fastest."""
    opened, closed = piece.find(b"{"), piece.find(b"}")
    for number in itertools.count(1):
        if opened < 0 and closed < 0:
            break
        if not number % ITEMS_A_STEP:
            pause()
        if opened >= 0 and (closed < 0 or opened < closed):
            objects.append(set())
            opened = piece.find(b"{", opened + 1)
        else:
            objects.pop()
            closed = piece.find(b"}", closed + 1)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    keys: set[str] = set()
    for key, _ in each(pairs):
        if key in keys:
            raise _twice(key)
        keys.add(key)


def _twice(key: str) -> MalformedRequest:
    shown = key if len(key) <= 40 else key[:37] + "..."
    return MalformedRequest(f"the JSON gives the key {shown!r} twice in one object", key=shown)
