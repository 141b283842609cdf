"""uvicorn's server with an end that costs no request where another process listens on the port. Used by `serve`."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
import sys

import uvicorn

SETTLE_S = 0.2
"""How long connections that were begun before the end may take to be complete, and to be accepted."""
SO_ATTACH_FILTER = 26
SYN, FLAGS_AT = 0x02, 13
LOAD_BYTE, JUMP_IF_SET, RETURN = 0x30, 0x45, 0x06
WHOLE = 0xFFFFFFFF
NO_NEW_CONNECTION = (
    (LOAD_BYTE, 0, 0, FLAGS_AT),
    (JUMP_IF_SET, 0, 1, SYN),
    (RETURN, 0, 0, 0),
    (RETURN, 0, 0, WHOLE),
)
"""A classic BPF program over a TCP header (https://www.kernel.org/doc/html/latest/networking/filter.html)."""


class DrainingServer(uvicorn.Server):
    """Stops listening without a connection lost.

    Closing a socket resets what the kernel accepted for it and nobody has taken yet. So new connections are left
    unanswered first; their clients try again within a second, and meet whoever else listens on the port by then.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept what was begun, then end as uvicorn does."""
        filtered = [listener for listener in sockets or [] if turn_away(listener)]
        if filtered:
            await asyncio.sleep(SETTLE_S)
        await super().shutdown(sockets)


def _is_shared(listener: socket.socket) -> bool:
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


def turn_away(listener: socket.socket) -> bool:
    """Have the kernel drop every new SYN for this socket; False where nobody shares its port, or there is no filter."""
    if not sys.platform.startswith("linux") or not _is_shared(listener):
        return False
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in NO_NEW_CONNECTION)
    kept = ctypes.create_string_buffer(program, len(program))
    with contextlib.suppress(OSError):
        filtering = struct.pack("HP", len(NO_NEW_CONNECTION), ctypes.addressof(kept))
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filtering)
        return True
    return False
