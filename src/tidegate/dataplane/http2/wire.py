"""The transport of an HTTP/2 connection: reads in turns, stops reading of who does not read, and ends once.

The base of `connection.py`'s connection, which says what frames mean. Everything runs in the loop's callbacks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tidegate.dataplane.http2.frames import GOAWAY, U32, Code, Http2Fault, frame, greeting
from tidegate.dataplane.http2.reader import Reader
from tidegate.dataplane.http2.share import SMALL_UNITS_MAX, TurnShare

log = logging.getLogger(__name__)


class Wire(asyncio.Protocol):
    """`active_s` is when it last did something for its client; `wasted` is work for nothing since the last sweep."""

    transport: asyncio.Transport

    def __init__(self, clock: Callable[[], float], share: TurnShare) -> None:
        self.clock = clock
        self.active_s = clock()
        self.closed = False
        self.last_id = 0
        self.wasted = 0
        self.reader = Reader(self)
        self.paused_since_s: float | None = None
        self._share = share
        self._address: str | None = None
        self._waits = False

    def on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """A frame came."""
        raise TypeError(f"a connection needs frames' meanings: {kind}, {flags}, {stream_id}, {len(payload)} bytes")

    def on_block(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """A header block came."""
        raise TypeError(f"a connection needs frames' meanings: {stream_id}, {len(block)} bytes, {ended}")

    def on_leave(self) -> None:
        """The client reads again: send what waits."""

    def on_end(self) -> None:
        """The connection is over: drop what is computed for it."""

    def waste(self, units: int) -> None:
        """Count work that was for nothing; raises `Http2Fault` for too much of it."""
        self.wasted += units
        self._share.waste(self._address, units, self.wasted)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our SETTINGS."""
        self.transport = transport  # type: ignore[assignment]  # a server's transports read and write
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else None
        self.write(greeting())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (the protocol's shape)
        """Nobody waits for what is being computed any more."""
        self._end()

    def pause_writing(self) -> None:
        """The client does not read: read nothing of it either, so that what waits for it is bounded."""
        self.paused_since_s = self.clock()
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again: resume writing."""
        self.paused_since_s = None
        if not self.transport.is_closing():
            self.on_leave()
            self._read_on()

    @property
    def writable(self) -> bool:
        """Whether the client reads what is sent."""
        return self.paused_since_s is None and not self.closed

    def write(self, data: bytes) -> None:
        """To the client."""
        if not self.closed:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Take frames: at once as many as may be in this turn of the loop, the others when it is their turn."""
        if self.closed:
            return
        self.reader.add(data)
        if not self._waits:
            share, reader = self._share, self.reader
            try:
                more = reader.work(share.turn_units)
            except Http2Fault as fault:
                self._fail(fault.code)
            else:
                if reader.used > SMALL_UNITS_MAX:
                    share.spend(reader.used)
                if more:
                    self._wait()

    def _wait(self) -> None:
        self._waits = True
        self.transport.pause_reading()
        self._share.wait(self._turn)

    def _turn(self, units_max: int) -> int:
        """Its turn: the work it was, 0 once nothing is left or the client does not read what it gets."""
        try:
            if self.writable and self.reader.work(units_max):
                return self.reader.used
        except Http2Fault as fault:
            self._fail(fault.code)
        except Exception:
            log.exception("a connection's frames could not be worked off, and it is cut")
            self.transport.abort()
        self._waits = False
        self._read_on()
        return 0

    def _read_on(self) -> None:
        """Read, unless frames that are here already are to be worked off first."""
        if not self.writable or self._waits or self.transport.is_closing():
            return
        if self.reader.unread:
            self._wait()
        else:
            self.transport.resume_reading()

    def _fail(self, code: Code) -> None:
        self.write(frame(GOAWAY, 0, 0, U32.pack(self.last_id) + U32.pack(code)))
        self.close()

    def close(self) -> None:
        """End the connection; what is being computed for it is dropped."""
        self.active_s = self.clock()
        self._end()
        self.transport.close()

    def _end(self) -> None:
        self.closed = True
        self.reader.stop()
        self.on_end()
