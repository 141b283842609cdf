"""The sum of all gateway processes' metrics, on any of them: each serves its numbers on a private socket to the others.

Used by `process.py`. One that does not answer, be it dead or gone for good, counts with what it kept on disk.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tidegate.dataplane.pipeline.metrics import MetricState
from tidegate.gateway.telemetry.counts import SUFFIX, read_counts
from tidegate.wire.decoding import msgpack_decoder

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

ANSWER_TIMEOUT_S = 0.5
ANSWER_BYTES_MAX = 64 << 20

log = logging.getLogger(__name__)


class AdminServer:
    """Writes this process's numbers to whoever connects, and closes. Only this user can connect (mode 0600)."""

    def __init__(self, state: Callable[[], Awaitable[MetricState]]) -> None:
        self._state = state
        self._encode = msgspec.msgpack.Encoder().encode
        self._server: asyncio.Server | None = None

    async def start(self, sock: socket.socket) -> None:
        """Serve on a bound Unix socket."""
        self._server = await asyncio.start_unix_server(self._answer, sock=sock)

    def close(self) -> None:
        """Stop answering other gateways."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(self._encode(await self._state()))
            await writer.drain()
        except ConnectionError:
            pass  # the asker timed out
        finally:
            writer.close()


class Siblings:
    """Asks the other gateways of this platform, found by their sockets and by the counts that they keep."""

    def __init__(self, run_dir: Path, counts_dir: Path, own_id: str) -> None:
        self._run_dir = run_dir
        self._counts_dir = counts_dir
        self._own_id = own_id
        self._decoder = msgpack_decoder(MetricState)

    async def total(self, own: MetricState) -> MetricState:
        """This process's numbers and its siblings'."""
        found = [*self._run_dir.glob("gateway-*.sock"), *self._counts_dir.glob(f"*{SUFFIX}")]
        ids = sorted({path.stem for path in found} - {self._own_id})
        total = MetricState()
        total.add(own)
        for state in await asyncio.gather(*map(self._of, ids)):
            if state is not None:
                total.add(state)
        return total

    async def _of(self, gateway_id: str) -> MetricState | None:
        """What it says, else what it kept: never less than it has ever said, for it keeps before it says."""
        path = self._run_dir / f"{gateway_id}.sock"
        said = await self._ask(path) if path.exists() else None
        return read_counts(self._counts_dir / f"{gateway_id}{SUFFIX}") if said is None else said

    async def _ask(self, path: Path) -> MetricState | None:
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
