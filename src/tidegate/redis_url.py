"""What both that speak to Redis, the gateway and the control plane's adapter, make of `REDIS_URL`. Does no I/O."""

from __future__ import annotations

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


def check_options(client: Any) -> None:
    """Raise `InvalidArgument` for options of the URL that a client refuses only once it makes a connection."""
    try:
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"REDIS_URL has an option that cannot be used: {error}", field="REDIS_URL") from None
