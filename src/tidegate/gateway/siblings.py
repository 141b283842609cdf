"""The sum of all gateway processes' metrics, on any of them: each serves its numbers on a private socket to the others.

Used by `process.py`. A sibling that does not answer in time counts with what it said last.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tidegate.dataplane.metrics import State

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

ANSWER_TIMEOUT_S = 0.5
ANSWER_BYTES_MAX = 64 << 20

log = logging.getLogger(__name__)


class AdminServer:
    """Writes this process's numbers to whoever connects, and closes. Only this user can connect (mode 0600)."""

    def __init__(self, state: Callable[[], State]) -> None:
        self._state = state
        self._encode = msgspec.msgpack.Encoder().encode
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve on a bound Unix socket."""
        self._server = await asyncio.start_unix_server(self._answer, sock=sock)

    def close(self) -> None:
        """Answer no further."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(self._encode(self._state()))
            await writer.drain()
        except ConnectionError:
            pass  # the asker gave up waiting
        finally:
            writer.close()


class Siblings:
    """Asks the other gateways of this platform, found by their sockets in the run directory."""

    def __init__(self, run_dir: Path, own_socket: Path) -> None:
        self._run_dir = run_dir
        self._own_socket = own_socket
        self._last: dict[Path, State] = {}
        self._decoder = msgspec.msgpack.Decoder(State)

    async def total(self, own: State) -> State:
        """This process's numbers and its siblings'."""
        paths = [path for path in self._run_dir.glob("gateway-*.sock") if path != self._own_socket]
        for path, state in zip(paths, await asyncio.gather(*map(self._ask, paths)), strict=True):
            if state is not None:
                self._last[path] = state
            elif path in self._last:
                # What it counted stays counted; what it was doing at that moment is over.
                self._last[path].queue_rows.clear()
                self._last[path].in_progress.clear()
        total = State()
        total.add(own)
        for state in self._last.values():
            total.add(state)
        return total

    async def _ask(self, path: Path) -> State | None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_unix_connection(path)
                try:
                    return self._decoder.decode(await reader.read(ANSWER_BYTES_MAX))
                finally:
                    writer.close()
        except (OSError, TimeoutError, msgspec.DecodeError) as error:
            log.info("gateway %s does not answer: %s", path.stem, type(error).__name__)
            return None
