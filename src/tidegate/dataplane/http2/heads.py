"""Header blocks of HTTP/2: decoded by `hpack`, held to the rules for fields (RFC 9113, section 8), and remembered.

Used by `connection.py`. Knows no streams and no frames.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tidegate.dataplane.http2.frames import HEADER_BYTES_MAX, Code, Http2Fault, Pairs

HEADS_MAX = 256
DECODED_BYTES_MAX = 16 * HEADER_BYTES_MAX
"""Of a header list whose stream alone is refused. What is larger costs too much to decode: it ends the connection."""
FIELD_BYTES = 32
"""What each field counts beside its name and value (RFC 9113, section 10.5.1)."""

_NAME = re.compile(rb"[!-9;-@\[-~]+")
_VALUE_WRONG = re.compile(rb"[\0\r\n]|^[ \t]|[ \t]\Z")
_CONNECTIONS_OWN = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_REQUIRED = frozenset({b":method", b":scheme", b":path"})
_LENGTH_DIGITS_MAX = 18

HeadT = TypeVar("HeadT")


@dataclass(slots=True, frozen=True)
class HeaderBlock(Generic[HeadT]):
    """What a header block says. `wrong` is why it can begin no request (empty: it can), `wrong_trailer` why it can end
    none; `length` is the `content-length`; `weight` is what reading it cost, in frames of the cheapest kind.
    """

    head: HeadT | None
    wrong: str
    wrong_trailer: str
    length: int | None
    weight: int


class HeadReader(Generic[HeadT]):
    """Reads header blocks with `hpack`, and remembers what blocks of indexed fields alone said.

    A client that repeats itself sends the same few bytes each time, and they mean the same until the table changes.
    """

    def __init__(self, make: Callable[[Pairs], HeadT]) -> None:
        import hpack  # only once somebody speaks HTTP/2

        self._make = make
        self._decode: Callable[..., Any] = hpack.Decoder(max_header_list_size=DECODED_BYTES_MAX).decode
        self._oversized = hpack.OversizedHeaderListError
        self._error = hpack.HPACKError
        self._known: dict[bytes, HeaderBlock[HeadT]] = {}
        self.known = self._known.get
        """What a block said before, None where it is not known or may mean something else by now."""

    def weight(self, block: bytes) -> int:
        """What reading one that is not known would cost."""
        return 2 + len(block) // 16

    def read(self, block: bytes) -> HeaderBlock[HeadT]:
        """What the fields of a block that is not known say; raises `Http2Fault` where the connection cannot go on."""
        only_indexed = bool(block) and min(block) > 0x80 and max(block) < 0xFF
        if not only_indexed or len(self._known) >= HEADS_MAX:
            self._known.clear()
        try:
            pairs = self._decode(block, raw=True)
        except self._oversized as error:
            raise Http2Fault(Code.ENHANCE_YOUR_CALM, str(error)) from None
        except self._error as error:
            raise Http2Fault(Code.COMPRESSION_ERROR, str(error)) from None
        made = self._judge(pairs, self.weight(block))
        if only_indexed:
            self._known[block] = self._judge(pairs, 1)
        return made

    def _judge(self, pairs: Pairs, weight: int) -> HeaderBlock[HeadT]:
        size = sum(len(name) + len(value) + FIELD_BYTES for name, value in pairs)
        if size > HEADER_BYTES_MAX:
            return HeaderBlock(None, "", "the fields are too long", None, weight + size // 1024)
        wrong_field = _wrong_field(pairs)
        wrong = wrong_field or _wrong_request(pairs)
        wrong_trailer = wrong_field or ("a pseudo-header field" if any(name[:1] == b":" for name, _ in pairs) else "")
        if wrong:
            return HeaderBlock(None, wrong, wrong_trailer, None, weight)
        length = next((int(value) for name, value in pairs if name == b"content-length"), None)
        return HeaderBlock(self._make(pairs), "", wrong_trailer, length, weight)


# -- rules for fields ----------------------------------------------------------------------------------------------


def _wrong_field(pairs: Pairs) -> str:
    """What breaks a rule for the fields of requests and of trailers alike (sections 8.2.1 and 8.2.2)."""
    for name, value in pairs:
        if name not in _PSEUDO and not _NAME.fullmatch(name):
            return "a field's name has capitals or characters that names do not have"
        if _VALUE_WRONG.search(value):
            return "a field's value has characters that values do not have"
        if name in _CONNECTIONS_OWN or (name == b"te" and value.lower() != b"trailers"):
            return "a field that is HTTP/1's connection's"
    return ""


def _wrong_request(pairs: Pairs) -> str:
    """What breaks a rule for the fields of a request (sections 8.1.1, 8.3 and 8.5)."""
    pseudo = [(name, value) for name, value in pairs if name in _PSEUDO]
    if pairs[: len(pseudo)] != pseudo:
        return "a pseudo-header field after others"
    given = dict(pseudo)
    if len(given) != len(pseudo):
        return "a pseudo-header field twice"
    wrong = _wrong_tunnel(given) if given.get(b":method") == b"CONNECT" else _wrong_target(given)
    return wrong or _wrong_rest(pairs[len(pseudo) :], given.get(b":authority"))


def _wrong_tunnel(given: dict[bytes, bytes]) -> str:
    return "" if given.keys() == {b":method", b":authority"} else "CONNECT has :authority and nothing else"


def _wrong_target(given: dict[bytes, bytes]) -> str:
    if not given.keys() >= _REQUIRED:
        return "a pseudo-header field is missing"
    path = given[b":path"]
    if not path.startswith(b"/") and not (path == b"*" and given[b":method"] == b"OPTIONS"):
        return "the path is none"
    if b"@" in given.get(b":authority", b""):
        return "the authority names a user"
    return "" if given[b":method"] else "the method is empty"


def _wrong_rest(pairs: Pairs, authority: bytes | None) -> str:
    lengths = {value for name, value in pairs if name == b"content-length"}
    if len(lengths) > 1 or any(not one.isdigit() or len(one) > _LENGTH_DIGITS_MAX for one in lengths):
        return "the content-length is no number"
    hosts = {value.lower() for name, value in pairs if name == b"host"}
    if len(hosts) > 1 or (hosts and authority is not None and hosts != {authority.lower()}):
        return "host and authority differ"
    return ""
