"""Threads for work that must not hold the loop up, where the system may refuse one more (a limit of processes)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


def start_thread(work: Callable[[], None], name: str) -> threading.Thread | None:
    """Begin the work in a thread of its own, and return it; None (logged) where the system has none left.

    Called from the event loop, on the way of requests: that a thread is refused must not become their failure.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        log.warning("no thread for %s: %s", name, error)
        return None
    return thread
