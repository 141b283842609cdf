"""Connections of notifiers: to addresses that are allowed, within a deadline for the whole exchange.

A name is looked up once, and what is connected to is the address that was judged: no later answer of a name server
leads elsewhere.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tidegate.clock import monotonic
from tidegate.errors import DeliveryFailed, DeliveryRefused, InvalidArgument

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_EMBEDDING = tuple(map(ipaddress.ip_network, ("::/96", "64:ff9b::/96", "::ffff:0:0:0/96")))
"""Networks of IPv6 whose last 32 bits are an address of IPv4."""
_TRANSLATED = ipaddress.ip_network("64:ff9b:1::/48")
"""Of translators to IPv4 that a network has for itself (RFC 8215): older Pythons take it for a public one."""
DEADLINE_S = 10.0


def read_networks(text: str) -> tuple[Network, ...]:
    """`10.0.0.0/8, fd00::/8` as networks. Raises `InvalidArgument`."""
    found = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        try:
            found.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            raise InvalidArgument(
                f"TIDEGATE_NOTIFY_NETWORKS: {part!r} is no network: give for example 10.0.0.0/8",
                field="TIDEGATE_NOTIFY_NETWORKS",
            ) from None
    return tuple(found)


@dataclass(frozen=True)
class Reach:
    """Where notifiers may send: to public addresses, and to `networks`."""

    networks: tuple[Network, ...] = ()
    deadline_s: float = DEADLINE_S

    def allows(self, address: Address) -> bool:
        """Whether it is a public one, or in one of the networks."""
        meant = _meant(address)
        if any(address in one or meant in one for one in self.networks):
            return True
        return (
            meant.is_global
            and meant not in _TRANSLATED
            and not meant.is_multicast
            and not getattr(meant, "is_site_local", False)
        )

    def addresses(self, host: str, port: int) -> list[str]:
        """The host's addresses that are allowed. Raises `DeliveryFailed` where it has none, `DeliveryRefused`."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise DeliveryFailed(f"no address is known of {host}: {error}") from error
        every = list(dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found))
        allowed = [one for one in every if self.allows(ipaddress.ip_address(one))]
        if not allowed:
            what = "an internal address" if host == every[0] else f"{every[0]}, an internal address"
            raise DeliveryRefused(f"{host} is {what}: list its network in TIDEGATE_NOTIFY_NETWORKS to allow it")
        return allowed

    @contextmanager
    def deadline(self) -> Iterator[Deadline]:
        """Cuts what is under way off when the time is over. Raises `DeliveryFailed` for what the network did."""
        with Deadline(self.deadline_s) as limit:
            try:
                yield limit
            except (OSError, ssl.SSLError) as error:
                if limit.passed:
                    raise DeliveryFailed(f"no answer within {self.deadline_s:g} s") from error
                raise DeliveryFailed(f"{type(error).__name__}: {error}") from error

    def connect(self, host: str, port: int, limit: Deadline) -> socket.socket:
        """A connection to the first allowed address that takes one."""
        last: OSError | None = None
        for address in self.addresses(host, port):
            try:
                return limit.watch(socket.create_connection((address, port), limit.left_s()))
            except OSError as error:
                last = error
        raise last or OSError("no address")


def _meant(address: Address) -> Address:
    """The IPv4 address that one of IPv6 stands for, where it does: mapped, compatible, or through NAT64 or 6to4."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if any(address in one for one in _EMBEDDING) and int(address) > 1:  # :: and ::1 are themselves
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


class Deadline:
    """A time limit on sockets, whatever drips out of them: when it passes they are shut down."""

    def __init__(self, limit_s: float) -> None:
        self._ends_at = monotonic() + limit_s
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(limit_s, self._end)
        self._timer.daemon = True
        self.passed = False

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for one in self._watched:
                one.close()
            self._watched.clear()

    def left_s(self) -> float:
        """Seconds left. Raises `TimeoutError` when none are."""
        left_s = self._ends_at - monotonic()
        if left_s <= 0:
            self.passed = True
            raise TimeoutError("the deadline passed")
        return left_s

    def watch(self, connection: socket.socket) -> socket.socket:
        """End this one with the deadline, and close it with the exchange."""
        with self._lock:
            self._watched.append(connection)
        self.left_s()
        return connection

    def with_tls(self, connection: socket.socket, host: str, context: ssl.SSLContext) -> socket.socket:
        """The connection inside TLS, checked against the host's name."""
        # A plain socket gives its descriptor to the wrapped one: from then on that one is to be ended.
        wrapped = context.wrap_socket(connection, server_hostname=host, do_handshake_on_connect=False)
        self.watch(wrapped)
        wrapped.do_handshake()
        return wrapped

    def _end(self) -> None:
        self.passed = True
        with self._lock:
            for one in self._watched:
                shut(one)


def shut(connection: socket.socket) -> None:
    """End what is being read or written, in whichever thread."""
    with contextlib.suppress(OSError):  # closed already, or never connected
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
