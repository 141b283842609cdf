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
    """Publishes revisions, one step at a time. `newest` says which revision is in force."""

    def __init__(self, url: str, prefix: str, newest: Callable[[], int]) -> None:
        self._client = _connect(url)
        self._where = where(url)
        self._channel = f"{prefix}:snapshots"
        self._newest = newest
        self.wake = threading.Event()
        self._news = True  # whether Redis is there is found out at once
        self._failing = False
        self._reason = ""
        self._seen = False
        self.failures = 0

    @property
    def connected(self) -> bool:
        """Whether the last word reached Redis."""
        return self._seen and not self._failing

    def view(self) -> RedisView:
        """Whether Redis answered when it was asked last."""
        if self._failing:
            return RedisView(self._where, "unavailable", self._reason)
        return RedisView(self._where, "ready" if self._seen else "unknown")

    def notify(self) -> None:
        """There is a new snapshot. Returns at once; from any thread."""
        self._news = True
        self.wake.set()

    def close(self) -> None:
        """Tell no more."""
        self._seen = False
        self._client.close()

    def step(self) -> float:
        """Tell what is due, or look whether Redis is there; how long until the next step."""
        news, self._news = self._news, False
        if self._told(news=news):
            return LOOK_S
        self._news = True
        return AGAIN_S

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
