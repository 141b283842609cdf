"""The API's HTTP protocol with bounds that uvicorn has not: on connections, heads, trailers, and the time of a body.

Used by `platform.py`. A client without a key can hold neither a connection nor memory for long.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tidegate.api.guard import PRINCIPAL
from tidegate.errors import OutOfResources, TidegateError, TooLarge

HEAD_WITHIN_S = 10.0
"""From the connection's start, or the answer before, to the end of the next request's head."""
BODY_PAUSE_S = 60.0
BODY_WITHIN_S, BODY_BYTES_PER_S_MIN = 60.0, 16 << 10
"""A body may take so long, and longer by what has come of it at this rate: one that drips comes to an end."""
UNREAD_S = 30.0
"""A client that takes nothing of its answer for so long, while more of it waits than is kept for one, is cut off."""
HEAD_BYTES_MAX = 64 << 10
"""Of a request's line and headers, of a chunk's extensions, of trailers: of whatever is not body."""
BACKLOG = 64
"""Connections that the kernel holds for us, and that are taken at once: more would be descriptors beyond the bound."""


def _refusal(status: str, error: TidegateError) -> bytes:
    body = orjson.dumps(error.body())
    head = f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


_FULL = _refusal("503 Service Unavailable", OutOfResources("too many connections are open: try again later"))
_LARGE = _refusal(
    "413 Content Too Large", TooLarge(f"the request's head or trailers are larger than {HEAD_BYTES_MAX} bytes")
)


class Waiting:
    """A server's connections, the one that has been without an answer for longest first; and how many it may have."""

    def __init__(self, connections_max: int) -> None:
        self.connections_max = connections_max
        self.connections: dict[BoundedHttp, None] = {}

    def protocol(self) -> type[BoundedHttp]:
        """The protocol class of one server, for `uvicorn.Config(http=...)`."""
        return type("BoundedHttp", (BoundedHttp,), {"waiting": self})

    def make_room(self, newest: BoundedHttp) -> bool:
        """Cut off a client that has shown no key, whatever it does, or else one that owes a head; False without any."""
        others = [one for one in self.connections if one is not newest]
        chosen = [one for one in others if not one.has_key()] or [one for one in others if one.owes_head]
        if not chosen:
            return False
        del self.connections[chosen[0]]
        chosen[0].transport.abort()
        return True


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    cycle: Any  # uvicorn's RequestResponseCycle, of the request that came last; None before the first
    waiting = Waiting(512)
    owes_head = False
    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _bodiless_bytes = 0  # since the last byte of a body, or the end of a request
    _body_comes = False
    _body_by_s = 0.0
    _has_key = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self.waiting.connections_max and not self.waiting.make_room(self):
            del self.waiting.connections[self]
            transport.write(_FULL)
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        self._is_read()
        self.waiting.connections.pop(self, None)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def has_key(self) -> bool:
        """Whether the guard has found a key good in any request of this connection."""
        if not self._has_key and self.cycle is not None:
            self._has_key = bool(self.cycle.scope.get(PRINCIPAL))
        return self._has_key

    def data_received(self, data: bytes) -> None:
        self._bodiless_bytes += len(data)
        self._body_by_s += len(data) / BODY_BYTES_PER_S_MIN
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._bodiless_bytes > HEAD_BYTES_MAX:
            self._refuse_large()
        elif self.owes_head:
            pass  # its time runs on, also while the rest of a body that was refused is thrown away
        elif self._body_comes:
            self._arm(min(BODY_PAUSE_S, self._body_by_s - self.loop.time()))
        else:
            self._cancel()

    def _refuse_large(self) -> None:
        """Say so, unless it would be taken for a part of another answer that is still owed."""
        owes = self.cycle is not None and not self.cycle.response_complete
        if self.pipeline or (owes and (self.cycle.response_started or not self.cycle.more_body)):
            self.transport.abort()
        else:
            self.transport.write(_LARGE)
            self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers are read over: the request was checked by its head, and nothing may be added to that."""
        if not self._body_comes:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.has_key()  # of the request before, which may be answered still
        self._body_comes = True
        self._body_by_s = self.loop.time() + BODY_WITHIN_S
        self.owes_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._bodiless_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_comes = False
        self._bodiless_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self.cycle.response_complete:
            self._await_head()

    def _await_head(self) -> None:
        self.has_key()
        self.owes_head = True
        self.waiting.connections.pop(self, None)
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
        if self.owes_head or not self.flow.read_paused:
            self.transport.abort()
        else:  # it is this server that does not read on
            self._body_by_s = self.loop.time() + BODY_WITHIN_S
            self._arm(BODY_PAUSE_S)
