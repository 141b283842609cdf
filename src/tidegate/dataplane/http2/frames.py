"""HTTP/2's bytes: frames, literal header fields (RFC 9113 and RFC 7541), and what a server says first. No I/O.

Used by the other files of this room.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from struct import Struct

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
PEER_WINDOW_BYTES, PEER_FRAME_BYTES = 65535, 16384

FRAME = Struct(">BHBBI")
SETTING = Struct(">HI")
U32 = Struct(">I")

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


class Http2Fault(Exception):
    """The client broke the protocol: the connection ends with this code."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code


class StreamFault(Exception):
    """The client broke the protocol in one stream: that one is reset with this code, and the others go on."""

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


def unpadded(payload: bytes) -> bytes:
    """The content of a padded frame."""
    if not payload or payload[0] >= len(payload):
        raise Http2Fault(Code.PROTOCOL_ERROR, "the padding is longer than the frame")
    return payload[1 : len(payload) - payload[0]]
