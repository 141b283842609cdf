"""Looks from the control plane whether Redis answers, for `tidegate status` and the metrics. Built by wiring.

What Redis is used for, gateways do by themselves: nobody waits for this.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tidegate.redis_url import checked, no_client, where
from tidegate.wire.parts import RedisView

if TYPE_CHECKING:
    from redis import Redis

TIMEOUT_S = 1.0
LOOK_S, AGAIN_S = 5.0, 1.0
"""How long until Redis is asked again, after it answered and after it did not."""

log = logging.getLogger(__name__)


class RedisProbe:
    """Pings Redis, one step at a time."""

    def __init__(self, url: str) -> None:
        self._client = _connect(url)
        self._where = where(url)
        self._failing = False
        self._reason = ""
        self._seen = False
        self.failures = 0

    @property
    def connected(self) -> bool:
        """Whether Redis answered the last ping."""
        return self._seen and not self._failing

    def view(self) -> RedisView:
        """Whether Redis answered when it was asked last."""
        if self._failing:
            return RedisView(self._where, "unavailable", self._reason)
        return RedisView(self._where, "ready" if self._seen else "unknown")

    def close(self) -> None:
        """Disconnect from Redis."""
        self._seen = False
        self._client.close()

    def step(self) -> float:
        """Ask; how long until the next step."""
        from redis.exceptions import RedisError

        try:
            self._client.ping()
        except (RedisError, OSError) as error:
            self.failures += 1
            self._reason = _reason(error)
            if not self._failing:
                log.warning("%s does not answer: %s", self._where, error)
            self._failing = True
            return AGAIN_S
        if self._failing:
            log.info("%s answers again", self._where)
        self._failing, self._seen = False, True
        return LOOK_S


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
