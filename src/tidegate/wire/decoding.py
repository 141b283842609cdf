"""Typed decoding for code that threads share: every decoder is built once, under one lock, before it is used.

msgspec (0.22.0) publishes what it knows of a type before the type's fields are filled in. A thread that meets a type
for the first time while another thread builds it reads NULL, and the process dies of signal 11.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")

SHAPES_MAX = 512
"""Far more than there are types; one that is dropped is built again."""

_building = threading.RLock()


def json_decoder(shape: type[T]) -> msgspec.json.Decoder[T]:
    """The decoder of JSON as `shape`. Threads may share it."""
    with _building:
        return cast(msgspec.json.Decoder[T], _json(cast(Hashable, shape)))


def msgpack_decoder(shape: type[T]) -> msgspec.msgpack.Decoder[T]:
    """The decoder of msgpack as `shape`. Threads may share it."""
    with _building:
        return cast(msgspec.msgpack.Decoder[T], _msgpack(cast(Hashable, shape)))


def decode_json(data: bytes, shape: type[T]) -> T:
    """JSON bytes as `shape`; raises `msgspec.DecodeError`."""
    return json_decoder(shape).decode(data)


def convert(value: Any, shape: type[T]) -> T:
    """What was decoded from JSON already, as `shape`; raises `msgspec.ValidationError`."""
    json_decoder(shape)  # what msgspec knows of the type is whole from here on
    return msgspec.convert(value, shape)


@lru_cache(SHAPES_MAX)
def _json(shape: Hashable) -> Any:
    return msgspec.json.Decoder(cast(Any, shape))


@lru_cache(SHAPES_MAX)
def _msgpack(shape: Hashable) -> Any:
    return msgspec.msgpack.Decoder(cast(Any, shape))
