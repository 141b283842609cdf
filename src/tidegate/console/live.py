"""What keeps open pages fresh: one stream of server-sent events a page, and one sample a second for all who look at it.

A stream holds no queue: whoever reads slowly gets the newest of each part, and misses those between. One that is never
read is cut by the server's bound on writing (`control.bounded_http`).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from anyio import CapacityLimiter, to_thread
from starlette.types import Receive, Send

from tidegate.client.transport.in_process import Caller
from tidegate.clock import monotonic, now, rfc3339
from tidegate.console.headers import STREAM_HEADERS
from tidegate.errors import Forbidden, Overloaded, TidegateError, Unauthenticated
from tidegate.telemetry import log_failure

log = logging.getLogger(__name__)

EVERY_S = 1.0
STREAM_S = 300.0
"""A stream ends after so long, and the browser opens the next one: whoever may not look any more cannot."""
SAMPLES_AT_ONCE_MAX = 4
RETRY_AFTER_S = 5.0

Key = str
"""The page, with its query."""
Sample = Callable[[Key, Caller], Mapping[str, str]]
"""The parts of a page as they are now, by name, for a caller; raises what the API says."""


@dataclass(eq=False)
class _Viewer:
    caller: Caller
    refused: bool = False


@dataclass(eq=False)
class _Topic:
    """One page that somebody looks at."""

    key: Key
    viewers: list[_Viewer] = field(default_factory=list)
    parts: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""
    ticks: int = 0
    ticked: asyncio.Condition = field(default_factory=asyncio.Condition)
    task: asyncio.Task[None] | None = None


class Live:
    """Of one event loop. `close` ends every stream."""

    def __init__(self, sample: Sample, streams_max: int) -> None:
        self._sample, self._streams_max = sample, streams_max
        self._topics: dict[Key, _Topic] = {}
        self._streams = 0
        self._closed = False
        self._room = CapacityLimiter(SAMPLES_AT_ONCE_MAX)

    def close(self) -> None:
        """From any thread: streams end with their next sample."""
        self._closed = True

    async def stream(self, key: Key, caller: Caller, receive: Receive, send: Send) -> None:
        """Answer with the page's stream, until its viewer leaves. Raises `Overloaded` before anything is sent."""
        if self._streams >= self._streams_max or self._closed:
            raise Overloaded(
                f"{self._streams} pages are kept fresh, and no more can be: this one shows what was when it was loaded",
                retry_after_s=RETRY_AFTER_S,
            )
        self._streams += 1
        topic, viewer = self._topic(key), _Viewer(caller)
        topic.viewers.append(viewer)
        gone = asyncio.ensure_future(_left(receive))
        try:
            await self._feed(topic, viewer, gone, send)
        finally:
            gone.cancel()
            topic.viewers.remove(viewer)
            self._streams -= 1

    async def _feed(self, topic: _Topic, viewer: _Viewer, gone: asyncio.Future[None], send: Send) -> None:
        heads = [(name.encode(), value.encode()) for name, value in STREAM_HEADERS.items()]
        await send({"type": "http.response.start", "status": 200, "headers": heads})
        until, seen = monotonic() + STREAM_S, topic.ticks
        sent: dict[str, str] = {}
        while not (gone.done() or viewer.refused or self._closed) and monotonic() < until:
            await _next(topic, seen)
            seen = topic.ticks
            changed = {name: part for name, part in topic.parts.items() if sent.get(name) != part}
            sent |= changed
            await send({"type": "http.response.body", "body": _events(changed, topic.fault), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _topic(self, key: Key) -> _Topic:
        topic = self._topics.get(key)
        if topic is None:
            topic = self._topics[key] = _Topic(key)
            topic.task = asyncio.ensure_future(self._watch(topic))
        return topic

    async def _watch(self, topic: _Topic) -> None:
        """Sample once a second, for whoever has looked longest, while anybody does."""
        try:
            while topic.viewers and not self._closed:
                began = monotonic()
                await self._look(topic, topic.viewers[0])
                await _tick(topic)
                await asyncio.sleep(max(EVERY_S - (monotonic() - began), EVERY_S / 10))
        finally:
            self._topics.pop(topic.key, None)
        await _tick(topic)  # streams that are still there see that it is closed

    async def _look(self, topic: _Topic, viewer: _Viewer) -> None:
        try:
            topic.parts = await to_thread.run_sync(self._sample, topic.key, viewer.caller, limiter=self._room)
            topic.fault = ""
        except (Unauthenticated, Forbidden):
            viewer.refused = True
            topic.viewers.sort(key=lambda one: one.refused)  # the next sample is somebody else's
        except TidegateError as error:
            topic.fault = error.message
        except Exception as error:
            topic.fault = f"the server failed; its log has the details under id {log_failure(log, topic.key, error)}"


async def _tick(topic: _Topic) -> None:
    async with topic.ticked:
        topic.ticks += 1
        topic.ticked.notify_all()


async def _next(topic: _Topic, seen: int) -> None:
    async with topic.ticked:
        if topic.ticks == seen:
            await topic.ticked.wait()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _events(changed: Mapping[str, str], fault: str) -> bytes:
    """Parts of the page that changed, and a beat, which says when this was and what stands in the way."""
    beat = json.dumps({"at": rfc3339(now()), "fault": fault})
    lines = [f"event: beat\ndata: {beat}\n\n"]
    if changed:
        html = "".join(_partial(name, part) for name, part in changed.items())
        lines.append("".join(f"data: {line}\n" for line in html.splitlines()) + "\n")
    return "".join(lines).encode()


def _partial(name: str, part: str) -> str:
    """As htmx puts it in the place of what was there, leaving alone what is the same."""
    return f'<hx-partial hx-target="#{name}" hx-swap="innerMorph">{part}</hx-partial>'
