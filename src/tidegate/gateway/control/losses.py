"""Reports to the control plane that a replica stopped answering, so that the reconcile loop makes a pass at once.

A hint, in a thread of its own: nothing is missed without it, and nothing on the way of a request waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import urllib3

from tidegate.gateway.control.threads import start_thread

PAUSE_S = 0.1
"""At most one hint in so long: replicas often die together."""

log = logging.getLogger(__name__)


class Losses:
    """`send` tells one loss; it may raise `OSError` or urllib3's errors."""

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._lost, self._stop = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    def tell(self) -> None:
        """A replica was lost. Returns at once; called from one thread only."""
        self._lost.set()
        if self._thread is None and not self._stop.is_set():
            self._thread = start_thread(self._run, "losses")  # where there is none now the next loss tries again

    def stop(self) -> None:
        """Stop reporting."""
        self._stop.set()
        self._lost.set()

    def _run(self) -> None:
        while self._lost.wait() and not self._stop.is_set():
            self._lost.clear()
            try:
                self._send()
            except (OSError, urllib3.exceptions.HTTPError) as error:
                log.info("the control plane was not told of a lost replica (%s): it finds out by itself", error)
            self._stop.wait(PAUSE_S)
