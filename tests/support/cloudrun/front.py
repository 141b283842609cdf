"""Google's front before a service, or before one of its tags: TLS, identity, and instances as requests want them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from support.cloudrun.instances import PORT, Instance, Running

T = TypeVar("T")

SHOWN = "x-serverless-authorization"
PAGE = b"<html><body><h1>Error: %s</h1></body></html>"


@dataclass
class Door:
    """What a front asks of whoever plays Cloud Run.

    `choose` names the revision of a request, `wanted` says that it needs an instance, `why_refused` checks an ID token.
    `turn_away` is how many of the next requests meet no instance, whatever there is.
    """

    choose: Callable[[], Running | None]
    wanted: Callable[[Running], None]
    why_refused: Callable[[str], str | None]
    url: str = ""
    turn_away: int = 0
    answered: int = 0
    turned_away: int = 0
    heads: list[str] = field(default_factory=list)


class Fronts:
    """All fronts of a fake, in one loop of a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._opened: set[asyncio.StreamWriter] = set()

    def open(self, address: str, context: ssl.SSLContext, door: Door) -> str:
        """Its URL."""
        server = self._run(asyncio.start_server(lambda r, w: _serve(r, w, door, self._opened), address, 0, ssl=context))
        self._servers.append(server)
        return f"https://{address}:{server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for writer in self._opened:
            writer.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, door: Door, opened: set[asyncio.StreamWriter]
) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            lines = head.split("\r\n")[:-2]
            heads = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            body = await reader.readexactly(int(heads.get("content-length", 0)))
            door.heads = [*door.heads[-99:], head]
            writer.write(await _answer(lines, heads, body, door, opened))
            await writer.drain()
    writer.close()


async def _answer(
    lines: list[str], heads: dict[str, str], body: bytes, door: Door, opened: set[asyncio.StreamWriter]
) -> bytes:
    shown = heads.get(SHOWN) or heads.get("authorization", "")
    if not shown.startswith("Bearer "):
        return _page(403, b"Forbidden")
    if (why := door.why_refused(shown.removeprefix("Bearer "))) is not None:
        return _page(401, b"Unauthorized: " + why.encode())
    running = door.choose()
    if running is None:
        return _page(404, b"Not Found")
    instance = None if door.turn_away > 0 else running.free()
    if instance is None:
        door.turn_away = max(0, door.turn_away - 1)
        door.turned_away += 1
        door.wanted(running)
        return b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: text/html\r\ncontent-length: 14\r\n\r\nRate exceeded."
    kept = [line for line in lines if not line.lower().startswith(SHOWN)]
    instance.busy += 1
    try:
        answer = await _through(instance, ("\r\n".join(kept) + "\r\n\r\n").encode("latin-1") + body, opened)
    except (OSError, asyncio.IncompleteReadError):
        return _page(503, b"Service Unavailable")
    finally:
        instance.busy -= 1
    door.answered += 1
    return answer


async def _through(instance: Instance, request: bytes, opened: set[asyncio.StreamWriter]) -> bytes:
    if not instance.idle:
        instance.idle.append(await asyncio.open_connection(instance.address, PORT))
        opened.add(instance.idle[-1][1])
    reader: asyncio.StreamReader
    reader, writer = instance.idle.pop()
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    answer = head + await reader.readexactly(length)
    if b"connection: close" in head.lower():
        writer.close()
    else:
        instance.idle.append((reader, writer))
    return answer


def _page(status: int, what: bytes) -> bytes:
    body = PAGE % what
    return b"HTTP/1.1 %d X\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)
