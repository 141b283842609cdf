"""Asks the control plane to wake an endpoint that sleeps (`routing/waking.py`). Used by `process.py`.

In a thread of its own, at once: a request waits for it, on the event loop, with others that do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

import urllib3

from tidegate.gateway.control.threads import start_thread

log = logging.getLogger(__name__)


class WakeRequests:
    """`send` asks for one endpoint, in the thread; it may raise `OSError` or urllib3's errors. Then `on_failure` is
    called on the loop, with the endpoint and why.
    """

    def __init__(
        self,
        send: Callable[[str], None],
        on_failure: Callable[[str, str], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._send, self._on_failure, self._loop = send, on_failure, loop
        self._changed = threading.Condition()
        self._wanted: dict[str, None] = {}
        self._stopped = False
        self._thread: threading.Thread | None = None

    def ask(self, endpoint: str) -> None:
        """It is wanted. Returns at once; called on the loop."""
        with self._changed:
            self._wanted[endpoint] = None
            self._changed.notify()
        if self._thread is None and not self._stopped:
            self._thread = start_thread(self._run, "wake requests")
            if self._thread is None:
                self._loop.call_soon(self._on_failure, endpoint, "it sleeps, and no thread can be started to wake it")

    def stop(self) -> None:
        """Stop reporting."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._stopped)
                if self._stopped:
                    return
                wanted, self._wanted = self._wanted, {}
            for endpoint in wanted:
                self._tell(endpoint)

    def _tell(self, endpoint: str) -> None:
        try:
            self._send(endpoint)
        except urllib3.exceptions.HTTPError as error:
            log.warning("the control plane was not told that %s is wanted: %s", endpoint, error)
            self._failed(endpoint, "it sleeps, and the control plane, which wakes it, does not answer")
        except OSError as error:  # it says so itself, as one that stands by does
            log.warning("the control plane does not wake %s: %s", endpoint, error)
            self._failed(endpoint, f"it sleeps, and the control plane here cannot wake it: {error}")
        except Exception as error:
            log.exception("the control plane was not told that %s is wanted", endpoint)
            self._failed(endpoint, f"it sleeps, and the control plane could not be told: {type(error).__name__}")

    def _failed(self, endpoint: str, why: str) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._on_failure, endpoint, why)
