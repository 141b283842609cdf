"""Flow control of an HTTP/2 connection: what a client may still send us, and what we may send it (RFC 9113, 5.2).

Used by `connection.py`. A stream's data is bounded by its own window and by what a connection may have us keep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tidegate.dataplane.http2.frames import (
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
    Http2Fault,
    StreamFault,
    frame,
)

BUFFERED_BYTES_MAX = 64 << 20
"""Past this, only the oldest request that is still arriving on a connection may send on."""
PAST_STREAMS_MAX = 512
PEER_FRAME_BYTES_MAX = 1 << 20
"""Longest frame we send, whatever the client takes."""


class Request(Protocol):
    """What a stream carries."""

    def complete(self, body: bytes) -> None:
        """The whole request body has arrived."""

    def too_large(self, size_bytes: int) -> None:
        """Its body is larger than the server takes: answer so."""

    def grew(self, body: bytes | bytearray) -> None:
        """This much of its body is here, and more will follow: answer if that is too much."""

    def too_slow(self) -> None:
        """It did not arrive in time: answer so."""

    def abandon(self) -> None:
        """The client went away, or took the request back."""


class StreamConnection(Protocol):
    """The connection that streams share."""

    clock: Callable[[], float]
    outgoing: Outgoing

    @property
    def writable(self) -> bool:
        """Whether the client reads what is sent."""

    def write(self, data: bytes) -> None:
        """Send frames."""

    def finish(self, stream: Stream, earned: int = ...) -> None:
        """The response is out."""


class Stream:
    """One request and its response on a connection."""

    __slots__ = (
        "body",
        "connection",
        "credit",
        "ended",
        "id",
        "length",
        "open",
        "opened_s",
        "pending",
        "request",
        "sent_s",
        "trailers",
        "weight",
        "window",
    )

    def __init__(self, connection: StreamConnection, stream_id: int, window: int, now_s: float) -> None:
        self.connection = connection
        self.id = stream_id
        self.window = window
        self.credit = STREAM_WINDOW_BYTES
        self.opened_s = self.sent_s = now_s
        self.body: bytes | bytearray = b""
        self.open = True
        self.ended = False
        self.pending: memoryview | None = None
        self.trailers: bytes | None = None
        self.length: int | None = None
        self.weight = 1
        self.request: Request = NOBODY

    def respond(self, head: bytes, data: bytes, trailers: bytes) -> None:
        """Send header block, data and trailer block, as fast as the client takes them; nothing once it is gone."""
        if self.open:
            self.connection.outgoing.respond(self, head, data, trailers)

    def respond_head(self, head: bytes) -> None:
        """Send a response that has a header block only."""
        if self.open:
            self.connection.write(frame(HEADERS, END_HEADERS | END_STREAM, self.id, head))
            self.connection.finish(self, 0)

    def begin(self, head: bytes) -> None:
        """Send the header block of a response whose data comes little by little: `push`, then `end`."""
        if self.open:
            self.connection.write(frame(HEADERS, END_HEADERS, self.id, head))

    def push(self, data: bytes) -> None:
        """Send more data, as fast as the client takes it; `pending` is what waits for that."""
        if self.open:
            self.connection.outgoing.push(self, data)

    def end(self, trailers: bytes) -> None:
        """Send the trailer block once the data is out."""
        if self.open:
            self.connection.outgoing.end(self, trailers)


class _Nobody:
    """Stands in where a request was answered before it began."""

    def complete(self, body: bytes) -> None:
        """Not reached: its stream is over."""

    def too_large(self, size_bytes: int) -> None:
        """Likewise."""

    def grew(self, body: bytes | bytearray) -> None:
        """Likewise."""

    def too_slow(self) -> None:
        """Likewise."""

    def abandon(self) -> None:
        """Likewise."""


NOBODY = _Nobody()
"""Of a stream that was answered by its header fields alone."""


class EndedStreams:
    """How the last streams of a connection ended, which says what a frame that still comes for one of them means.

    Two generations: what the older one holds is forgotten when the newer one is full.
    """

    _OVER, _CUT, _TAKEN_BACK = range(3)

    def __init__(self) -> None:
        self._how: dict[int, int] = {}
        self._before: dict[int, int] = {}

    def add(self, stream_id: int, *, cut: bool) -> None:
        """A stream is over; `cut` when we ended it and the client may not know that yet."""
        self._how[stream_id] = self._CUT if cut else self._OVER
        if len(self._how) > PAST_STREAMS_MAX:
            self._before, self._how = self._how, {}

    def taken_back(self, stream_id: int) -> None:
        """The client reset a stream."""
        self.add(stream_id, cut=False)
        self._how[stream_id] = self._TAKEN_BACK

    def _find(self, stream_id: int) -> int | None:
        how = self._how.get(stream_id)
        return how if how is not None else self._before.get(stream_id)

    def check_head(self, stream_id: int, *, ended: bool) -> None:
        """A header block came for it; raises what that means, nothing where it was under way when we ended it."""
        how = self._find(stream_id)
        if how is None:
            raise Http2Fault(Code.PROTOCOL_ERROR, "a stream below the last one")
        self._check(stream_id, how, ended=ended)

    def check_data(self, stream_id: int, *, ended: bool) -> None:
        """Likewise for data; of a stream that is long over, only that one is meant."""
        how = self._find(stream_id)
        if how is None:
            raise StreamFault(Code.STREAM_CLOSED, "data of a stream that is over")
        self._check(stream_id, how, ended=ended)

    def _check(self, stream_id: int, how: int, *, ended: bool) -> None:
        if how == self._OVER:
            raise Http2Fault(Code.STREAM_CLOSED, "a stream that was ended goes on")
        if how == self._TAKEN_BACK:
            raise StreamFault(Code.STREAM_CLOSED, "a stream that was taken back goes on")
        if ended:
            self.add(stream_id, cut=False)


class Incoming:
    """What a client may send: credit of the connection and of its streams, and the requests that are still arriving."""

    def __init__(self, connection: StreamConnection) -> None:
        self._connection = connection
        self._credit = CONNECTION_WINDOW_BYTES
        self._receiving: dict[int, Stream] = {}
        self._buffered = 0

    def took(self, size: int) -> None:
        """Data of any stream came; the connection's own window is kept open."""
        self._credit -= size
        if self._credit < 0:
            raise Http2Fault(Code.FLOW_CONTROL_ERROR, "more data than was allowed")
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

    def __init__(self, connection: StreamConnection) -> None:
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
        stream.trailers = trailers
        self.push(stream, data)

    def push(self, stream: Stream, data: bytes) -> None:
        """Send data, after what waits already."""
        stream.pending = memoryview(data if stream.pending is None else bytes(stream.pending) + data)
        stream.sent_s = self._connection.clock()
        self._ready[stream.id] = stream
        self.pump()

    def end(self, stream: Stream, trailers: bytes) -> None:
        """Send trailers, after what waits already."""
        stream.trailers = trailers
        if stream.pending is None:
            self._send_trailers(stream, trailers)

    def pump(self) -> None:
        """Send what waits for the client's leave."""
        while self._ready and self._window > 0 and self._connection.writable:
            stream = next(iter(self._ready.values()))
            if stream.pending is None or stream.window <= 0:
                del self._ready[stream.id]
            else:
                self._send_piece(stream, stream.pending)

    def _send_piece(self, stream: Stream, data: memoryview) -> None:
        size = min(len(data), self._frame_bytes_max, self._window, stream.window)
        self._window -= size
        stream.window -= size
        stream.pending = data[size:] if size < len(data) else None
        stream.sent_s = self._connection.clock()
        self._connection.write(frame(DATA, 0, stream.id, bytes(data[:size])))
        if stream.pending is None and stream.trailers is not None:
            self._send_trailers(stream, stream.trailers)

    def _send_trailers(self, stream: Stream, trailers: bytes) -> None:
        self._connection.write(frame(HEADERS, END_HEADERS | END_STREAM, stream.id, trailers))
        self._connection.finish(stream)

    def forget(self, stream: Stream) -> None:
        """Forget a stream that has ended."""
        stream.pending = None
        self._ready.pop(stream.id, None)

    def widen_all(self, window: int, streams: list[Stream]) -> None:
        """The client's settings give every stream another window."""
        if window > WINDOW_BYTES_MAX:
            raise Http2Fault(Code.FLOW_CONTROL_ERROR, "the window is too wide")
        for stream in streams:
            if stream.window + window - self.initial_window > WINDOW_BYTES_MAX:
                raise Http2Fault(Code.FLOW_CONTROL_ERROR, "a stream's window is too wide")
            self._open(stream, window - self.initial_window)
        self.initial_window = window

    def _open(self, stream: Stream, more: int) -> None:
        stream.window += more
        if stream.pending is not None and stream.window > 0:
            self._ready[stream.id] = stream

    def lengthen(self, frame_bytes_max: int) -> None:
        """The client's settings allow longer frames."""
        if not PEER_FRAME_BYTES <= frame_bytes_max < 1 << 24:
            raise Http2Fault(Code.PROTOCOL_ERROR, "frames have no such length")
        self._frame_bytes_max = min(frame_bytes_max, PEER_FRAME_BYTES_MAX)

    def widen(self, more: int) -> None:
        """The client gives leave for more on the connection."""
        if more == 0:
            raise Http2Fault(Code.PROTOCOL_ERROR, "the window is widened by nothing")
        self._window += more
        if self._window > WINDOW_BYTES_MAX:
            raise Http2Fault(Code.FLOW_CONTROL_ERROR, "the window is too wide")
        self.pump()

    def widen_stream(self, more: int, stream: Stream) -> None:
        """The client gives leave for more on a stream."""
        if more == 0:
            raise StreamFault(Code.PROTOCOL_ERROR, "the window is widened by nothing")
        if stream.window + more > WINDOW_BYTES_MAX:
            raise StreamFault(Code.FLOW_CONTROL_ERROR, "the window is too wide")
        self._open(stream, more)
        self.pump()
