"""A gateway's counts on disk, so that they only ever grow: over its death, its restart and the platform's.

Used by `process.py` and `siblings.py`. The file is written every second, at the end, and before any number is told to
anybody: what a `kill -9` loses is less than a second old, and nobody has seen it.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tidegate.dataplane.base.ticking import every
from tidegate.dataplane.pipeline.metrics import MetricState
from tidegate.system.atomic import write_whole
from tidegate.wire.decoding import msgpack_decoder

if TYPE_CHECKING:
    from collections.abc import Callable

SAVE_EVERY_S = 1.0
SUFFIX = ".counts"

log = logging.getLogger(__name__)
_decoder = msgpack_decoder(MetricState)


def read_counts(path: Path) -> MetricState | None:
    """What a gateway had counted; None where there is no file that can be read (logged)."""
    try:
        return _decoder.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("the kept counts %s are not used: %s", path, error)
        return None


class CountsFile:
    """Keeps `state()` in a file that is always whole. Without gauges: what a process was doing ends with it."""

    def __init__(self, path: Path, state: Callable[[], MetricState]) -> None:
        self._path = path
        self._state = state
        self._encode = msgspec.msgpack.Encoder().encode
        self._written = b""
        self._failing = False
        self._saving = asyncio.Lock()
        self._ticking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Save every second from now on."""
        tick = every(SAVE_EVERY_S, self._tick, "keeping the counts")
        self._ticking = asyncio.get_running_loop().create_task(tick)

    async def stop(self) -> None:
        """Save once more, and no further."""
        if self._ticking is not None:
            self._ticking.cancel()
        await self.save()

    async def save(self) -> MetricState:
        """Write what is counted now, if that is new, and return it, gauges and all."""
        async with self._saving:  # or an older state could replace a newer one
            state = self._state()
            data = self._encode(MetricState(series=state.series, counters=state.counters, reasons=state.reasons))
            # A copy: the series go on counting while the disk is waited for.
            counted: MetricState = _decoder.decode(self._encode(state))
            if data != self._written:
                await asyncio.to_thread(self._write, data)
            return counted

    async def _tick(self) -> None:
        await self.save()

    def _write(self, data: bytes) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(self._path, data, durable=False)
        except OSError as error:
            if not self._failing:
                log.warning(
                    "the counts cannot be kept in %s: they start again if this gateway dies: %s", self._path, error
                )
            self._failing = True
        else:
            self._written, self._failing = data, False
