"""A client of one HTTP/2 connection of ours without sockets and loop: what is written, and whose turn it is."""

import asyncio
from collections.abc import Callable
from typing import Any

from tidegate.dataplane.http2.connection import Http2Connection
from tidegate.dataplane.http2.flow import Request, Stream
from tidegate.dataplane.http2.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME,
    GOAWAY,
    HEADERS,
    PREFACE,
    SETTINGS,
    U32,
    Code,
    frame,
    literal,
)
from tidegate.dataplane.http2.share import TurnShare

BODY_BYTES_MAX = 1 << 20
HEAD = literal(b":method", b"POST") + literal(b":scheme", b"http") + literal(b":path", b"/echo")


class Pipe(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self, address: str | None = None) -> None:
        super().__init__({"peername": (address, 1234)} if address else {})
        self.sent = b""
        self.closed = self.aborted = False
        self.reading = True

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """Frames written since the last look: type, flags, stream, payload."""
        found, rest = [], self.sent
        while rest:
            high, low, kind, flags, stream_id = FRAME.unpack_from(rest)
            end = 9 + (high << 16 | low)
            found.append((kind, flags, stream_id, rest[9:end]))
            rest = rest[end:]
        self.sent = b""
        return found

    def kinds(self) -> list[int]:
        return [kind for kind, *_ in self.frames()]


class Echo:
    """Answers with its body; tells what became of it."""

    def __init__(self, stream: Stream, log: list[str]) -> None:
        self.stream = stream
        self.log = log

    def complete(self, body: bytes) -> None:
        self.log.append(f"complete {len(body)}")
        if body != b"wait":
            self.stream.respond(b"\x88", body, b"\x88")

    def too_large(self, size_bytes: int) -> None:
        self.log.append("too large")
        self.stream.respond_head(b"\x88")

    def grew(self, body: bytes | bytearray) -> None:
        pass

    def too_slow(self) -> None:
        self.log.append("too slow")
        self.stream.respond_head(b"\x88")

    def abandon(self) -> None:
        self.log.append("abandoned")


class Echoing(Http2Connection[Any]):
    def __init__(self, share: TurnShare) -> None:
        self.now_s = 0.0
        self.log: list[str] = []
        super().__init__(list, BODY_BYTES_MAX, lambda: self.now_s, share)

    def open_request(self, stream: Stream, head: Any) -> Request:
        request = Echo(stream, self.log)
        if (b"refuse", b"me") in head:
            stream.respond_head(b"\x88")
        return request


class Turns:
    """The loop's: what is to be called in its next turn."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.share = TurnShare(self.soon.append)

    def take(self) -> None:
        """One turn."""
        now, self.soon[:] = list(self.soon), []
        for callback in now:
            callback()


class Client:
    def __init__(
        self,
        *,
        greet: bool = True,
        turns: Turns | None = None,
        address: str | None = None,
        keep_greeting: bool = False,
    ) -> None:
        self.pipe = Pipe(address)
        self.turns = turns or Turns()
        self.server = Echoing(self.turns.share)
        self.server.connection_made(self.pipe)
        if not keep_greeting:
            self.pipe.frames()
        if greet:
            self.send(PREFACE + frame(SETTINGS, 0, 0))
            self.pipe.frames()

    def send(self, *frames: bytes) -> None:
        """And let the server have all the turns it wants."""
        self.server.data_received(b"".join(frames))
        while self.turns.soon:
            self.turns.take()

    def second(self) -> None:
        """Let a second pass."""
        self.server.now_s += 1.0
        self.turns.share.sweep()
        self.server.sweep(self.server.now_s, 10.0, 75.0)

    def request(self, stream_id: int, body: bytes, head: bytes = HEAD) -> None:
        self.send(frame(HEADERS, END_HEADERS, stream_id, head), frame(DATA, END_STREAM, stream_id, body))

    def ends_with(self, code: Code) -> bool:
        kind, _, _, payload = self.pipe.frames()[-1]
        return kind == GOAWAY and U32.unpack(payload[4:]) == (code,) and self.pipe.closed
