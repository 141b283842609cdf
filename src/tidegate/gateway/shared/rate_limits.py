"""How many requests a second each client may send to an endpoint: token buckets, shared by all gateways through Redis.

`RateLimits.check` runs in the way of every request of a limited endpoint. It takes from this gateway's own view of the
client's bucket and never waits; `LimitSync` tells Redis in the background what was taken, and learns what is left.
Between two such exchanges each of n gateways may give away what the bucket held, so a client may once get
(n - 1) * (burst + rate * SYNC_S) requests more than its burst. That is a debt: the bucket in Redis goes below zero, and
nothing is let in until the rate has paid it back.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from tidegate.dataplane.base.ticking import every
from tidegate.errors import RateLimited

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from tidegate.dataplane.pipeline.metrics import MetricState
    from tidegate.gateway.shared.redis_link import RedisLink
    from tidegate.wire.gateways.snapshot import Snapshot

SYNC_S = 0.1
SYNC_TIMEOUT_S = 0.5
SYNC_BUCKETS_MAX = 200
"""In one exchange: a script holds Redis up while it runs. The others' turn is right after."""
CLIENTS_MAX = 10_000
"""Of one endpoint, that are told apart; any more share one bucket."""
KEPT_S_MIN = 60.0

SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local levels = {}
for i, key in ipairs(KEYS) do
  local taken, rate, burst = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local kept = redis.call('HMGET', key, 'level', 'at')
  local level, at = tonumber(kept[1]) or burst, tonumber(kept[2]) or now
  level = math.min(burst, level + math.max(0, now - at) * rate) - taken
  redis.call('HSET', key, 'level', string.format('%.6f', level), 'at', string.format('%.6f', now))
  redis.call('PEXPIRE', key, math.ceil((burst - level) / rate * 1000) + 1000)
  levels[i] = string.format('%.6f', level)
end
return levels
"""
"""Fills each bucket by Redis's clock, takes what a gateway gave away, says what is left. A full one is forgotten."""


class Bucket:
    """One client's tokens as this gateway sees them; `taken` of them Redis has not heard of yet."""

    __slots__ = ("at_s", "key", "level", "limit", "taken")

    def __init__(self, limit: EndpointLimit, key: str, now_s: float) -> None:
        self.limit = limit
        self.key = key
        self.level = limit.burst
        self.at_s = now_s
        self.taken = 0

    def take(self, now_s: float) -> float:
        """0 when there is a token for a request, which is then gone; else in how many seconds there will be one."""
        limit = self.limit
        level = min(limit.burst, self.level + (now_s - self.at_s) * limit.rate_per_s)
        self.at_s = now_s
        if level < 1.0:
            self.level = level
            return (1.0 - level) / limit.rate_per_s
        self.level = level - 1.0
        self.taken += 1
        return 0.0

    def learn(self, level: float, now_s: float) -> None:
        """What Redis says is left, when it does not know yet of what was taken meanwhile."""
        self.level = level - self.taken
        self.at_s = now_s


class EndpointLimit:
    """The limit of one endpoint, and the buckets of its clients.

    Buckets that nobody asked for within a while are forgotten, a generation at a time; by then they were full again.
    """

    def __init__(self, salt: str, rate_per_s: float, burst: float) -> None:
        self.salt = salt
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._kept_s = max(KEPT_S_MIN, 2 * burst / rate_per_s)
        self._since_s = -math.inf
        self._young: dict[bytes, Bucket] = {}
        self._old: dict[bytes, Bucket] = {}

    def bucket(self, client: bytes, now_s: float) -> Bucket:
        """The client's; a full one for a client that is new."""
        found = self._young.get(client)
        return self._found_or_made(client, now_s) if found is None else found

    def _found_or_made(self, client: bytes, now_s: float) -> Bucket:
        if now_s - self._since_s > self._kept_s:
            self._old, self._young, self._since_s = self._young, {}, now_s
        found = self._old.pop(client, None)
        if found is None and len(self._young) >= CLIENTS_MAX:
            client = OTHERS
            found = self._young.get(client)
        if found is None:
            found = Bucket(self, hashlib.sha256(self.salt.encode() + client).hexdigest()[:32], now_s)
        self._young[client] = found
        return found


NO_ENDPOINT = ""
UNNAMED_SALT = "requests that name no endpoint"
OTHERS = b"\0"
"""The client that all stand for who are too many to be told apart."""


