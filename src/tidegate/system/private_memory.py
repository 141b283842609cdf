"""Keeps what the platform's processes have in memory from other processes of the same user. Called as each starts."""

from __future__ import annotations

import contextlib
import ctypes
import sys

_SET_DUMPABLE = 4


def keep_memory_private() -> None:
    """No other process of this user may read this one's memory or environment in /proc, or trace it (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)
