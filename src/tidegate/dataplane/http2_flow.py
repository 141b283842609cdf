"""Flow control of an HTTP/2 connection: what a client may still send us, and what we may send it (RFC 9113, 5.2).

Used by `http2.py`. A stream's data is bounded by its own window and by what a connection may have us keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tidegate.dataplane.http2_frames import (
    CONNECTION_WINDOW_BYTES,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PEER_FRAME_BYTES,
    PEER_WINDOW_BYTES,
    STREAM_WINDOW_BYTES,
    U32,
    WINDOW_BYTES_MAX,
    WINDOW_UPDATE,
    Code,
    Fault,
    frame,
)

if TYPE_CHECKING:
    from tidegate.dataplane.http2 import Connection

BUFFERED_BYTES_MAX = 64 << 20
"""Past this, only the oldest request that is still arriving on a connection may send on."""
PEER_FRAME_BYTES_MAX = 1 << 20
"""Longest frame we send, whatever the client takes."""


class Request(Protocol):
    """What a stream carries."""

    def complete(self, body: bytes) -> None:
        """All of it arrived."""

    def too_large(self, size_bytes: int) -> None:
        """Its body is larger than the server takes: answer so."""

    def grew(self, body: bytes | bytearray) -> None:
        """This much of its body is here, and more will follow: answer if that is too much."""

    def too_slow(self) -> None:
        """It did not arrive in time: answer so."""

    def abandon(self) -> None:
        """The client went away, or took the request back."""


class Stream:
    """One request and its response on a connection."""

    __slots__ = (
        "body",
        "connection",
        "credit",
        "ended",
        "id",
        "open",
        "opened_s",
        "pending",
        "request",
        "sent_s",
        "window",
    )

    def __init__(self, connection: Connection[Any], stream_id: int, window: int, now_s: float) -> None:
        self.connection = connection
        self.id = stream_id
        self.window = window
        self.credit = STREAM_WINDOW_BYTES
        self.opened_s = self.sent_s = now_s
        self.body: bytes | bytearray = b""
        self.open = True
        self.ended = False
        self.pending: tuple[memoryview, bytes] | None = None
        self.request: Request

    def respond(self, head: bytes, data: bytes, trailers: bytes) -> None:
        """Send header block, data and trailer block, as fast as the client takes them; nothing once it is gone."""
        if self.open:
            self.connection.respond(self, head, data, trailers)

    def respond_head(self, head: bytes) -> None:
        """Send a response that has a header block only."""
        if self.open:
            self.connection.write(frame(HEADERS, END_HEADERS | END_STREAM, self.id, head))
            self.connection.finish(self)


class Incoming:
    """What a client may send: credit of the connection and of its streams, and the requests that are still arriving."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._credit = CONNECTION_WINDOW_BYTES
        self._receiving: dict[int, Stream] = {}
        self._buffered = 0

    def took(self, size: int) -> None:
        """Data of any stream came; the connection's own window is kept open."""
        self._credit -= size
        if self._credit < 0:
            raise Fault(Code.FLOW_CONTROL_ERROR, "more data than was allowed")
        if self._credit < CONNECTION_WINDOW_BYTES // 2:
            more = U32.pack(CONNECTION_WINDOW_BYTES - self._credit)
            self._connection.write(frame(WINDOW_UPDATE, 0, 0, more))
            self._credit = CONNECTION_WINDOW_BYTES

    def collect(self, stream: Stream, payload: bytes) -> None:
        """Keep a part of a request."""
        if type(stream.body) is bytes:
            stream.body = bytearray(stream.body)
            self._receiving[stream.id] = stream
        stream.body += payload
        self._buffered += len(payload)

    def grant(self, stream: Stream) -> None:
        """Let it send on, unless too much is kept already; the oldest one always may, so that none waits for ever."""
        room = self._buffered < BUFFERED_BYTES_MAX or stream.id == next(iter(self._receiving), stream.id)
        if room and stream.credit < STREAM_WINDOW_BYTES // 2:
            more = U32.pack(STREAM_WINDOW_BYTES - stream.credit)
            self._connection.write(frame(WINDOW_UPDATE, 0, stream.id, more))
            stream.credit = STREAM_WINDOW_BYTES

    def arrived(self, stream: Stream) -> None:
        """It holds no part of a request any more: those that wait for room may go on."""
        if self._receiving.pop(stream.id, None) is not None:
            crowded = self._buffered >= BUFFERED_BYTES_MAX
            self._buffered -= len(stream.body)
            for other in self._receiving.values() if crowded else ():
                self.grant(other)
        stream.body = b""


