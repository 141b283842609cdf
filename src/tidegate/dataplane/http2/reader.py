"""Cuts what a client sends over HTTP/2 into frames, and joins header blocks: one reader for each connection.

Used by `connection.py`, which says what frames mean. Reads no more at a time than it is told to.
"""

from __future__ import annotations

from typing import Protocol

from tidegate.dataplane.http2.frames import (
    ACK,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    FRAME,
    FRAME_BYTES_MAX,
    HEADERS,
    PADDED,
    PREFACE,
    PRIORITIZED,
    SETTINGS,
    WINDOW_BYTES_MAX,
    Code,
    Http2Fault,
    unpadded,
)

CONTINUATIONS_MAX = 16
BLOCK_BYTES_MAX = 64 << 10
"""Of a header block that is still decoded: its stream may be refused and the connection go on."""
PRIORITY_BYTES = 5
FRAME_HEAD_BYTES = FRAME.size
_NOT_BARE = PADDED | PRIORITIZED
_unpack = FRAME.unpack_from


class Frames(Protocol):
    """Who is told of frames. Both raise `Http2Fault` for what ends the connection."""

    def on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Any frame but those of header blocks."""

    def on_block(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """A whole header block; `ended` when it ends its stream too."""


class Reader:
    """`used` counts the work of a turn: a unit for each frame, and what is added by who handles them."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._data = b""
        self._offset = 0
        self._settled = False
        self._plain = False  # after the first settings, and not inside a header block
        self._headers_of: tuple[int, int] | None = None
        self._block: list[bytes] = []
        self._stopped = False
        self.greeted = False
        self.unread = False
        self.used = 0

    def add(self, data: bytes) -> None:
        """Keep what came, after what is left."""
        if self._data:
            data = self._data[self._offset :] + data
            self._offset = 0
        self._data = data

    def stop(self) -> None:
        """The connection is over: handle no further frame."""
        self._stopped = True
        self._data = b""
        self.unread = False

    def work(self, units_max: int) -> bool:
        """Handle the whole frames that are here, until that was so much work; whether some may be left (`unread`)."""
        self.used = 0
        if not self.greeted and not self._greet():
            return False
        data, offset, frames = self._data, self._offset, self._frames
        size = len(data)
        while size - offset >= FRAME_HEAD_BYTES:
            if self.used >= units_max:
                self._offset, self.unread = offset, True
                return True
            high, low, kind, flags, stream_id = _unpack(data, offset)
            start = offset + FRAME_HEAD_BYTES
            end = start + (high << 16 | low)
            if end - start > FRAME_BYTES_MAX:
                raise Http2Fault(Code.FRAME_SIZE_ERROR, "the frame is too long")
            if end > size:
                break
            self.used += 1
            offset = end
            if not self._plain or kind == CONTINUATION:
                self._handle(kind, flags, stream_id & WINDOW_BYTES_MAX, data[start:end])
            elif kind != HEADERS:
                frames.on_frame(kind, flags, stream_id & WINDOW_BYTES_MAX, data[start:end])
            elif stream_id and not flags & _NOT_BARE and flags & END_HEADERS:
                ended = bool(flags & END_STREAM)
                frames.on_block(stream_id & WINDOW_BYTES_MAX, data[start:end], ended=ended)
            else:
                self._begin_block(flags, stream_id & WINDOW_BYTES_MAX, data[start:end])
            if self._stopped:
                return False
        self._data, self._offset, self.unread = data[offset:], 0, False  # nothing is kept of what was read
        return False

    def _greet(self) -> bool:
        data = self._data
        if data[: len(PREFACE)] != PREFACE[: len(data)]:
            raise Http2Fault(Code.PROTOCOL_ERROR, "this is no HTTP/2")
        if len(data) >= len(PREFACE):
            self.greeted, self._offset = True, len(PREFACE)
        return self.greeted

    def _handle(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._headers_of is not None and kind != CONTINUATION:
            raise Http2Fault(Code.PROTOCOL_ERROR, "a header block was interrupted")
        if not self._settled:
            if kind != SETTINGS or flags & ACK:
                raise Http2Fault(Code.PROTOCOL_ERROR, "the first frame must be settings")
            self._settled = self._plain = True
        if kind == HEADERS:
            self._begin_block(flags, stream_id, payload)
        elif kind == CONTINUATION:
            self._continue_block(flags, stream_id, payload)
        else:
            self._frames.on_frame(kind, flags, stream_id, payload)

    def _begin_block(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id == 0:
            raise Http2Fault(Code.PROTOCOL_ERROR, "the connection has no headers")
        if flags & PADDED:
            payload = unpadded(payload)
        if flags & PRIORITIZED:
            if len(payload) < PRIORITY_BYTES:
                raise Http2Fault(Code.FRAME_SIZE_ERROR, "the priority is cut off")
            payload = payload[PRIORITY_BYTES:]
        if flags & END_HEADERS:
            self._frames.on_block(stream_id, payload, ended=bool(flags & END_STREAM))
        else:
            self._headers_of, self._block, self._plain = (stream_id, flags), [payload], False

    def _continue_block(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._headers_of is None or self._headers_of[0] != stream_id:
            raise Http2Fault(Code.PROTOCOL_ERROR, "a continuation of nothing")
        self._block.append(payload)
        if len(self._block) > CONTINUATIONS_MAX or sum(map(len, self._block)) > BLOCK_BYTES_MAX:
            raise Http2Fault(Code.ENHANCE_YOUR_CALM, "the header block is too long")
        if flags & END_HEADERS:
            (_, first_flags), self._headers_of = self._headers_of, None
            block, self._block, self._plain = b"".join(self._block), [], True
            self._frames.on_block(stream_id, block, ended=bool(first_flags & END_STREAM))
