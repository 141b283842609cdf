"""Something done over and over on the event loop for as long as the process lives: one failure does not end it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


async def every(pause_s: float, step: Callable[[], Awaitable[None]], what: str) -> None:
    """Await `step` after each pause, for ever. What it raises is logged, and the next time comes all the same."""
    while True:
        await asyncio.sleep(pause_s)
        try:
            await step()
        except Exception:
            log.exception("%s failed this time", what)


def sweep_or_cut(transport: asyncio.Transport, sweep: Callable[..., None], *times_s: float) -> None:
    """Let a connection look at the time. One that cannot even be swept is cut: it would never be timed out.

    Never raises: the others are to be looked at too.
    """
    try:
        sweep(*times_s)
    except Exception:
        log.exception("a connection could not be swept, and is cut")
        transport.abort()