def client_of(headers: Mapping[bytes, bytes]) -> bytes:
    """Who asks: the hash of the key it sends, else the `X-Tidegate-Key` that it gives; b"" for all that say neither."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        return hashlib.sha256(authorization.partition(b" ")[2].strip() or authorization).digest()
    unit = headers.get(b"x-tidegate-key")
    return b"" if unit is None else b"u" + hashlib.sha256(unit).digest()


class RateLimits:
    """The limits of all endpoints, as snapshots and the settings say; `active` when any endpoint has one.

    `shared`: a `LimitSync` takes what is in `taken_from` away. Nobody else does, so without one nothing is put there.
    """

    def __init__(self, rate_per_s: float, burst_s: float, clock: Callable[[], float], *, shared: bool = False) -> None:
        self._shared = shared
        self._rate_per_s = rate_per_s
        self._burst_s = burst_s
        self._clock = clock
        self._limits: dict[str, EndpointLimit] = {}
        self.taken_from: dict[Bucket, None] = {}
        self.refused = 0

    @property
    def active(self) -> bool:
        """Whether any request has to be looked at."""
        return bool(self._limits)

    def adopt(self, snapshot: Snapshot) -> None:
        """Take the limits of these endpoints; one that did not change keeps what its clients have left."""
        limits: dict[str, EndpointLimit] = {}
        for endpoint in snapshot.endpoints:
            rate_per_s = endpoint.rate_limit_per_s or self._rate_per_s
            if rate_per_s > 0:
                made = EndpointLimit(endpoint.salt, rate_per_s, max(1.0, rate_per_s * self._burst_s))
                known = self._limits.get(endpoint.name)
                same = known is not None and (known.salt, known.rate_per_s) == (made.salt, made.rate_per_s)
                limits[endpoint.name] = known if known is not None and same else made
        if limits:
            rate_per_s = max(one.rate_per_s for one in limits.values())
            known = self._limits.get(NO_ENDPOINT)
            made = EndpointLimit(UNNAMED_SALT, rate_per_s, max(1.0, rate_per_s * self._burst_s))
            limits[NO_ENDPOINT] = known if known is not None and known.rate_per_s == rate_per_s else made
        self._limits = limits

    def check(self, endpoint: str, headers: Mapping[bytes, bytes]) -> None:
        """Take a token of the client's; raises `RateLimited` where it has none left.

        What names no endpoint (`NO_ENDPOINT`) has a bucket of its own, with the largest rate of any endpoint, where any
        endpoint has one: or else a client that leaves the name out would have no limit.
        """
        limit = self._limits.get(endpoint)
        if limit is None:
            return
        now_s = self._clock()
        bucket = limit.bucket(client_of(headers), now_s)
        wait_s = bucket.take(now_s)
        if wait_s > 0.0:
            self.refused += 1
            raise RateLimited(
                f"this client may send {limit.rate_per_s:g} requests a second "
                + (f"to endpoint {endpoint!r}" if endpoint else "that name no endpoint")
                + f" and sends more: try again in {wait_s:.3g} s"
                + ("" if endpoint else ", or name the endpoint"),
                retry_after_s=math.ceil(wait_s),
                limit_per_s=limit.rate_per_s,
            )
        if self._shared:
            self.taken_from[bucket] = None

    def fill_gauges(self, state: MetricState) -> None:
        """Fill in the gauges of a scrape."""
        state.counters["tidegate_rate_limited_requests"] = self.refused


class LimitSync:
    """Brings this gateway's view of the buckets and Redis's together, every `SYNC_S`."""

    def __init__(self, link: RedisLink, limits: RateLimits, clock: Callable[[], float]) -> None:
        self._link = link
        self._limits = limits
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start exchanging with Redis, in the background."""
        shared = every(SYNC_S, self.step, "sharing the rate limits")
        self._task = asyncio.get_running_loop().create_task(shared, name="rate limits")

    def stop(self) -> None:
        """Stop exchanging with Redis."""
        if self._task is not None:
            self._task.cancel()

    async def step(self) -> None:
        """One exchange for each bucket that was taken from. Without Redis what was taken stays between us."""
        buckets, self._limits.taken_from = list(self._limits.taken_from), {}
        for first in range(0, len(buckets), SYNC_BUCKETS_MAX):
            await self._exchange(buckets[first : first + SYNC_BUCKETS_MAX])

    async def _exchange(self, buckets: list[Bucket]) -> None:
        arguments: list[str] = []
        for bucket in buckets:
            arguments += (str(bucket.taken), repr(bucket.limit.rate_per_s), repr(bucket.limit.burst))
            bucket.taken = 0
        if not self._link.up:
            return
        keys = [f"{self._link.prefix}:limit:{bucket.key}" for bucket in buckets]
        levels = await self._link.ask(lambda client: _run_script(client, keys, arguments), SYNC_TIMEOUT_S)
        if levels is None:
            return
        now_s = self._clock()
        for bucket, level in zip(buckets, levels, strict=True):
            bucket.learn(float(level), now_s)


async def _run_script(client: Redis, keys: list[str], arguments: list[str]) -> list[bytes]:
    from redis.exceptions import NoScriptError

    try:
        levels: list[bytes] = await client.evalsha(_SHA, len(keys), *keys, *arguments)
    except NoScriptError:  # the first time, and after a restart of Redis
        levels = await client.eval(SCRIPT, len(keys), *keys, *arguments)
    return levels


_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
