"""The transport into the API of the same process: an ASGI application called on an event loop and threads of its own.

For synchronous callers, such as the console's handlers: they hold none of the server's threads while the API works for
them, however many they are. Nothing but what the caller has shown is handed on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

from urllib3 import HTTPHeaderDict

from tidegate.client.transport.base import ApiAnswer, ApiCall
from tidegate.clock import monotonic
from tidegate.errors import DeadlineExceeded, NotRunning, OutOfResources, TooLarge

ANSWER_BYTES_MAX = 64 << 20
CALLS_MAX = 16
"""Calls under way at a time; others wait, within their own timeout. Each takes one thread of the API at most."""

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_HOST = "localhost"  # the guard answers to the names of loopback
_within: ContextVar[bool] = ContextVar("within_a_call_in_process", default=False)


@dataclass(frozen=True)
class Caller:
    """Who a call is made for, by what that caller's own request has shown; and the id of that request."""

    authorization: str | None = field(default=None, repr=False)
    cookie: str | None = field(default=None, repr=False)
    request_id: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Caller:
        """The caller of a request with these headers, whose names are in lower case or looked up in any case."""
        return cls(headers.get("authorization"), headers.get("cookie"), headers.get("x-request-id"))

    def identity(self) -> dict[str, str]:
        """The headers that say who calls."""
        shown = {"Authorization": self.authorization, "Cookie": self.cookie}
        return {name: value for name, value in shown.items() if value is not None}

    def trace(self) -> dict[str, str]:
        """The headers that say for which request."""
        return {} if self.request_id is None else {"X-Request-Id": self.request_id}


class InProcess:
    """An application and the loop that its calls run on. Safe to share between threads; `close` it at the end.

    A route that is called this way must not call the same way: it would wait for a thread while it holds one, so that
    enough of them would wait for each other. Such a call raises `RuntimeError`, and so does one from the loop itself.
    """

    def __init__(self, app: Application, calls_max: int = CALLS_MAX) -> None:
        self._app = app
        self._room = threading.BoundedSemaphore(calls_max)
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def close(self) -> None:
        """End the loop; calls that are under way break."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            if loop is not None:
                loop.call_soon_threadsafe(loop.stop)
        if thread is not None:
            thread.join()

    def call(self, call: ApiCall, headers: Mapping[str, str], timeout_s: float) -> ApiAnswer:
        """Raises `TimeoutError`, `NotRunning` when it is closed meanwhile, `OutOfResources`, `TooLarge` for an answer
        of more than `ANSWER_BYTES_MAX`, and whatever the application raises.
        """
        if _within.get():
            raise RuntimeError("a route that was called in process must not call the API in process")
        until = monotonic() + timeout_s
        if not self._room.acquire(timeout=timeout_s):
            raise TimeoutError
        exchange = _Exchange(self._app, call, headers)
        loop, future = self._begin(exchange)
        try:
            return future.result(max(until - monotonic(), 0.0))
        except CancelledError:
            raise NotRunning("the control plane in this process ended before it answered") from None
        except TimeoutError:
            # Not cancelled: a route's thread cannot be, and would be left to run where nobody counts it.
            with suppress(RuntimeError):  # the loop ended meanwhile, and with it the call
                loop.call_soon_threadsafe(exchange.leave)
            raise

    def _begin(self, exchange: _Exchange) -> tuple[asyncio.AbstractEventLoop, Future[ApiAnswer]]:
        """Under the lock: a loop that is told to end has begun all that its callers wait for."""
        try:
            with self._lock:
                loop = self._running()
                return loop, asyncio.run_coroutine_threadsafe(self._run(exchange), loop)
        except BaseException:
            self._room.release()
            raise

    async def _run(self, exchange: _Exchange) -> ApiAnswer:
        """Room is made once the application has really ended, also when nobody waits for its answer any more."""
        _within.set(True)
        try:
            return await exchange.run()
        finally:
            self._room.release()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_serve, args=(loop,), name="api in process", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the next call tries again
                loop.close()
                raise OutOfResources(f"no thread could be started for the API in this process: {error}") from None
            self._loop, self._thread = loop, thread
        return self._loop


@dataclass(frozen=True)
class CallerTransport:
    """`InProcess` on behalf of one caller; as cheap as a request."""

    api: InProcess
    caller: Caller
    timeout_s: float
    who: str = "control plane"
    where: str = f"http://{_HOST}"

    def send(self, call: ApiCall) -> ApiAnswer:
        """What the application answers to this caller."""
        timeout_s = call.timeout_s or self.timeout_s
        headers = {
            "Host": _HOST,
            "Accept": "application/json",
            **call.headers,
            **self.caller.identity(),
            **self.caller.trace(),
        }
        try:
            return self.api.call(call, headers, timeout_s)
        except TimeoutError:
            raise DeadlineExceeded(f"the {self.who} in this process did not answer within {timeout_s:g} s") from None

    def close(self) -> None:
        """Nothing is the caller's own: the loop is shared."""


