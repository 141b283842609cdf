"""What a moment is, for tests of what may hold a loop no longer than that: as much CPU as some known work takes."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

LINES, MOMENT_LINES = 500_000, 2_500_000


@contextmanager
def no_collector() -> Iterator[None]:
    """Without the collector, which looks at whatever other tests left in this process, for as long as that takes."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def moment_s() -> float:
    """CPU seconds of splitting 2,500,000 lines: 0.1 on a quiet machine, more where all is slower.

    It is work like a decoder's: many small objects made out of one body.
    """
    started_s = time.process_time()
    assert len([[line] for line in (b"x\n" * LINES).split(b"\n")]) > LINES
    return MOMENT_LINES / LINES * (time.process_time() - started_s)
