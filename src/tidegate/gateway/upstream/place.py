"""Where a target listens, read from the address that the routing snapshot has for it. Pure; used by `dial.py`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from tidegate.dataplane.codec.wire_template import HOST
from tidegate.wire.gateways.snapshot import SOCKET, TCP, TLS

TLS_PORT, PORT_MAX = 443, 65535


@dataclass(frozen=True)
class TargetPlace:
    """A Unix socket (`path`), or a port that speaks TLS or does not. `named` is the `Host` that requests carry.

    `prefix` stands before the path of every request. `fault` says why nothing can be reached there at all.
    """

    named: str = HOST
    path: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False
    prefix: str = ""
    fault: str = ""


def place_of(address: str) -> TargetPlace:
    """Never raises: a later release may write addresses that this one cannot read, beside others that it can."""
    try:
        return _read(address)
    except ValueError as error:
        return TargetPlace(fault=f"{shown(address)!r} is no address of a replica: {error}")


def shown(address: str) -> str:
    """An address as logs may have it: a URL without user and password, which no address should have.

    >>> shown("https://user:secret@pool.example/churn")
    'https://pool.example/churn'
    """
    scheme, found, rest = address.partition("//")
    return f"{scheme}//{rest.rpartition('@')[2]}" if found and not address.startswith(SOCKET) else address


def _read(address: str) -> TargetPlace:
    if address.startswith(SOCKET):
        return TargetPlace(path=address.removeprefix(SOCKET))
    if not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError("it has characters that no address has")
    if address.startswith(TCP):
        named = address.removeprefix(TCP)
        host, _, port = named.rpartition(":")
        if not host or not port:
            raise ValueError("it has no host, or no port")
        if not (port.isdecimal() and int(port) <= PORT_MAX):
            raise ValueError(f"its port is no number up to {PORT_MAX}")
        return TargetPlace(named, host=host.strip("[]"), port=int(port))
    if address.startswith(TLS):
        return _of_url(urlsplit(address))
    raise ValueError(f"it begins with none of {SOCKET}, {TCP} and {TLS}")


def _of_url(url: SplitResult) -> TargetPlace:
    if url.username is not None or url.query or url.fragment or not url.hostname:
        raise ValueError("a URL of a replica has a host, maybe a port and a path, and no more")
    return TargetPlace(url.netloc, host=url.hostname, port=url.port or TLS_PORT, tls=True, prefix=url.path.rstrip("/"))
