"""What both that speak to Redis, the gateway and the control plane's adapter, make of `REDIS_URL`. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from tidegate.errors import InvalidArgument, MissingExtra


def where(url: str) -> str:
    """The server in words, without its password."""
    parts = urlsplit(url)
    return f"Redis at {parts.hostname}:{parts.port or 6379}" if parts.hostname else f"Redis at {parts.path}"


def no_client() -> MissingExtra:
    """What to say where the client's library is not installed."""
    return MissingExtra("REDIS_URL needs the Redis client: pip install 'tidegate[redis]'")


def checked(make: Callable[[], Any]) -> Any:
    """The client that `make` makes of the URL.

    Raises `InvalidArgument` for options that it refuses, at once or when it would make a connection.
    """
    try:
        client = make()
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except Exception as error:  # nothing was said to a server yet: whatever it is, it is about the URL
        raise InvalidArgument(f"REDIS_URL has an option that cannot be used: {error}", field="REDIS_URL") from None
    return client
