"""One HTTP/2 connection, the server's side, as much as unary gRPC needs: requests, flow control and limits.

Used by `grpc_server.py`, which says what a request is (`open_request`). Everything runs in the loop's callbacks: no
task and no future per request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic

from tidegate.dataplane.http2_flow import Incoming, Outgoing, Request, Stream
from tidegate.dataplane.http2_frames import (
    ACK,
    CONTINUATION,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FRAME,
    FRAME_BYTES_MAX,
    GOAWAY,
    HEADER_BYTES_MAX,
    INITIAL_WINDOW,
    MAX_FRAME,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAMS_MAX,
    U32,
    WINDOW_BYTES_MAX,
    Code,
    Fault,
    HeadReader,
    HeadT,
    Pairs,
    frame,
    greeting,
    unpadded,
)

CONTINUATIONS_MAX = 16
SETTINGS_MAX = 64
PRIORITY_BYTES, PING_BYTES = 5, 8
CONTROL_FRAMES_MAX = 20_000
"""Resets, pings, settings and frames that bring nothing, between two sweeps (a second): who sends more means harm."""
WINDOW_STEP_BYTES_MIN = 1024
"""Leave for less than this at a time brings next to nothing."""
TURN_FRAMES_MAX = 256
"""Frames of one connection after which the others have their turn."""


class Connection(asyncio.Protocol, Generic[HeadT]):
    """The protocol of one connection. `body_bytes_max` bounds a request's body; `clock` is monotonic."""

    transport: asyncio.Transport

    def __init__(self, make_head: Callable[[Pairs], HeadT], body_bytes_max: int, clock: Callable[[], float]) -> None:
        self._heads = HeadReader(make_head)
        self._body_bytes_max = body_bytes_max
        self.clock = clock
        self.streams: dict[int, Stream] = {}
        self.draining = False
        self.active_s = clock()
        self._buffer = b""
        self._greeted = False
        self._closed = False
        self._paused_since_s: float | None = None
        self._last_id = 0
        self._headers_of: tuple[int, int] | None = None
        self._block: list[bytes] = []
        self._control = 0
        self._frames = 0
        self._incoming = Incoming(self)
        self._outgoing = Outgoing(self)

    def open_request(self, stream: Stream, head: HeadT) -> Request:
        """Begin a request."""
        raise TypeError(f"a connection needs requests: {stream}, {head}")

    # -- the transport ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we take."""
        self.transport = transport  # type: ignore[assignment]  # a server's transports read and write
        self.write(greeting())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol's shape)
        """Nobody waits for what is being computed any more."""
        self._closed = True
        for stream in list(self.streams.values()):
            self._drop(stream)

    def pause_writing(self) -> None:
        """The client does not read: read nothing of it either, so that what waits for it is bounded."""
        self._paused_since_s = self.clock()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._paused_since_s = None
        if not self.transport.is_closing():
            self.transport.resume_reading()
            self._outgoing.pump()

    @property
    def writable(self) -> bool:
        """Whether the client reads what is sent."""
        return self._paused_since_s is None and not self._closed

    def write(self, data: bytes) -> None:
        """To the client."""
        if not self._closed:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        if self._closed:
            return
        if self._buffer:
            data = self._buffer + data
        self._frames = 0
        try:
            self._buffer = data[self._take(data) :]
        except Fault as fault:
            self._fail(fault.code)
        if self._frames > TURN_FRAMES_MAX and self.writable:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        if self.writable and not self.transport.is_closing():
            self.transport.resume_reading()

    def _take(self, data: bytes) -> int:
        """Handle the whole frames in `data`; returns where the rest begins."""
        offset = 0
        if not self._greeted:
            if data[: len(PREFACE)] != PREFACE[: len(data)]:
                raise Fault(Code.PROTOCOL_ERROR, "this is no HTTP/2")
            if len(data) < len(PREFACE):
                return 0
            self._greeted, offset = True, len(PREFACE)
        while len(data) - offset >= 9 and not self._closed:
            high, low, kind, flags, stream_id = FRAME.unpack_from(data, offset)
            length = high << 16 | low
            if length > FRAME_BYTES_MAX:
                raise Fault(Code.FRAME_SIZE_ERROR, "the frame is too long")
            end = offset + 9 + length
            if end > len(data):
                break
            if self._headers_of is not None and kind != CONTINUATION:
                raise Fault(Code.PROTOCOL_ERROR, "a header block was interrupted")
            self._frames += 1
            if kind < len(_HANDLERS):
                _HANDLERS[kind](self, flags, stream_id & WINDOW_BYTES_MAX, data[offset + 9 : end])
            else:
                self._count()  # is to be ignored
            offset = end
        return offset

    def _fail(self, code: Code) -> None:
        self.write(frame(GOAWAY, 0, 0, U32.pack(self._last_id) + U32.pack(code)))
        self.close()

    def close(self) -> None:
        """End the connection; what is being computed for it is dropped."""
        self._closed = True
        self.active_s = self.clock()
        for stream in list(self.streams.values()):
            self._drop(stream)
        self.transport.close()

    # -- requests --------------------------------------------------------------------------------------------------

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags & PADDED:
            payload = unpadded(payload)
        if flags & PRIORITIZED:
            if len(payload) < PRIORITY_BYTES:
                raise Fault(Code.FRAME_SIZE_ERROR, "the priority is cut off")
            payload = payload[PRIORITY_BYTES:]
        if flags & END_HEADERS:
            self._head(stream_id, payload, ended=bool(flags & END_STREAM))
        else:
            self._headers_of, self._block = (stream_id, flags), [payload]

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._headers_of is None or self._headers_of[0] != stream_id:
            raise Fault(Code.PROTOCOL_ERROR, "a continuation of nothing")
        self._block.append(payload)
        if len(self._block) > CONTINUATIONS_MAX or sum(map(len, self._block)) > HEADER_BYTES_MAX:
            raise Fault(Code.ENHANCE_YOUR_CALM, "the header block is too long")
        if flags & END_HEADERS:
            (_, first_flags), self._headers_of = self._headers_of, None
            self._head(stream_id, b"".join(self._block), ended=bool(first_flags & END_STREAM))

    def _head(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        head = self._heads.read(block)  # also where the request is refused: the table must follow the client's
        known = self.streams.get(stream_id)
        if known is not None:
            if known.ended or not ended:
                raise Fault(Code.PROTOCOL_ERROR, "headers inside a request")
            self._complete(known)
            return
        if not stream_id & 1:
            raise Fault(Code.PROTOCOL_ERROR, "clients open odd streams")
        if stream_id <= self._last_id:
            self._count()  # trailers of a request that was answered already
            return
        self._last_id = stream_id
        if self.draining or len(self.streams) >= STREAMS_MAX:
            self._reset(stream_id, Code.REFUSED_STREAM)
            return
        stream = Stream(self, stream_id, self._outgoing.initial_window, self.clock())
        self.streams[stream_id] = stream
        stream.request = self.open_request(stream, head)
        if ended and stream.open:
            self._complete(stream)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._incoming.took(size)
        stream = self._stream(stream_id)
        if stream is None:
            return
        stream.credit -= size
        if stream.credit < 0:
            raise Fault(Code.FLOW_CONTROL_ERROR, "more data than was allowed")
        if stream.ended:
            raise Fault(Code.STREAM_CLOSED, "data after the end of a request")
        if flags & PADDED:
            payload = unpadded(payload)
        if not payload:
            self._count()
        if flags & END_STREAM and not stream.body:
            stream.body = payload
        else:
            self._incoming.collect(stream, payload)
            if len(stream.body) > self._body_bytes_max:
                stream.request.too_large(len(stream.body))
            else:
                stream.request.grew(stream.body)
        if stream.open and flags & END_STREAM:
            self._complete(stream)
        elif stream.open:
            self._incoming.grant(stream)

    def _complete(self, stream: Stream) -> None:
        stream.ended = True
        body = bytes(stream.body)
        self._incoming.arrived(stream)
        stream.request.complete(body)

    def _stream(self, stream_id: int) -> Stream | None:
        """The open stream, None for one that is over."""
        if stream_id == 0 or stream_id > self._last_id:
            raise Fault(Code.PROTOCOL_ERROR, "a frame of a stream that was never opened")
        return self.streams.get(stream_id)

    # -- responses -------------------------------------------------------------------------------------------------

    def respond(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """As `Stream.respond`."""
        self._outgoing.respond(stream, head, data, trailers)

    def finish(self, stream: Stream) -> None:
        """The response is out."""
        if not stream.ended:
            self._reset(stream.id, Code.NO_ERROR)  # its rest need not be sent
        self._forget(stream)

    def _reset(self, stream_id: int, code: Code) -> None:
        self.write(frame(RST_STREAM, 0, stream_id, U32.pack(code)))

    def _forget(self, stream: Stream) -> None:
        stream.open = False
        self.active_s = self.clock()
        self.streams.pop(stream.id, None)
        self._outgoing.forget(stream)
        self._incoming.arrived(stream)
        if self.draining and not self.streams and not self._closed:
            self.close()

    def _drop(self, stream: Stream) -> None:
        self._forget(stream)
        stream.request.abandon()

    # -- control frames --------------------------------------------------------------------------------------------

    def _count(self) -> None:
        self._control += 1
        if self._control > CONTROL_FRAMES_MAX:
            raise Fault(Code.ENHANCE_YOUR_CALM, "too many control frames")

    def _on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (a handler's shape)
        self._count()
        if len(payload) != U32.size:
            raise Fault(Code.FRAME_SIZE_ERROR, "this is no reset")
        stream = self._stream(stream_id)
        if stream is not None:
            self._drop(stream)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._count()
        if stream_id != 0:
            raise Fault(Code.PROTOCOL_ERROR, "settings are the connection's")
        if len(payload) % SETTING.size or (flags & ACK and payload):
            raise Fault(Code.FRAME_SIZE_ERROR, "these are no settings")
        if flags & ACK:
            return
        if len(payload) > SETTINGS_MAX * SETTING.size:
            raise Fault(Code.ENHANCE_YOUR_CALM, "too many settings")
        settings = dict(SETTING.iter_unpack(payload))  # of a setting that is there often, the last one holds
        if settings.get(ENABLE_PUSH, 0) > 1:
            raise Fault(Code.PROTOCOL_ERROR, "push is on or off")
        if INITIAL_WINDOW in settings:
            self._outgoing.widen_all(settings[INITIAL_WINDOW], list(self.streams.values()))
        if MAX_FRAME in settings:
            self._outgoing.lengthen(settings[MAX_FRAME])
        self.write(frame(SETTINGS, ACK, 0))
        self._outgoing.pump()

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._count()
        if stream_id != 0:
            raise Fault(Code.PROTOCOL_ERROR, "pings are the connection's")
        if len(payload) != PING_BYTES:
            raise Fault(Code.FRAME_SIZE_ERROR, "this is no ping")
        if not flags & ACK:
            self.write(frame(PING, ACK, 0, payload))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (a handler's shape)
        if len(payload) != U32.size:
            raise Fault(Code.FRAME_SIZE_ERROR, "this is no window update")
        more = U32.unpack(payload)[0] & WINDOW_BYTES_MAX
        if more < WINDOW_STEP_BYTES_MIN:
            self._count()
        stream = self._stream(stream_id) if stream_id else None
        if stream is not None or stream_id == 0:
            self._outgoing.widen(more, stream)

    def _on_push(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (a handler's shape)
        raise Fault(Code.PROTOCOL_ERROR, "clients do not push")

    def _on_nothing(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (a handler's shape)
        self._count()

    # -- the end ---------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no further request, answer those that are here, then close."""
        if not self.draining:
            self.draining = True
            self.write(frame(GOAWAY, 0, 0, U32.pack(self._last_id) + U32.pack(Code.NO_ERROR)))
            if not self.streams:
                self.close()

    def sweep(self, now_s: float, receive_timeout_s: float, idle_timeout_s: float) -> None:
        """End what is too slow, and the connection when it is silent or its client does not read. Once a second."""
        self._control = 0
        for stream in list(self.streams.values()):
            if not stream.ended and now_s - stream.opened_s > receive_timeout_s:
                stream.request.too_slow()
            elif stream.pending is not None and now_s - stream.sent_s > idle_timeout_s:
                self._reset(stream.id, Code.CANCEL)  # its client gives no leave to send
                self._drop(stream)
        unread_since_s = self.active_s if self._closed else self._paused_since_s
        if unread_since_s is not None and now_s - unread_since_s > idle_timeout_s:
            self.transport.abort()
        elif self._closed:
            return
        elif not self.streams and now_s - self.active_s > (idle_timeout_s if self._greeted else receive_timeout_s):
            self.drain()


_HANDLERS: tuple[Callable[[Connection[Any], int, int, bytes], None], ...] = (
    Connection._on_data,
    Connection._on_headers,
    Connection._on_nothing,
    Connection._on_reset,
    Connection._on_settings,
    Connection._on_push,
    Connection._on_ping,
    Connection._on_nothing,
    Connection._on_window_update,
    Connection._on_continuation,
)
"""By frame type."""
