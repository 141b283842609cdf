"""How gateways reach a replica, as engines say it and rows keep it: one line of text. Pure; called by `routing`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from tidegate.errors import InvalidArgument
from tidegate.wire.gateways.snapshot import BATCHES_MAX, SOCKET, TCP, TLS, Target


@dataclass(frozen=True)
class Address:
    """`at` is `unix:/path`, `tcp:host:port` or `https://host[:port][/path]`; the rest as in `wire.gateways.snapshot`.

    A socket needs neither key nor certificate, and takes one batch at a time.

    >>> str(Address("tcp:10.0.0.7:8000", credential="churn-1"))
    'tcp:10.0.0.7:8000?credential=churn-1'
    >>> address_of("https://pool.example/churn?batches_max=8")
    Address(at='https://pool.example/churn', credential='', ca_file='', batches_max=8, audience='')
    """

    at: str
    credential: str = ""
    ca_file: str = ""
    batches_max: int = 1
    audience: str = ""

    def __post_init__(self) -> None:
        plain = not (self.credential or self.ca_file) and self.batches_max == 1
        if not self.at.startswith((SOCKET, TCP, TLS)) or (self.at.startswith(SOCKET) and not plain):
            raise InvalidArgument(f"{self!r} is no address of a replica", field="address")
        if self.at.startswith(TLS) and "@" in self.at:
            raise InvalidArgument("a replica's URL has no user and no password: name a 'credential'", field="address")
        if self.ca_file and not self.at.startswith(TLS):
            raise InvalidArgument(f"{self.at} has no certificate: 'ca_file' is for https://", field="address")
        if self.audience and not self.at.startswith(TLS):
            raise InvalidArgument(f"{self.at} is shown no ID token: 'audience' is for https://", field="address")
        if not self.at.startswith(SOCKET) and {"?", "#"} & set(self.at):
            raise InvalidArgument(f"{self.at}: an address has no query and no fragment", field="address")
        if not 1 <= self.batches_max <= BATCHES_MAX:
            raise InvalidArgument(f"batches_max must be from 1 to {BATCHES_MAX}", field="address")

    def __str__(self) -> str:
        """As rows keep it; of a socket the address alone, in which any character may stand."""
        given = {"credential": self.credential, "ca_file": self.ca_file, "audience": self.audience}
        query = {name: value for name, value in given.items() if value}
        if self.batches_max > 1:
            query["batches_max"] = str(self.batches_max)
        return f"{self.at}?{urlencode(query)}" if query else self.at


def address_of(text: str) -> Address:
    """What `str` of an address reads as. Raises `InvalidArgument`."""
    if text.startswith(SOCKET):
        return Address(text)
    at, _, query = text.partition("?")
    given = dict(parse_qsl(query))
    batches_max = given.get("batches_max", "1")
    if not batches_max.isdecimal():
        raise InvalidArgument(f"{text}: batches_max is no number", field="address")
    credential, ca_file, audience = (given.get(name, "") for name in ("credential", "ca_file", "audience"))
    return Address(at, credential, ca_file, int(batches_max), audience)


def target_of(replica: str, address: str, host: str) -> Target:
    """As the routing snapshot names it; `host` is the only one that reaches it, empty where each does.

    What is no address stays as it is: a gateway does not use that one target, and says why.
    """
    try:
        to = address_of(address)
    except InvalidArgument:
        return Target(replica, address, host)
    return Target(replica, to.at, host, to.credential, to.ca_file, to.batches_max, to.audience)
