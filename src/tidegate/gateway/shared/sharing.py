"""What a gateway shares with the others through Redis, put together: link, limits, cache. Called by `process.py`.

Without REDIS_URL there are the limits alone, which are then this gateway's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.gateway.shared.rate_limits import LimitSync, RateLimits
from tidegate.gateway.shared.redis_link import RedisLink
from tidegate.gateway.shared.response_cache import ResponseCache

if TYPE_CHECKING:
    from tidegate.clock import Clock
    from tidegate.dataplane.pipeline.metrics import Metrics
    from tidegate.gateway.capture.observer import GatewayObserver
    from tidegate.settings import Settings
    from tidegate.wire.gateways.snapshot import Snapshot


class Sharing:
    """`limits` is to be asked while it is `active`; `cache` is None without Redis."""

    def __init__(self, settings: Settings, observer: GatewayObserver, clock: Clock) -> None:
        shared = bool(settings.redis_url)
        self.limits = RateLimits(settings.rate_limit_per_s, settings.rate_burst_s, clock, shared=shared)
        self.cache: ResponseCache | None = None
        self._link: RedisLink | None = None
        self._sync: LimitSync | None = None
        if settings.redis_url:
            self._link = RedisLink(settings.redis_url, settings.redis_prefix, clock)
            self._sync = LimitSync(self._link, self.limits, clock)
            self.cache = ResponseCache(self._link, observer, clock)

    def add_gauges(self, metrics: Metrics) -> None:
        """Register the gauges of link and cache."""
        for part in (self._link, self.cache):
            if part is not None:
                metrics.add_gauges(part.fill_gauges)
        metrics.add_gauges(self.limits.fill_gauges)

    def start(self) -> None:
        """Connect, in the background."""
        if self._link is not None and self._sync is not None:
            self._link.start()
            self._sync.start()

    def adopt(self, snapshot: Snapshot) -> RateLimits | None:
        """Take the endpoints' limits; what every request has to be asked of, if anything."""
        self.limits.adopt(snapshot)
        return self.limits if self.limits.active else None

    async def stop(self) -> None:
        """Disconnect; called after the last answer."""
        if self._link is not None and self._sync is not None:
            self._sync.stop()
            await self._link.stop()
