"""One HTTP/2 connection, the server's side, as much as gRPC needs: requests, flow control and limits.

Used by `grpc/server.py`, which says what a request is (`open_request`). Everything runs in the loop's callbacks: no
task and no future per request. Every rule of RFC 9113 that a client can break is a case of
`tests/dataplane/test_rfc9113.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

from tidegate.dataplane.http2.flow import EndedStreams, Incoming, Outgoing, Request, Stream
from tidegate.dataplane.http2.frames import (
    ACK,
    ENABLE_PUSH,
    END_STREAM,
    GOAWAY,
    INITIAL_WINDOW,
    MAX_FRAME,
    PADDED,
    PING,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAMS_MAX,
    U32,
    WINDOW_BYTES_MAX,
    Code,
    Http2Fault,
    Pairs,
    StreamFault,
    frame,
    literal,
    unpadded,
)
from tidegate.dataplane.http2.heads import HeaderBlock, HeadReader, HeadT
from tidegate.dataplane.http2.reader import PRIORITY_BYTES
from tidegate.dataplane.http2.share import TurnShare
from tidegate.dataplane.http2.wire import Wire

SETTINGS_MAX = 64
PING_BYTES, GOAWAY_BYTES_MIN = 8, 8
WINDOW_STEP_BYTES_MIN = 1024
"""Leave for less than this at a time brings next to nothing."""
DATA_BYTES_MIN = 64
"""Fewer at a time bring next to nothing either; the last of a request may be few."""
RESET_UNITS = 2
"""What it costs to end a stream, beside what it cost to open it."""
ANSWERED_UNITS = 2
"""What a call that was answered makes good of what its connection wasted: small windows, pings."""
_TOO_LONG = literal(b":status", b"431")


class Http2Connection(Wire, Generic[HeadT]):
    """The protocol of one connection. `body_bytes_max` bounds a request's body; `clock` is monotonic; `trusted` False
    counts header blocks before they are decoded, as long as the client has not shown who it is.
    """

    def __init__(
        self, make_head: Callable[[Pairs], HeadT], body_bytes_max: int, clock: Callable[[], float], share: TurnShare
    ) -> None:
        super().__init__(clock, share)
        self._heads = HeadReader(make_head)
        self._body_bytes_max = body_bytes_max
        self.streams: dict[int, Stream] = {}
        self.draining = False
        self.trusted = True
        self._past = EndedStreams()
        self._incoming = Incoming(self)
        self.outgoing = Outgoing(self)

    def open_request(self, stream: Stream, head: HeadT) -> Request:
        """Begin a request."""
        raise TypeError(f"a connection needs requests: {stream}, {head}")

    def refuse_long_head(self, stream: Stream) -> None:
        """Answer a request whose fields are longer than the server takes."""
        stream.respond_head(_TOO_LONG)

    def on_leave(self) -> None:
        """Send what waits for the client to read."""
        self.outgoing.pump()

    def on_end(self) -> None:
        """Nobody waits for what is being computed any more."""
        for stream in list(self.streams.values()):
            self._drop(stream)

    # -- requests --------------------------------------------------------------------------------------------------

    def on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """By its type; one that is not known is ignored."""
        handle = _HANDLERS[kind] if kind < len(_HANDLERS) else Http2Connection._on_nothing
        try:
            handle(self, flags, stream_id, payload)
        except StreamFault as fault:
            self._break(stream_id, fault.code)

    def on_block(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """A request's fields, or its trailers. Decoded in any case: the table must follow the client's."""
        read = self._heads.known(block) or self._decoded(block)
        try:
            if not stream_id & 1:
                raise Http2Fault(Code.PROTOCOL_ERROR, "clients open odd streams")
            if stream_id > self.last_id:
                self._open(stream_id, read, ended=ended)
            elif stream_id in self.streams:
                self._end_with_trailers(self.streams[stream_id], read, ended=ended)
            else:
                self.waste(read.weight)
                self._past.check_head(stream_id, ended=ended)
        except StreamFault as fault:
            self._break(stream_id, fault.code)

    def _decoded(self, block: bytes) -> HeaderBlock[HeadT]:
        weight = self._heads.weight(block)
        self.reader.used += weight
        if not self.trusted:
            self.waste(weight)
        return self._heads.read(block)

    def _open(self, stream_id: int, read: HeaderBlock[HeadT], *, ended: bool) -> None:
        self.last_id = stream_id
        if self.draining or len(self.streams) >= STREAMS_MAX:
            self.waste(read.weight)
            raise StreamFault(Code.REFUSED_STREAM, "no further stream is taken")
        if read.wrong:
            self.waste(read.weight)
            raise StreamFault(Code.PROTOCOL_ERROR, read.wrong)
        stream = Stream(self, stream_id, self.outgoing.initial_window, self.clock())
        stream.length, stream.weight = read.length, read.weight
        stream.ended = ended
        self.streams[stream_id] = stream
        if read.head is None:
            self.refuse_long_head(stream)
        else:
            stream.request = self.open_request(stream, read.head)
        if not stream.open:  # refused by its fields alone
            self.waste(read.weight)
        elif ended:
            self._complete(stream)

    def _end_with_trailers(self, stream: Stream, read: HeaderBlock[HeadT], *, ended: bool) -> None:
        if stream.ended:
            raise StreamFault(Code.STREAM_CLOSED, "headers after the end of a request")
        if not ended or read.wrong_trailer:
            raise StreamFault(Code.PROTOCOL_ERROR, read.wrong_trailer or "trailers that end nothing")
        self._complete(stream)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._incoming.took(size)
        if flags & PADDED:
            payload = unpadded(payload)
        ended = bool(flags & END_STREAM)
        if len(payload) < DATA_BYTES_MIN and not ended:
            self.waste(1)
        stream = self._stream(stream_id)
        if stream is None:
            self.waste(1)
            self._past.check_data(stream_id, ended=ended)
            return
        if stream.ended:
            raise StreamFault(Code.STREAM_CLOSED, "data after the end of a request")
        stream.credit -= size
        if stream.credit < 0:
            raise StreamFault(Code.FLOW_CONTROL_ERROR, "more data than was allowed")
        if ended and not stream.body:
            stream.body = payload
        else:
            self._collect(stream, payload)
        if stream.open and ended:
            self._complete(stream)
        elif stream.open:
            self._incoming.grant(stream)

    def _collect(self, stream: Stream, payload: bytes) -> None:
        self._incoming.collect(stream, payload)
        if stream.length is not None and len(stream.body) > stream.length:
            raise StreamFault(Code.PROTOCOL_ERROR, "more data than the content-length says")
        if len(stream.body) > self._body_bytes_max:
            stream.request.too_large(len(stream.body))
        else:
            stream.request.grew(stream.body)

    def _complete(self, stream: Stream) -> None:
        stream.ended = True
        if stream.length is not None and stream.length != len(stream.body):
            raise StreamFault(Code.PROTOCOL_ERROR, "other data than the content-length says")
        body = bytes(stream.body)
        self._incoming.arrived(stream)
        stream.request.complete(body)

    def _stream(self, stream_id: int) -> Stream | None:
        """The open stream, None for one that is over."""
        if stream_id == 0 or stream_id > self.last_id or not stream_id & 1:
            raise Http2Fault(Code.PROTOCOL_ERROR, "a frame of a stream that was never opened")
        return self.streams.get(stream_id)

    # -- responses -------------------------------------------------------------------------------------------------

    def finish(self, stream: Stream, earned: int = ANSWERED_UNITS) -> None:
        """The response is out."""
        self.wasted -= earned
        if not stream.ended:
            self._reset(stream.id, Code.NO_ERROR)  # its rest need not be sent
        self._forget(stream, cut=not stream.ended)

    def _reset(self, stream_id: int, code: Code) -> None:
        self.write(frame(RST_STREAM, 0, stream_id, U32.pack(code)))

    def _break(self, stream_id: int, code: Code) -> None:
        """End a stream in which the client broke the protocol."""
        self._reset(stream_id, code)
        self._past.add(stream_id, cut=True)
        if stream_id in self.streams:
            self._drop(self.streams[stream_id], cut=True)
        self.waste(RESET_UNITS)

    def _forget(self, stream: Stream, *, cut: bool) -> None:
        stream.open = False
        self.active_s = self.clock()
        self.streams.pop(stream.id, None)
        self._past.add(stream.id, cut=cut)
        self.outgoing.forget(stream)
        self._incoming.arrived(stream)
        if self.draining and not self.streams and not self.closed:
            self.close()

    def _drop(self, stream: Stream, *, cut: bool = False) -> None:
        self._forget(stream, cut=cut)
        stream.request.abandon()

    # -- control frames --------------------------------------------------------------------------------------------

    def _on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (a handler's shape)
        if len(payload) != U32.size:
            raise Http2Fault(Code.FRAME_SIZE_ERROR, "this is no reset")
        stream = self._stream(stream_id)
        if stream is not None:
            self._drop(stream)
        self._past.taken_back(stream_id)
        self.waste(RESET_UNITS + (stream.weight if stream is not None else 0))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.waste(1)
        if stream_id != 0:
            raise Http2Fault(Code.PROTOCOL_ERROR, "settings are the connection's")
        if len(payload) % SETTING.size or (flags & ACK and payload):
            raise Http2Fault(Code.FRAME_SIZE_ERROR, "these are no settings")
        if flags & ACK:
            return
        if len(payload) > SETTINGS_MAX * SETTING.size:
            raise Http2Fault(Code.ENHANCE_YOUR_CALM, "too many settings")
        for name, value in SETTING.iter_unpack(payload):
            self._set(name, value)
        self.write(frame(SETTINGS, ACK, 0))
        self.outgoing.pump()

    def _set(self, name: int, value: int) -> None:
        if name == ENABLE_PUSH and value > 1:
            raise Http2Fault(Code.PROTOCOL_ERROR, "push is on or off")
        if name == INITIAL_WINDOW:
            self.outgoing.widen_all(value, list(self.streams.values()))
        elif name == MAX_FRAME:
            self.outgoing.lengthen(value)

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.waste(1)
        if stream_id != 0:
            raise Http2Fault(Code.PROTOCOL_ERROR, "pings are the connection's")
        if len(payload) != PING_BYTES:
            raise Http2Fault(Code.FRAME_SIZE_ERROR, "this is no ping")
        if not flags & ACK:
            self.write(frame(PING, ACK, 0, payload))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (a handler's shape)
        if len(payload) != U32.size:
            raise Http2Fault(Code.FRAME_SIZE_ERROR, "this is no window update")
        more = U32.unpack(payload)[0] & WINDOW_BYTES_MAX
        stream = self._stream(stream_id) if stream_id else None
        if more < WINDOW_STEP_BYTES_MIN or (stream_id and stream is None):
            self.waste(1)
        if stream is not None:
            self.outgoing.widen_stream(more, stream)
        elif stream_id == 0:
            self.outgoing.widen(more)

    def _on_push(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (a handler's shape)
        raise Http2Fault(Code.PROTOCOL_ERROR, "clients do not push")

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (a handler's shape)
        self.waste(1)
        if stream_id == 0:
            raise Http2Fault(Code.PROTOCOL_ERROR, "the connection has no priority")
        if len(payload) != PRIORITY_BYTES:
            # A stream that was never opened cannot be reset.
            known = stream_id <= self.last_id and stream_id & 1
            raise (StreamFault if known else Http2Fault)(Code.FRAME_SIZE_ERROR, "this is no priority")

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (a handler's shape)
        self.waste(1)
        if stream_id != 0:
            raise Http2Fault(Code.PROTOCOL_ERROR, "the end is the connection's")
        if len(payload) < GOAWAY_BYTES_MIN:
            raise Http2Fault(Code.FRAME_SIZE_ERROR, "this is no end")

    def _on_nothing(self, flags: int, stream_id: int, payload: bytes) -> None:  # noqa: ARG002 (a handler's shape)
        self.waste(1)

    # -- the end ---------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Take no further request, answer those that are here, then close."""
        if not self.draining:
            self.draining = True
            self.write(frame(GOAWAY, 0, 0, U32.pack(self.last_id) + U32.pack(Code.NO_ERROR)))
            if not self.streams:
                self.close()

    def sweep(self, now_s: float, receive_timeout_s: float, idle_timeout_s: float) -> None:
        """End what is too slow, and the connection when it is silent or its client does not read. Once a second."""
        self.wasted = 0
        for stream in list(self.streams.values()):
            if not stream.ended and now_s - stream.opened_s > receive_timeout_s:
                stream.request.too_slow()
            elif stream.pending is not None and now_s - stream.sent_s > idle_timeout_s:
                self._reset(stream.id, Code.CANCEL)  # its client gives no leave to send
                self._drop(stream, cut=True)
        unread_since_s = self.active_s if self.closed else self.paused_since_s
        if unread_since_s is not None and now_s - unread_since_s > idle_timeout_s:
            self.transport.abort()
        elif self.closed:
            return
        elif not self.streams and now_s - self.active_s > (
            idle_timeout_s if self.reader.greeted else receive_timeout_s
        ):
            self.drain()


_HANDLERS: tuple[Callable[[Http2Connection[Any], int, int, bytes], None], ...] = (
    Http2Connection._on_data,
    Http2Connection._on_nothing,  # headers come as blocks
    Http2Connection._on_priority,
    Http2Connection._on_reset,
    Http2Connection._on_settings,
    Http2Connection._on_push,
    Http2Connection._on_ping,
    Http2Connection._on_goaway,
    Http2Connection._on_window_update,
)
"""By frame type."""