class _Exchange:
    """One request and its answer, as ASGI has them."""

    def __init__(self, app: Application, call: ApiCall, headers: Mapping[str, str]) -> None:
        self._app, self._call = app, call
        self._headers = dict(headers)
        if isinstance(call.body, bytes):
            self._headers["Content-Length"] = str(len(call.body))
        self._chunks: Iterator[bytes] | None = _chunks(call.body)
        self._started: Message | None = None
        self._body = bytearray()
        self._ended, self._left, self._too_large = asyncio.Event(), False, False

    def leave(self) -> None:
        """Nobody waits for the answer any more: to the application, the client has left."""
        self._left = True
        self._ended.set()

    async def run(self) -> ApiAnswer:
        try:
            await self._app(self._scope(), self._receive, self._send)
        except Exception:
            if not self._too_large:
                raise
        if self._too_large:
            size = f"{ANSWER_BYTES_MAX >> 20} MiB"
            raise TooLarge(f"the answer of the control plane in this process is longer than {size}")
        if self._started is None or not self._ended.is_set():
            raise NotRunning("the connection to the control plane in this process broke: it gave no whole answer")
        headers = HTTPHeaderDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in self._heads())
        return ApiAnswer(self._started["status"], headers, bytes(self._body))

    def _heads(self) -> Iterable[tuple[bytes, bytes]]:
        return [] if self._started is None else self._started.get("headers", [])

    def _scope(self) -> Message:
        heads = [(name.lower().encode(), value.encode("latin-1")) for name, value in self._headers.items()]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self._call.method,
            "scheme": "http",
            "path": unquote(self._call.path),
            "raw_path": self._call.path.encode(),
            "query_string": urlencode(self._call.query).encode(),
            "root_path": "",
            "headers": heads,
            "client": None,
            "server": (_HOST, None),
        }

    async def _receive(self) -> Message:
        if self._chunks is None or self._left:
            await self._ended.wait()
            return {"type": "http.disconnect"}
        # Reading a file takes its time, which is not the loop's.
        chunk = await asyncio.get_running_loop().run_in_executor(None, next, self._chunks, None)
        if chunk is None:
            self._chunks = None
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def _send(self, message: Message) -> None:
        if self._left:
            raise OSError("the caller has left")  # as servers say it: an endless answer ends here
        if message["type"] == "http.response.start":
            self._started = message
            return
        if len(self._body) + len(message.get("body", b"")) > ANSWER_BYTES_MAX:
            self._too_large = True
            self.leave()
            raise OSError("the answer is too long")
        self._body += message.get("body", b"")
        if not message.get("more_body", False):
            self._ended.set()


def _chunks(body: bytes | Iterable[bytes] | None) -> Iterator[bytes]:
    return iter([body] if isinstance(body, bytes) else body or [])


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then end what is under way on it."""
    try:
        loop.run_forever()
        loop.run_until_complete(_end(asyncio.all_tasks(loop)))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


async def _end(under_way: Iterable[asyncio.Task[Any]]) -> None:
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
