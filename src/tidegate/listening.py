"""Where a server may listen without a key: loopback, or wherever the settings say that none is needed."""

from __future__ import annotations

import ipaddress

from tidegate.errors import KeyRequired
from tidegate.settings import Settings


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def required_key(host: str, settings: Settings) -> str | None:
    """The key that prediction routes on `host` ask for; None where they are open. Raises `KeyRequired`."""
    if is_loopback(host) or settings.auth == "none":
        return None
    if not settings.api_key:
        raise KeyRequired(
            f"refusing to bind {host} without a key: set TIDEGATE_API_KEY, or TIDEGATE_AUTH=none to serve without one, "
            "or bind 127.0.0.1"
        )
    return settings.api_key
