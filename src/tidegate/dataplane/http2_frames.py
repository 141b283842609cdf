"""HTTP/2's bytes: frames, header blocks (RFC 9113 and RFC 7541), and what a server says first. No connection, no I/O.

Used by `http2.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Any, Generic, TypeVar

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20
ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_HEADERS = 0x2, 0x3, 0x4, 0x5, 0x6

FRAME_BYTES_MAX = 16384
WINDOW_BYTES_MAX = 2**31 - 1
STREAMS_MAX = 256
HEADER_BYTES_MAX = 16384
STREAM_WINDOW_BYTES = 256 << 10
CONNECTION_WINDOW_BYTES = 16 << 20
HEADS_MAX = 256
PEER_WINDOW_BYTES, PEER_FRAME_BYTES = 65535, 16384

FRAME = Struct(">BHBBI")
SETTING = Struct(">HI")
U32 = Struct(">I")

HeadT = TypeVar("HeadT")
Pairs = list[tuple[bytes, bytes]]


class Code(IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class Fault(Exception):
    """The client broke the protocol: the connection ends with this code."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return FRAME.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream_id) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """One header field as a literal that is not indexed (RFC 7541, section 6.2.2)."""
    return b"\x00" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    length -= 127
    head = bytearray(b"\x7f")
    while length >= 128:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + text


@lru_cache
def greeting() -> bytes:
    """What a server sends first: its settings, and a wider window for the connection."""
    settings = {MAX_STREAMS: STREAMS_MAX, INITIAL_WINDOW: STREAM_WINDOW_BYTES, MAX_HEADERS: HEADER_BYTES_MAX}
    payload = b"".join(SETTING.pack(*item) for item in settings.items())
    wider = U32.pack(CONNECTION_WINDOW_BYTES - PEER_WINDOW_BYTES)
    return frame(SETTINGS, 0, 0, payload) + frame(WINDOW_UPDATE, 0, 0, wider)


class HeadReader(Generic[HeadT]):
    """Reads header blocks with `hpack`, and remembers what blocks of indexed fields alone said.

    A client that repeats itself sends the same few bytes each time, and they mean the same until the table changes.
    """

    def __init__(self, make: Callable[[Pairs], HeadT]) -> None:
        import hpack  # only once somebody speaks HTTP/2

        self._make = make
        self._decode: Callable[..., Any] = hpack.Decoder(max_header_list_size=HEADER_BYTES_MAX).decode
        self._error = hpack.HPACKError
        self._known: dict[bytes, HeadT] = {}

    def read(self, block: bytes) -> HeadT:
        """What `make` makes of the fields; raises `Fault`."""
        known = self._known.get(block)
        if known is not None:
            return known
        only_indexed = bool(block) and min(block) > 0x80 and max(block) < 0xFF
        if not only_indexed or len(self._known) >= HEADS_MAX:
            self._known.clear()
        try:
            head = self._make(self._decode(block, raw=True))
        except self._error as error:
            raise Fault(Code.COMPRESSION_ERROR, str(error)) from None
        if only_indexed:
            self._known[block] = head
        return head


def unpadded(payload: bytes) -> bytes:
    """The content of a padded frame."""
    if not payload or payload[0] >= len(payload):
        raise Fault(Code.PROTOCOL_ERROR, "the padding is longer than the frame")
    return payload[1 : len(payload) - payload[0]]
