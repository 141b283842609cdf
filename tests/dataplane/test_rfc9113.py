"""RFC 9113, sections 3 to 8, from a server's side: each thing that a client may do or get wrong, and what comes of it."""

# ruff: noqa: E501 (a line for a case)

from __future__ import annotations

from dataclasses import dataclass

import pytest

from support.http2_pipe import HEAD, Client
from tidegate.dataplane.http2 import flow as http2_flow
from tidegate.dataplane.http2.frames import (
    ACK,
    CONNECTION_WINDOW_BYTES,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADER_BYTES_MAX,
    HEADERS,
    INITIAL_WINDOW,
    MAX_FRAME,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAM_WINDOW_BYTES,
    STREAMS_MAX,
    U32,
    WINDOW_UPDATE,
    Code,
    frame,
    literal,
)

TABLE_SIZE, UNKNOWN_SETTING, UNKNOWN_FRAME = 0x1, 0xF000, 0x77
FIELDS = ((":method", "POST"), (":scheme", "http"), (":path", "/echo"), (":authority", "here"))
LONGEST = 2**31 - 1


@dataclass(frozen=True)
class Ends:
    """The connection ends with this code."""

    code: Code


@dataclass(frozen=True)
class Resets:
    """A stream is reset with this code, and the connection goes on."""

    code: Code
    stream_id: int = 1


@dataclass(frozen=True)
class Answers:
    """The connection goes on, and the stream is answered with this data (None: it is not answered)."""

    data: bytes | None = None
    stream_id: int = 1


Expected = Ends | Resets | Answers
FINE = Answers()
PROTOCOL, SIZE, FLOW, CLOSED = Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR, Code.STREAM_CLOSED


