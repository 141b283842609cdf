"""The control plane that leads, as one that stands by reaches it: passes on what its gateways report. Called by wiring.

In a thread of its own, the newest report of each gateway alone. What cannot be passed on is lost: it would be old, and
the leader knows of a gateway that fell silent what it has to know.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import asdict

import urllib3

from tidegate.wire.gateways.load import LoadReport

TIMEOUT_S = 2.0
REPORTS_MAX = 1000

log = logging.getLogger(__name__)


class LeaderLink:
    """`key` is the one that gateways show: all control planes of a platform take the same."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._waiting: dict[str, tuple[str, LoadReport]] = {}
        self._changed = threading.Condition()
        self._closed = self._failing = False
        self._unforeseen: set[type[Exception]] = set()
        self._thread: threading.Thread | None = None

    def pass_on(self, url: str, report: LoadReport) -> None:
        """Send this to the control plane at `url`, soon. Returns at once; from any thread."""
        with self._changed:
            self._waiting[report.gateway] = (url, report)
            if len(self._waiting) > REPORTS_MAX:
                self._waiting.pop(next(iter(self._waiting)))
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="load to the leader", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Pass on no more; what is under way is bounded by its timeout."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(2 * TIMEOUT_S)

    def _run(self) -> None:
        with urllib3.PoolManager(maxsize=1) as pool:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._closed)
                    if self._closed:
                        return
                    waiting, self._waiting = self._waiting, {}
                for url, report in waiting.values():
                    self._send(pool, url, report)

    def _send(self, pool: urllib3.PoolManager, url: str, report: LoadReport) -> None:
        try:
            answer = pool.request(
                "POST",
                f"{url}/internal/v1/load",
                json=asdict(report),
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=TIMEOUT_S,
                retries=False,
            )
            if answer.status != 204:
                raise OSError(f"it answered {answer.status}")
        except (OSError, urllib3.exceptions.HTTPError) as error:
            if not self._failing:
                log.warning("the control plane at %s, which leads, is not told of the load here: %s", url, error)
            self._failing = True
        except Exception as error:  # of this report alone: the thread has others to pass on
            if type(error) not in self._unforeseen:
                log.exception("a report of load could not be passed on to the control plane at %s", url)
            self._unforeseen.add(type(error))
        else:
            self._failing = False
