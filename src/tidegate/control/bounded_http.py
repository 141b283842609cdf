"""The API's HTTP protocol with bounds that uvicorn has not: on connections, on heads, and on pauses of a body.

Used by `platform.py`. A client without a key can hold neither a connection nor memory for long.
"""

from __future__ import annotations

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidegate.errors import OutOfResources, TidegateError, TooLarge

HEAD_WITHIN_S = 10.0
"""From the connection's start, or the answer before, to the end of the next request's head."""
BODY_PAUSE_S = 60.0
HEAD_BYTES_MAX = 64 << 10
BACKLOG = 64
"""Connections that the kernel holds for us, and that are taken at once: more would be descriptors beyond the bound."""


def _refusal(status: str, error: TidegateError) -> bytes:
    body = orjson.dumps(error.body())
    head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


_FULL = _refusal("503 Service Unavailable", OutOfResources("too many connections are open: try again later"))
_LARGE = _refusal("413 Content Too Large", TooLarge(f"the request's head is larger than {HEAD_BYTES_MAX} bytes"))


class Waiting:
    """A server's connections that owe a head, the one that has owed longest first; and how many it may have at all."""

    def __init__(self, connections_max: int) -> None:
        self.connections_max = connections_max
        self.connections: dict[BoundedHttp, None] = {}

    def protocol(self) -> type[BoundedHttp]:
        """The protocol class of one server, for `uvicorn.Config(http=...)`."""
        return type("BoundedHttp", (BoundedHttp,), {"waiting": self})


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    waiting = Waiting(512)
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _body_comes = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.waiting.connections_max:
            oldest = next(iter(self.waiting.connections))  # this one, where all others are being answered
            if oldest is self:
                transport.write(_FULL)
                transport.close()
            else:
                del self.waiting.connections[oldest]
                oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        self.waiting.connections.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self in self.waiting.connections:
            self._owes_head(len(data))
        elif self._body_comes:
            self._arm(BODY_PAUSE_S)
        else:
            self._cancel()

    def _owes_head(self, received_bytes: int) -> None:
        """Its time runs on. What still comes of a body that was refused is no head, and thrown away."""
        self._head_bytes += 0 if self._body_comes else received_bytes
        if self._head_bytes > HEAD_BYTES_MAX:
            self.transport.write(_LARGE)
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._body_comes = True
        self.waiting.connections.pop(self, None)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._body_comes = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._await_head()

    def _await_head(self) -> None:
        self._head_bytes = 0
        self.waiting.connections[self] = None
        self._arm(HEAD_WITHIN_S)

    def _arm(self, timeout_s: float) -> None:
        self._cancel()
        self._timer = self.loop.call_later(timeout_s, self._late)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self in self.waiting.connections or not self.flow.read_paused:
            self.transport.abort()
        else:  # it is this server that does not read on
            self._arm(BODY_PAUSE_S)
