"""A gateway's connection to Redis: commands with a bound on time.

Used by `sharing.py`, `rate_limits.py` and `response_cache.py`. Nothing here ever fails a prediction: without an answer
a command gives None, `up` turns False, and a task in the background tries to connect until Redis is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from tidegate.redis_url import checked, no_client, where

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tidegate.clock import Clock
    from tidegate.dataplane.pipeline.metrics import MetricState

T = TypeVar("T")

CONNECT_TIMEOUT_S, PING_TIMEOUT_S = 1.0, 1.0
PING_EVERY_S = 1.0
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 2.0
STEADY_S = 10.0
"""A connection that held so long has the failures before it forgiven."""
CONNECTIONS_MAX = 16
"""More than the cache and the limits ever use at a time."""

log = logging.getLogger(__name__)


def connect(url: str) -> Redis:
    """A client that connects on first use and never tries a command twice. Raises `MissingExtra`, `InvalidArgument`."""
    try:
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
    except ImportError:
        raise no_client() from None
    client: Redis = checked(
        lambda: Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=PING_TIMEOUT_S,
            max_connections=CONNECTIONS_MAX,
        )
    )
    return client


class RedisLink:
    """`up` says whether Redis answered last."""

    def __init__(self, url: str, prefix: str, clock: Clock) -> None:
        from redis.exceptions import ConnectionError as Lost
        from redis.exceptions import RedisError
        from redis.exceptions import TimeoutError as Late

        self._client = connect(url)
        self._where = where(url)
        self._lost = (Lost, Late, OSError, TimeoutError)
        self._any_failure = (RedisError, OSError, TimeoutError)
        self._clock = clock
        self._doubted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._down_told = self._refusal_told = False
        self.prefix = prefix
        self.up = False
        self.failures = 0

    def start(self) -> None:
        """Connect, in the background, and again and again whenever the connection is lost."""
        self._task = asyncio.get_running_loop().create_task(self._keep_connected(), name="redis")

    async def stop(self) -> None:
        """Disconnect from Redis."""
        self.up = False
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        with contextlib.suppress(*self._any_failure):
            await self._client.aclose()

    async def ask(self, command: Callable[[Redis], Awaitable[T]], timeout_s: float) -> T | None:
        """What Redis answers; None where it does not within `timeout_s`, or refuses (logged, counted)."""
        try:
            async with asyncio.timeout(timeout_s):
                answer = await command(self._client)
        except self._lost as error:
            self._went_down(error)
            return None
        except self._any_failure as error:  # it is there, and does not do this: out of memory, read-only, no script
            self.failures += 1
            if not self._refusal_told:
                log.warning("%s refuses a command: %s", self._where, error)
            self._refusal_told = True
            return None
        self._refusal_told = False
        return answer

    def fill_gauges(self, state: MetricState) -> None:
        """Fill in the gauges of a scrape."""
        state.redis_connected = int(self.up)
        state.counters["tidegate_redis_failures"] = self.failures

    # -- the connection --------------------------------------------------------------------------------------------

    async def _keep_connected(self) -> None:
        attempts = 0
        while True:
            since_s = self._clock()
            try:
                await self._connected()
            except self._any_failure as error:
                self._went_down(error)
            except Exception:
                log.exception("the connection to Redis is made anew")
                self.up = False
            attempts = 1 if self._clock() - since_s > STEADY_S else attempts + 1
            full_s = min(BACKOFF_FIRST_S * 2.0 ** min(attempts - 1, 16), BACKOFF_MAX_S)
            await asyncio.sleep(full_s * random.uniform(0.5, 1.0))  # noqa: S311  # jitter is no secret

    async def _connected(self) -> None:
        """Connect, then ask again and again until something fails, here or in a command."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            # Those that were open may have died with the server: each would fail a command to say so.
            await self._client.connection_pool.disconnect(inuse_connections=False)
            await self._client.ping()
        self._came_up()
        while True:
            await asyncio.sleep(PING_EVERY_S)
            if self._doubted.is_set():
                raise TimeoutError("a command was not answered in time")
            async with asyncio.timeout(PING_TIMEOUT_S):
                await self._client.ping()

    def _came_up(self) -> None:
        self._doubted.clear()
        self.up = True
        log.info("connected to %s", self._where)
        self._down_told = False

    def _went_down(self, error: BaseException) -> None:
        self.failures += 1
        self.up = False
        self._doubted.set()
        if not self._down_told:
            why = str(error) or type(error).__name__
            log.warning("%s is not used (%s): limits are this gateway's own, no answers are kept", self._where, why)
        self._down_told = True