class Outgoing:
    """What we may send: the client's windows, and the responses that wait for them.

    A response that waits for its own stream's window alone is not looked at until that one opens: a client could have
    all of them looked at with every byte it gives leave for.
    """

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._window = PEER_WINDOW_BYTES
        self._frame_bytes_max = PEER_FRAME_BYTES
        self._ready: dict[int, Stream] = {}
        self.initial_window = PEER_WINDOW_BYTES

    def respond(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """One write where the client's windows allow it, else piece by piece."""
        size = len(data)
        first = frame(HEADERS, END_HEADERS, stream.id, head)
        if not size or (size <= self._frame_bytes_max and size <= self._window and size <= stream.window):
            self._window -= size
            last = frame(HEADERS, END_HEADERS | END_STREAM, stream.id, trailers)
            self._connection.write(b"".join((first, frame(DATA, 0, stream.id, data), last)))
            self._connection.finish(stream)
            return
        self._connection.write(first)
        stream.pending = memoryview(data), trailers
        stream.sent_s = self._connection.clock()
        self._ready[stream.id] = stream
        self.pump()

    def pump(self) -> None:
        """Send what waits for the client's leave."""
        while self._ready and self._window > 0 and self._connection.writable:
            stream = next(iter(self._ready.values()))
            if stream.pending is None or stream.window <= 0:
                del self._ready[stream.id]
            else:
                self._send_piece(stream, *stream.pending)

    def _send_piece(self, stream: Stream, data: memoryview, trailers: bytes) -> None:
        size = min(len(data), self._frame_bytes_max, self._window, stream.window)
        self._window -= size
        stream.window -= size
        stream.pending = data[size:], trailers
        stream.sent_s = self._connection.clock()
        self._connection.write(frame(DATA, 0, stream.id, bytes(data[:size])))
        if size == len(data):
            self._connection.write(frame(HEADERS, END_HEADERS | END_STREAM, stream.id, trailers))
            self._connection.finish(stream)

    def forget(self, stream: Stream) -> None:
        """It is over."""
        stream.pending = None
        self._ready.pop(stream.id, None)

    def widen_all(self, window: int, streams: list[Stream]) -> None:
        """The client's settings give every stream another window."""
        if window > WINDOW_BYTES_MAX:
            raise Fault(Code.FLOW_CONTROL_ERROR, "the window is too wide")
        for stream in streams:
            self._open(stream, window - self.initial_window)
        self.initial_window = window

    def _open(self, stream: Stream, more: int) -> None:
        stream.window += more
        if stream.window > WINDOW_BYTES_MAX:
            raise Fault(Code.FLOW_CONTROL_ERROR, "the window is too wide")
        if stream.pending is not None and stream.window > 0:
            self._ready[stream.id] = stream

    def lengthen(self, frame_bytes_max: int) -> None:
        """The client's settings allow longer frames."""
        if not PEER_FRAME_BYTES <= frame_bytes_max < 1 << 24:
            raise Fault(Code.PROTOCOL_ERROR, "frames have no such length")
        self._frame_bytes_max = min(frame_bytes_max, PEER_FRAME_BYTES_MAX)

    def widen(self, more: int, stream: Stream | None) -> None:
        """The client gives leave for more on a stream, or on the connection (None)."""
        if more == 0:
            raise Fault(Code.PROTOCOL_ERROR, "the window is widened by nothing")
        if stream is not None:
            self._open(stream, more)
        else:
            self._window += more
            if self._window > WINDOW_BYTES_MAX:
                raise Fault(Code.FLOW_CONTROL_ERROR, "the window is too wide")
        self.pump()
