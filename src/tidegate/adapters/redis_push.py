"""Tells gateways through Redis that a routing snapshot was written, so that they fetch it at once. Called by wiring.

Knows therefore whether Redis answers, which `tidegate status` asks.

A hint and nothing more: gateways take snapshots from the control plane alone, and poll it with or without Redis. What
cannot be told within a second or two is told again until it can, the newest alone; nobody waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidegate.errors import StoreUnavailable
from tidegate.redis_url import checked, no_client, where
from tidegate.wire.parts import RedisView

if TYPE_CHECKING:
    from redis import Redis

TIMEOUT_S = 1.0
AGAIN_S = 1.0
LOOK_S = 5.0
"""Without news Redis is asked this often whether it is there, for `tidegate status`."""

log = logging.getLogger(__name__)


class RedisPush:
    """Publishes revisions in a thread of its own. `newest` says which revision is in force."""

    def __init__(self, url: str, prefix: str, newest: Callable[[], int]) -> None:
        self._client = _connect(url)
        self._where = where(url)
        self._channel = f"{prefix}:snapshots"
        self._newest = newest
        self._due = threading.Event()
        self._stop = threading.Event()
        self._failing = False
        self._reason = ""
        self._seen = False
        self._thread = threading.Thread(target=self._run, name="snapshot hints", daemon=True)
        self.failures = 0

    @property
    def connected(self) -> bool:
        """Whether the last word reached Redis."""
        return self._thread.is_alive() and not self._failing

    def view(self) -> RedisView:
        """Whether Redis answered when it was asked last."""
        if self._failing:
            return RedisView(self._where, "unavailable", self._reason)
        return RedisView(self._where, "ready" if self._seen else "unknown")

    def start(self) -> None:
        """Begin; whether Redis is there is found out at once."""
        self._due.set()
        self._thread.start()

    def nudge(self) -> None:
        """There is a new snapshot. Returns at once; from any thread."""
        self._due.set()

    def close(self) -> None:
        """Tell no more; a word under way is bounded by its timeout."""
        self._stop.set()
        self._due.set()
        if self._thread.is_alive():
            self._thread.join(2 * TIMEOUT_S)
        self._client.close()

    def _run(self) -> None:
        while True:
            news = self._due.wait(LOOK_S)
            self._due.clear()
            if self._stop.is_set():
                return
            if not self._told(news=news):
                self._due.set()
                self._stop.wait(AGAIN_S)

    def _told(self, *, news: bool) -> bool:
        from redis.exceptions import RedisError

        try:
            if news:
                self._client.publish(self._channel, self._newest())
            else:
                self._client.ping()
        except StoreUnavailable:
            return False  # the gateways will learn of it as the database comes back; it says so itself
        except (RedisError, OSError) as error:
            self.failures += 1
            self._reason = _reason(error)
            if not self._failing:
                log.warning("%s does not answer (%s): gateways learn of changes by polling", self._where, error)
            self._failing = True
            return False
        if self._failing:
            log.info("%s answers again", self._where)
        self._failing, self._seen = False, True
        return True


def _reason(error: Exception) -> str:
    from redis.exceptions import AuthenticationError, NoPermissionError

    if isinstance(error, AuthenticationError | NoPermissionError):
        return f"it refuses user or password ({error}): correct them in REDIS_URL"
    return f"it does not answer ({error}): start it, or correct REDIS_URL"


def _connect(url: str) -> Redis:
    """A client that connects on first use and never tries a command twice."""
    try:
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise no_client() from None
    client: Redis = checked(
        lambda: Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S
        )
    )
    return client