def block(*fields: tuple[str, str]) -> bytes:
    return b"".join(literal(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields)


def asked(*more: tuple[str, str], without: str = "", first: tuple[tuple[str, str], ...] = ()) -> bytes:
    """A request on stream 1 with other fields than usual, and a body of five bytes."""
    fields = (*first, *(field for field in FIELDS if field[0] != without), *more)
    return heads(1, block(*fields)) + data(1, b"hello")


def heads(stream_id: int, fields: bytes) -> bytes:
    """A header block in as many frames as it takes."""
    pieces = [fields[start : start + 16384] for start in range(0, len(fields), 16384)]
    first = head(stream_id, pieces[0], END_HEADERS if len(pieces) == 1 else 0)
    rest = [frame(CONTINUATION, END_HEADERS * (piece is pieces[-1]), stream_id, piece) for piece in pieces[1:]]
    return b"".join((first, *rest))


def head(stream_id: int, fields: bytes = HEAD, flags: int = END_HEADERS) -> bytes:
    return frame(HEADERS, flags, stream_id, fields)


def data(stream_id: int, payload: bytes, flags: int = END_STREAM) -> bytes:
    return frame(DATA, flags, stream_id, payload)


def reset(stream_id: int, code: int = 8) -> bytes:
    return frame(RST_STREAM, 0, stream_id, U32.pack(code))


def setting(name: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, SETTING.pack(name, value))


def window(stream_id: int, more: int) -> bytes:
    return frame(WINDOW_UPDATE, 0, stream_id, U32.pack(more))


WHOLE = head(1) + data(1, b"hello")
OPEN = head(1)
HALF_CLOSED = head(1) + data(1, b"wait")  # the request is whole and not answered yet
TAKEN_BACK = OPEN + reset(1)
DONE = Answers(b"hello")
HEADS_17_KB = (("x", "a" * 8600),) * 2

CASES: dict[str, tuple[bytes, Expected]] = {
    # -- 4: frames
    "4.1 a frame of an unknown type is ignored": (frame(UNKNOWN_FRAME, 0xFF, 0, b"what") + WHOLE, DONE),
    "4.1 an unknown frame on a stream is ignored": (OPEN + frame(UNKNOWN_FRAME, 0, 1) + data(1, b"hello"), DONE),
    "4.1 flags that a type does not have are ignored": (head(1) + data(1, b"hello", END_STREAM | 0x56 & ~PADDED), DONE),
    "4.1 the reserved bit is ignored": (frame(HEADERS, END_HEADERS, 1 | 1 << 31, HEAD) + data(1 | 1 << 31, b"hello"), DONE),
    "4.2 data of the longest frame is taken": (OPEN + data(1, bytes(16384)), Answers(bytes(16384))),
    "4.2 data longer than a frame may be": (OPEN + data(1, bytes(16385)), Ends(SIZE)),
    "4.2 headers longer than a frame may be": (head(1, bytes(16385)), Ends(SIZE)),
    "4.2 settings longer than a frame may be": (frame(SETTINGS, 0, 0, bytes(16386)), Ends(SIZE)),
    "4.3 a header block that cannot be decoded": (head(1, b"\xff\xff\xff\xff\xff"), Ends(Code.COMPRESSION_ERROR)),
    "4.3 an index that the table does not have": (head(1, HEAD + b"\xc6"), Ends(Code.COMPRESSION_ERROR)),
    "4.3 index zero": (head(1, HEAD + b"\x80"), Ends(Code.COMPRESSION_ERROR)),
    "4.3 a field that is cut off": (head(1, HEAD[:-2]), Ends(Code.COMPRESSION_ERROR)),
    "4.3 padding of a huffman text that is too long": (head(1, HEAD + b"\x00\x01x\x84\x49\x50\x9f\xff"), Ends(Code.COMPRESSION_ERROR)),
    "4.3 a table larger than the setting allows": (head(1, b"\x3f\xff\xff\x03" + HEAD), Ends(Code.COMPRESSION_ERROR)),
    "4.3 a table's size after the first field": (head(1, HEAD + b"\x20"), Ends(Code.COMPRESSION_ERROR)),
    "4.3 a table's size at the beginning": (head(1, b"\x20" + HEAD) + data(1, b"hello"), DONE),
    "4.3 a priority inside a header block": (head(1, HEAD[:3], 0) + frame(PRIORITY, 0, 1, bytes(5)), Ends(PROTOCOL)),
    "4.3 another stream's headers inside a header block": (head(1, HEAD[:3], 0) + head(3), Ends(PROTOCOL)),
    "4.3 a block that is refused is decoded all the same": (
        head(1, b"\x40\x01x\x011") + head(3, HEAD + b"\xbe") + data(3, b"hello"), Resets(PROTOCOL)
    ),
    # -- 5.1: states of streams
    "5.1 data on an idle stream": (data(1, b"x"), Ends(PROTOCOL)),
    "5.1 a reset of an idle stream": (reset(1), Ends(PROTOCOL)),
    "5.1 a window for an idle stream": (window(1, 100), Ends(PROTOCOL)),
    "5.1 a continuation on an idle stream": (frame(CONTINUATION, END_HEADERS, 1, HEAD), Ends(PROTOCOL)),
    "5.1 a priority of an idle stream": (frame(PRIORITY, 0, 1, bytes(5)) + WHOLE, DONE),
    "5.1 data on a stream that the client ended": (HALF_CLOSED + data(1, b"x", 0), Resets(CLOSED)),
    "5.1 headers on a stream that the client ended": (HALF_CLOSED + head(1, HEAD, END_HEADERS | END_STREAM), Resets(CLOSED)),
    "5.1 a continuation on a stream that the client ended": (HALF_CLOSED + frame(CONTINUATION, END_HEADERS, 1, HEAD), Ends(PROTOCOL)),
    "5.1 a window on a stream that the client ended": (HALF_CLOSED + window(1, 2000), FINE),
    "5.1 a priority of a stream that the client ended": (HALF_CLOSED + frame(PRIORITY, 0, 1, bytes(5)), FINE),
    "5.1 a reset of a stream that the client ended": (HALF_CLOSED + reset(1), FINE),
    "5.1 data after the client's reset": (TAKEN_BACK + data(1, b"x"), Resets(CLOSED)),
    "5.1 headers after the client's reset": (TAKEN_BACK + head(1, HEAD, END_HEADERS | END_STREAM), Resets(CLOSED)),
    "5.1 a continuation after the client's reset": (TAKEN_BACK + frame(CONTINUATION, END_HEADERS, 1, HEAD), Ends(PROTOCOL)),
    "5.1 a priority after the client's reset": (TAKEN_BACK + frame(PRIORITY, 0, 1, bytes(5)), FINE),
    "5.1 data on a stream that both ended": (WHOLE + data(1, b"x"), Ends(CLOSED)),
    "5.1 headers on a stream that both ended": (WHOLE + head(1), Ends(CLOSED)),
    "5.1 a window on a stream that both ended": (WHOLE + window(1, 2000), DONE),
    "5.1 a reset of a stream that both ended": (WHOLE + reset(1), DONE),
    "5.1 a priority of a stream that both ended": (WHOLE + frame(PRIORITY, 0, 1, bytes(5)), DONE),
    "5.1 data on its way when the server reset the stream": (
        head(1, block(*FIELDS, ("Upper", "1"))) + data(1, b"x", 0) + data(1, b"x"), Resets(PROTOCOL)
    ),
    "5.1 trailers on their way when the server reset the stream": (
        head(1, block(*FIELDS, ("Upper", "1"))) + head(1, block(("a", "b")), END_HEADERS | END_STREAM), Resets(PROTOCOL)
    ),
    "5.1 more after the end of what was on its way": (asked(("Upper", "1")) + data(1, b"x") + data(1, b"x"), Ends(CLOSED)),
    "5.1.1 an even stream": (head(2), Ends(PROTOCOL)),
    "5.1.1 a stream below the last one": (head(5) + data(5, b"hello") + head(3), Ends(PROTOCOL)),
    "5.1.1 a stream that was used": (WHOLE + WHOLE, Ends(CLOSED)),
    "5.1.1 headers on the connection": (head(0), Ends(PROTOCOL)),
    "5.1.1 a gap between streams": (head(7) + data(7, b"hello"), Answers(b"hello", 7)),
    "5.1.2 more streams than there may be": (
        b"".join(head(2 * number + 1) + data(2 * number + 1, b"wait") for number in range(STREAMS_MAX + 1)),
        Resets(Code.REFUSED_STREAM, 2 * STREAMS_MAX + 1),
    ),
    "5.1.2 a stream that was taken back leaves its place": (
        b"".join(head(2 * number + 1) for number in range(STREAMS_MAX)) + reset(1) + head(999) + data(999, b"hello"),
        Answers(b"hello", 999),
    ),
    "5.5 an unknown frame inside a header block": (head(1, HEAD[:3], 0) + frame(UNKNOWN_FRAME, 0, 1), Ends(PROTOCOL)),
    # -- 6.1: DATA
    "6.1 data on the connection": (data(0, b"x"), Ends(PROTOCOL)),
    "6.1 padding as long as the frame": (OPEN + data(1, b"\x04abc", PADDED), Ends(PROTOCOL)),
    "6.1 padding without its length": (OPEN + data(1, b"", PADDED), Ends(PROTOCOL)),
    "6.1 padding that leaves nothing": (OPEN + data(1, b"\x03abc", PADDED) + data(1, b"hello"), DONE),
    "6.1 padding is taken off": (OPEN + data(1, b"\x03helloabc", PADDED | END_STREAM), DONE),
    # -- 6.2: HEADERS
    "6.2 padding past the headers": (head(1, b"\xff" + HEAD, END_HEADERS | PADDED), Ends(PROTOCOL)),
    "6.2 padding and priority of headers": (
        head(1, b"\x02" + bytes(5) + HEAD + b"ab", END_HEADERS | PADDED | PRIORITIZED) + data(1, b"hello"), DONE
    ),
    "6.2 a priority that is cut off": (head(1, b"123", END_HEADERS | PRIORITIZED), Ends(SIZE)),
    # -- 6.3: PRIORITY
    "6.3 a priority of the connection": (frame(PRIORITY, 0, 0, bytes(5)), Ends(PROTOCOL)),
    "6.3 a priority of another size": (OPEN + frame(PRIORITY, 0, 1, bytes(4)), Resets(SIZE)),
    "6.3 a priority of another size on an idle stream": (frame(PRIORITY, 0, 1, bytes(6)), Ends(SIZE)),
    # -- 6.4: RST_STREAM
    "6.4 a reset of the connection": (reset(0), Ends(PROTOCOL)),
    "6.4 a reset of another size": (OPEN + frame(RST_STREAM, 0, 1, bytes(3)), Ends(SIZE)),
    # -- 6.5: SETTINGS
    "6.5 settings in an acknowledgement": (frame(SETTINGS, ACK, 0, SETTING.pack(UNKNOWN_SETTING, 1)), Ends(SIZE)),
    "6.5 settings of a stream": (frame(SETTINGS, 0, 1), Ends(PROTOCOL)),
    "6.5 settings that are cut off": (frame(SETTINGS, 0, 0, b"123"), Ends(SIZE)),
    "6.5.2 push that is neither on nor off": (setting(ENABLE_PUSH, 2), Ends(PROTOCOL)),
    "6.5.2 a window wider than there are": (setting(INITIAL_WINDOW, 2**31), Ends(FLOW)),
    "6.5.2 frames shorter than there are": (setting(MAX_FRAME, 16383), Ends(PROTOCOL)),
    "6.5.2 frames longer than there are": (setting(MAX_FRAME, 2**24), Ends(PROTOCOL)),
    "6.5.2 the longest frames there are": (setting(MAX_FRAME, 2**24 - 1) + WHOLE, DONE),
    "6.5.2 a setting that is not known": (setting(UNKNOWN_SETTING, 7) + WHOLE, DONE),
    "6.5.2 a smaller table for what we send": (setting(TABLE_SIZE, 0) + WHOLE, DONE),
    "6.5.3 each value of a setting counts": (
        frame(SETTINGS, 0, 0, SETTING.pack(MAX_FRAME, 1) + SETTING.pack(MAX_FRAME, 16384)), Ends(PROTOCOL)
    ),
    "6.5.3 the last value of a setting holds": (
        frame(SETTINGS, 0, 0, SETTING.pack(INITIAL_WINDOW, 1) + SETTING.pack(INITIAL_WINDOW, 9)) + WHOLE, DONE
    ),
    # -- 6.6: PUSH_PROMISE
    "6.6 a push": (OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, U32.pack(2) + HEAD), Ends(PROTOCOL)),
    # -- 6.7: PING
    "6.7 a ping of a stream": (frame(PING, 0, 1, bytes(8)), Ends(PROTOCOL)),
    "6.7 a ping of another size": (frame(PING, 0, 0, bytes(7)), Ends(SIZE)),
    # -- 6.8: GOAWAY
    "6.8 an end of a stream": (OPEN + frame(GOAWAY, 0, 1, bytes(8)), Ends(PROTOCOL)),
    "6.8 an end that is cut off": (frame(GOAWAY, 0, 0, bytes(7)), Ends(SIZE)),
    "6.8 what was asked before the client's end is answered": (
        OPEN + frame(GOAWAY, 0, 0, bytes(8) + b"bye") + data(1, b"hello"), DONE
    ),
    # -- 6.9: WINDOW_UPDATE
    "6.9 a connection's window of nothing": (window(0, 0), Ends(PROTOCOL)),
    "6.9 a stream's window of nothing": (OPEN + window(1, 0), Resets(PROTOCOL)),
    "6.9 a window of another size": (OPEN + frame(WINDOW_UPDATE, 0, 1, bytes(3)), Ends(SIZE)),
    "6.9.1 a connection's window past the widest": (window(0, LONGEST), Ends(FLOW)),
    "6.9.1 a stream's window past the widest": (OPEN + window(1, LONGEST), Resets(FLOW)),
    "6.9.1 the reserved bit of a window": (OPEN + window(1, 1 << 31 | 2000) + data(1, b"hello"), DONE),
    "6.9.2 settings that widen a stream past the widest": (
        OPEN + window(1, LONGEST - 65535) + setting(INITIAL_WINDOW, LONGEST), Ends(FLOW)
    ),
    "6.9.2 the connection's window is not the settings'": (setting(INITIAL_WINDOW, LONGEST) + window(0, LONGEST - 65535), FINE),
    "6.9.3 a window that became negative is waited for": (
        setting(INITIAL_WINDOW, 8) + head(1) + data(1, b"0123456789") + setting(INITIAL_WINDOW, 0) + window(1, 9), Answers(b"012345678")
    ),
    # -- 6.10: CONTINUATION
    "6.10 a continuation on the connection": (head(1, HEAD[:3], 0) + frame(CONTINUATION, END_HEADERS, 0, HEAD[3:]), Ends(PROTOCOL)),
    "6.10 a continuation of another stream": (head(1, HEAD[:3], 0) + frame(CONTINUATION, END_HEADERS, 3, HEAD[3:]), Ends(PROTOCOL)),
    "6.10 a continuation after the end of the headers": (OPEN + frame(CONTINUATION, END_HEADERS, 1, HEAD), Ends(PROTOCOL)),
    "6.10 a continuation after data": (OPEN + data(1, b"x", 0) + frame(CONTINUATION, END_HEADERS, 1), Ends(PROTOCOL)),
    "6.10 data before the end of the headers": (head(1, HEAD[:3], 0) + data(1, b"x"), Ends(PROTOCOL)),
    "6.10 several continuations": (
        head(1, HEAD[:3], 0) + frame(CONTINUATION, 0, 1, HEAD[3:9]) + frame(CONTINUATION, 0, 1)
        + frame(CONTINUATION, END_HEADERS, 1, HEAD[9:]) + data(1, b"hello"), DONE
    ),
    "6.10 the end of a stream stands with the headers": (
        head(1, HEAD[:3], END_STREAM) + frame(CONTINUATION, END_HEADERS, 1, HEAD[3:]), Answers(b"")
    ),
    "6.10 continuations without end": (head(1, HEAD, 0) + frame(CONTINUATION, 0, 1) * 50, Ends(Code.ENHANCE_YOUR_CALM)),
    # -- 7: error codes
    "7 a code of a reset that is not known": (OPEN + reset(1, 0xFFFF) + head(3) + data(3, b"hello"), Answers(b"hello", 3)),
    "7 a code of an end that is not known": (frame(GOAWAY, 0, 0, U32.pack(0) + U32.pack(0xFFFF)) + WHOLE, DONE),
    # -- 8.1: messages
    "8.1 trailers end a request": (
        OPEN + data(1, b"hello", 0) + head(1, block(("a", "b")), END_HEADERS | END_STREAM), DONE
    ),
    "8.1 trailers that end nothing": (OPEN + data(1, b"hello", 0) + head(1, block(("a", "b"))), Resets(PROTOCOL)),
    "8.1 trailers with a pseudo-header field": (OPEN + head(1, HEAD, END_HEADERS | END_STREAM), Resets(PROTOCOL)),
    "8.1 trailers with a capital": (OPEN + head(1, block(("A", "b")), END_HEADERS | END_STREAM), Resets(PROTOCOL)),
    "8.1 trailers without a field": (OPEN + data(1, b"hello", 0) + head(1, b"", END_HEADERS | END_STREAM), DONE),
    "8.1 a request without a body": (head(1, HEAD, END_HEADERS | END_STREAM), Answers(b"")),
    "8.1.1 less data than the content-length": (asked(("content-length", "6")), Resets(PROTOCOL)),
    "8.1.1 more data than the content-length": (asked(("content-length", "4")), Resets(PROTOCOL)),
    "8.1.1 more data than the content-length, before the end": (
        head(1, block(*FIELDS, ("content-length", "4"))) + data(1, b"he", 0) + data(1, b"llo", 0), Resets(PROTOCOL)
    ),
    "8.1.1 no data, but a content-length": (
        head(1, block(*FIELDS, ("content-length", "1")), END_HEADERS | END_STREAM), Resets(PROTOCOL)
    ),
    "8.1.1 less data than the content-length, then trailers": (
        head(1, block(*FIELDS, ("content-length", "6"))) + data(1, b"hello", 0)
        + head(1, block(("a", "b")), END_HEADERS | END_STREAM), Resets(PROTOCOL)
    ),
    "8.1.1 the content-length in several frames": (
        head(1, block(*FIELDS, ("content-length", "5"))) + data(1, b"he", 0) + data(1, b"\x01llo\x00", PADDED | END_STREAM), DONE
    ),
    "8.1.1 content-lengths that differ": (asked(("content-length", "5"), ("content-length", "6")), Resets(PROTOCOL)),
    "8.1.1 the same content-length twice": (asked(("content-length", "5"), ("content-length", "5")), DONE),
    "8.1.1 a content-length that is no number": (asked(("content-length", "+5")), Resets(PROTOCOL)),
    "8.1.1 a content-length of any length": (asked(("content-length", "9" * 5000)), Resets(PROTOCOL)),
    # -- 8.2: fields
    "8.2 a list that is longer than the setting": (asked(*HEADS_17_KB), Answers(None)),
    "8.2.1 a capital in a name": (asked(("X-Name", "a")), Resets(PROTOCOL)),
    "8.2.1 a space in a name": (asked(("x name", "a")), Resets(PROTOCOL)),
    "8.2.1 a control character in a name": (asked(("x\x01", "a")), Resets(PROTOCOL)),
    "8.2.1 a character past ASCII in a name": (asked(("x\xe9", "a")), Resets(PROTOCOL)),
    "8.2.1 a delete in a name": (asked(("x\x7f", "a")), Resets(PROTOCOL)),
    "8.2.1 an empty name": (asked(("", "a")), Resets(PROTOCOL)),
    "8.2.1 a colon in a name": (asked(("x:y", "a")), Resets(PROTOCOL)),
    "8.2.1 a zero in a value": (asked(("x", "a\0b")), Resets(PROTOCOL)),
    "8.2.1 a carriage return in a value": (asked(("x", "a\rb")), Resets(PROTOCOL)),
    "8.2.1 a new line in a value": (asked(("x", "a\nb")), Resets(PROTOCOL)),
    "8.2.1 a space before a value": (asked(("x", " a")), Resets(PROTOCOL)),
    "8.2.1 a tab after a value": (asked(("x", "a\t")), Resets(PROTOCOL)),
    "8.2.1 a new line after a value": (asked(("x", "a\n")), Resets(PROTOCOL)),
    "8.2.1 an empty value": (asked(("x", "")), DONE),
    "8.2.1 any other character in a value": (asked(("x", "a b\tc\xff\x01")), DONE),
    "8.2.2 connection": (asked(("connection", "keep-alive")), Resets(PROTOCOL)),
    "8.2.2 proxy-connection": (asked(("proxy-connection", "keep-alive")), Resets(PROTOCOL)),
    "8.2.2 keep-alive": (asked(("keep-alive", "timeout=5")), Resets(PROTOCOL)),
    "8.2.2 transfer-encoding": (asked(("transfer-encoding", "chunked")), Resets(PROTOCOL)),
    "8.2.2 upgrade": (asked(("upgrade", "h2c")), Resets(PROTOCOL)),
    "8.2.2 te that is more than trailers": (asked(("te", "trailers, deflate")), Resets(PROTOCOL)),
    "8.2.2 te that is trailers": (asked(("te", "trailers")), DONE),
    "8.2.3 cookies in several fields": (asked(("cookie", "a=b"), ("cookie", "c=d")), DONE),
    # -- 8.3: pseudo-header fields
    "8.3 a pseudo-header field that is not known": (asked(first=((":test", "a"),)), Resets(PROTOCOL)),
    "8.3 a pseudo-header field of responses": (asked(first=((":status", "200"),)), Resets(PROTOCOL)),
    "8.3 a pseudo-header field after others": (asked((":path", "/echo"), without=":path", first=(("x", "a"),)), Resets(PROTOCOL)),
    "8.3 a pseudo-header field between others": (asked(("x", "a"), (":authority", "here"), without=":authority"), Resets(PROTOCOL)),
    "8.3.1 no method": (asked(without=":method"), Resets(PROTOCOL)),
    "8.3.1 no scheme": (asked(without=":scheme"), Resets(PROTOCOL)),
    "8.3.1 no path": (asked(without=":path"), Resets(PROTOCOL)),
    "8.3.1 no authority": (asked(without=":authority"), DONE),
    "8.3.1 an empty path": (asked(without=":path", first=((":path", ""),)), Resets(PROTOCOL)),
    "8.3.1 a path that does not begin with a slash": (asked(without=":path", first=((":path", "echo"),)), Resets(PROTOCOL)),
    "8.3.1 an asterisk for another method": (asked(without=":path", first=((":path", "*"),)), Resets(PROTOCOL)),
    "8.3.1 an asterisk for OPTIONS": (
        head(1, block((":method", "OPTIONS"), (":scheme", "http"), (":path", "*"))) + data(1, b"hello"), DONE
    ),
    "8.3.1 the method twice": (asked(first=((":method", "POST"),)), Resets(PROTOCOL)),
    "8.3.1 the scheme twice": (asked(first=((":scheme", "http"),)), Resets(PROTOCOL)),
    "8.3.1 the path twice": (asked(first=((":path", "/echo"),)), Resets(PROTOCOL)),
    "8.3.1 the authority twice": (asked(first=((":authority", "here"),)), Resets(PROTOCOL)),
    "8.3.1 an empty method": (asked(without=":method", first=((":method", ""),)), Resets(PROTOCOL)),
    "8.3.1 a user in the authority": (asked(without=":authority", first=((":authority", "me@here"),)), Resets(PROTOCOL)),
    "8.3.1 a host that is another": (asked(("host", "elsewhere")), Resets(PROTOCOL)),
    "8.3.1 a host that is the same": (asked(("host", "Here")), DONE),
    "8.3.1 two hosts": (asked(("host", "a"), ("host", "b"), without=":authority"), Resets(PROTOCOL)),
    # -- 8.4 to 8.7
    "8.4 push that a client switches off": (setting(ENABLE_PUSH, 0) + WHOLE, DONE),
    "8.5 CONNECT with a path": (
        head(1, block((":method", "CONNECT"), (":authority", "here"), (":path", "/"))), Resets(PROTOCOL)
    ),
    "8.5 CONNECT with a scheme": (
        head(1, block((":method", "CONNECT"), (":authority", "here"), (":scheme", "http"))), Resets(PROTOCOL)
    ),
    "8.5 CONNECT without an authority": (head(1, block((":method", "CONNECT"))), Resets(PROTOCOL)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(CASES))
def test_what_a_client_sends(name: str) -> None:
    wire, expected = CASES[name]
    client = Client()
    client.send(wire)
    frames = client.pipe.frames()
    if isinstance(expected, Ends):
        kind, _, stream_id, payload = frames[-1]
        assert (kind, stream_id, Code(U32.unpack(payload[4:8])[0])) == (GOAWAY, 0, expected.code)
        assert client.pipe.closed
        return
    assert [one for one in frames if one[0] == GOAWAY] == []
    resets = [one for one in frames if one[0] == RST_STREAM and U32.unpack(one[3]) != (Code.NO_ERROR,)]
    if isinstance(expected, Resets):
        assert resets[0] == (RST_STREAM, 0, expected.stream_id, U32.pack(expected.code))
    else:
        assert resets == []
        got = b"".join(one[3] for one in frames if one[0] == DATA and one[2] == expected.stream_id)
        assert got == (expected.data or b"")
    goes_on(client)


def goes_on(client: Client) -> None:
    """The connection answers pings and further requests; those that wait are taken back, for they may be as many as
    there may be."""
    for stream_id in list(client.server.streams):
        client.send(reset(stream_id))
    client.pipe.frames()
    client.send(frame(PING, 0, 0, b"8 bytes."))
    assert client.pipe.frames() == [(PING, ACK, 0, b"8 bytes.")]
    client.send(head(9001) + data(9001, b""))
    assert [one[:3] for one in client.pipe.frames()][-1] == (HEADERS, END_HEADERS | END_STREAM, 9001)


PREFACES: dict[str, tuple[bytes, bool]] = {
    "3.4 the preface, byte by byte": (PREFACE + frame(SETTINGS, 0, 0), True),
    "3.4 another preface": (b"INVALID CONNECTION PREFACE\r\n\r\n", False),
    "3.4 HTTP/1.1": (b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", False),
    "3.4 a preface without settings": (PREFACE + frame(PING, 0, 0, bytes(8)), False),
    "3.4 a preface before an acknowledgement": (PREFACE + frame(SETTINGS, ACK, 0), False),
    "3.4 a preface before a request": (PREFACE + WHOLE, False),
}


@pytest.mark.parametrize("name", list(PREFACES))
def test_how_a_connection_begins(name: str) -> None:
    wire, goes = PREFACES[name]
    client = Client(greet=False)
    for byte in wire:
        client.send(bytes((byte,)))
    if goes:
        assert client.pipe.frames() == [(SETTINGS, ACK, 0, b"")]
        goes_on(client)
    else:
        assert client.ends_with(Code.PROTOCOL_ERROR)


def test_3_4_the_server_begins_with_its_settings() -> None:
    client = Client(greet=False, keep_greeting=True)
    kind, flags, stream_id, payload = client.pipe.frames()[0]
    assert (kind, flags, stream_id) == (SETTINGS, 0, 0)
    assert len(payload) % SETTING.size == 0


def test_5_2_data_past_a_streams_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http2_flow, "BUFFERED_BYTES_MAX", 0)  # only the oldest request may send on
    client = Client()
    client.send(OPEN, data(1, b"x", 0), head(3))
    for _ in range(STREAM_WINDOW_BYTES // 16384):
        client.send(data(3, bytes(16384), 0))
    assert client.pipe.frames() == []
    client.send(data(3, b"x", 0))
    assert client.pipe.frames() == [(RST_STREAM, 0, 3, U32.pack(FLOW))]
    goes_on(client)


def test_6_5_3_settings_are_acknowledged_in_their_order() -> None:
    client = Client()
    client.send(setting(INITIAL_WINDOW, 5), frame(PING, 0, 0, bytes(8)), setting(INITIAL_WINDOW, 6))
    assert [one[:2] for one in client.pipe.frames()] == [(SETTINGS, ACK), (PING, ACK), (SETTINGS, ACK)]


def test_6_7_an_acknowledged_ping_is_not_answered() -> None:
    client = Client()
    client.send(frame(PING, ACK, 0, bytes(8)))
    assert client.pipe.frames() == []


def test_6_8_the_end_names_the_last_stream_that_was_taken() -> None:
    client = Client()
    client.send(WHOLE, head(7), frame(PING, 0, 0, b"short"))
    kind, _, _, payload = client.pipe.frames()[-1]
    assert (kind, U32.unpack(payload[:4])) == (GOAWAY, (7,))


def test_6_9_data_of_streams_that_are_over_counts_for_the_connections_window() -> None:
    client = Client()
    granted = 0
    for stream_id in range(1, 1201, 2):  # each is reset for its name, and its data was on its way
        client.send(head(stream_id, block(*FIELDS, ("Upper", "1"))), data(stream_id, bytes(16384)))
        granted += sum(U32.unpack(one[3])[0] for one in client.pipe.frames() if one[:3] == (WINDOW_UPDATE, 0, 0))
        if stream_id % 50 == 1:
            client.second()
    assert granted >= 600 * 16384 - CONNECTION_WINDOW_BYTES // 2


def test_8_1_an_answer_before_the_end_of_its_request_asks_for_no_more() -> None:
    client = Client()
    client.send(heads(1, block(*FIELDS, *HEADS_17_KB)))
    assert client.pipe.frames()[-1] == (RST_STREAM, 0, 1, U32.pack(Code.NO_ERROR))


def test_8_2_a_list_that_is_too_long_refuses_its_stream_alone() -> None:
    client = Client()
    long = block(*FIELDS, *[("x", "a" * 200)] * 100)
    client.send(heads(1, long))
    kind, flags, stream_id, payload = client.pipe.frames()[0]
    assert (kind, flags, stream_id) == (HEADERS, END_HEADERS | END_STREAM, 1)
    assert b"431" in payload
    assert len(long) > HEADER_BYTES_MAX
    client.send(WHOLE.replace(head(1), head(3)).replace(data(1, b"hello"), data(3, b"hello")))
    assert b"hello" in [one[3] for one in client.pipe.frames()]


def test_8_7_a_stream_that_a_draining_server_refuses_was_not_begun() -> None:
    client = Client()
    client.send(head(1))
    client.server.drain()
    client.pipe.frames()
    client.send(head(3) + data(3, b"hello"))
    assert client.pipe.frames() == [(RST_STREAM, 0, 3, U32.pack(Code.REFUSED_STREAM))]
    assert client.server.log == []
