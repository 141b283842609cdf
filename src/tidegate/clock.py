"""The only source of the present: every other module receives time as a value.

Tests and simulations pass their own `Clock`; nothing else calls `time.time`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]


now = time.time
"""Seconds since the epoch (wall clock); for rows, logs and messages."""

monotonic = time.monotonic
"""Seconds on a clock that never goes back; for deadlines and durations."""


def rfc3339(at_s: float) -> str:
    """`2026-01-31T12:00:00.000Z` for seconds since the epoch."""
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
