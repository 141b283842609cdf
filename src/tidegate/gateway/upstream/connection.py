"""One keep-alive HTTP/1.1 connection to a replica: one request at a time, raw bytes out, one parsed answer back.

Used by `target.py` only. It knows HTTP and nothing of models, batches or retries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools
import msgspec

CONTENT_BYTES_MAX = 1 << 30


class HopAnswer(msgspec.Struct):
    """A whole HTTP answer. `header_length` is `Inference-Header-Content-Length`, where the answer has one.

    `expected`: it begins with the very head that was expected of it, which still stands in front of `body`.
    """

    status: int
    body: bytes
    header_length: int | None = None
    retry_after_s: float | None = None
    expected: bool = False


Expected = tuple[bytes, int]
"""The head of an answer that is known beforehand, and the whole answer's length."""
OnAnswer = Callable[[HopAnswer | None], None]
"""Called once for each request: with the answer, or with None when the connection was lost before it was whole."""


class HopConnection(asyncio.Protocol):
    """`closed` is done when the connection is gone; `answers` counts what it has carried.

    `unread` says of one that is gone that the last request was not read to its end: so it was not computed either.
    `reset` says that some of it had come there by then.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, unix: bool = False) -> None:
        self.closed: asyncio.Future[None] = loop.create_future()
        self.answers = 0
        self.unread = self.reset = False
        self._transport: asyncio.Transport | None = None
        self._unix = unix
        self._on_answer: OnAnswer | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._begun = False
        self._chunks: list[bytes] = []
        self._size = 0
        self._header_length: int | None = None
        self._retry_after_s: float | None = None
        self._expected: Expected | None = None

    # -- what the target asks for ----------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether the connection may carry another request."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def answering(self) -> bool:
        """Whether some of an answer has come already."""
        return self._begun

    def send(self, parts: list[bytes], on_answer: OnAnswer, expected: Expected | None = None) -> None:
        """Write one request. The caller waits for its answer before it sends the next.

        An answer that is `expected` (its head, and its length with it) is handed over without being parsed.
        """
        self._on_answer = on_answer
        self._expected = expected
        if self._transport is not None:
            self._transport.writelines(parts)

    def close(self) -> None:
        """Cut the connection; what waits for an answer is told on the next turn of the loop."""
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        expected = self._expected
        if expected is not None and not self._begun and len(data) == expected[1] and data.startswith(expected[0]):
            self.answers += 1
            self._tell(HopAnswer(200, data, expected=True))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            # What speaks no HTTP is as good as gone; the owner's retry and log line are those of a lost connection.
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        # A broken pipe is met by what writes. A Unix socket is reset where its other end was closed with bytes unread.
        self.reset = self._unix and isinstance(exc, ConnectionResetError)
        self.unread = self.reset or isinstance(exc, BrokenPipeError)
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
        self._tell(None)

    # -- httptools -------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._begun = True

    def on_header(self, name: bytes, value: bytes) -> None:
        # Lengths first: this runs for every header of every batch, and two names matter.
        if len(name) == 31 and name.lower() == b"inference-header-content-length" and value.isdigit():
            self._header_length = int(value)
        elif len(name) == 11 and name.lower() == b"retry-after" and value.isdigit():
            self._retry_after_s = float(value)

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        self._chunks.append(body)
        if self._size > CONTENT_BYTES_MAX:
            self.close()

    def on_message_complete(self) -> None:
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        parser = self._parser
        answer = HopAnswer(parser.get_status_code(), body, self._header_length, self._retry_after_s)
        keep = parser.should_keep_alive()
        self.answers += 1
        self._begun = False
        self._chunks = []
        self._size = 0
        self._header_length = self._retry_after_s = None
        if not keep:
            self.close()
        self._tell(answer)

    def _tell(self, answer: HopAnswer | None) -> None:
        on_answer, self._on_answer, self._expected = self._on_answer, None, None
        if on_answer is not None:
            on_answer(answer)
