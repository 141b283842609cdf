"""A request's headers without the offer to go on in another protocol (`Upgrade`). Used by `protocol.py`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

OFFERS = (b"upgrade", b"http2-settings")


def without_upgrade(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
    """The lines of these headers (names in lower case) that are left when the offer is taken back."""
    for name, value in headers:
        if name == b"connection":
            yield b"connection: " + b",".join(one for one in value.split(b",") if one.strip().lower() not in OFFERS)
        elif name != b"upgrade":
            yield b"%b: %b" % (name, value)
