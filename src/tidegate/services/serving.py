"""Bounds of what a deployment may set of how an endpoint is served. Called by `services.endpoints`."""

from __future__ import annotations

from tidegate.errors import InvalidArgument
from tidegate.wire import rest

CACHE_TTL_S_MAX, RATE_LIMIT_PER_S_MAX = 30 * 86_400, 1e6
RATE_LIMIT_PER_S_MIN = 1e-4


def check_serving(request: rest.DeployRequest) -> None:
    """How long answers are kept, and how many requests a client may send; raises `InvalidArgument`."""
    ttl_s, limit_per_s = request.cache_ttl_s, request.rate_limit_per_s
    if ttl_s is not None and not 0 <= ttl_s <= CACHE_TTL_S_MAX:
        raise InvalidArgument(
            f"cache_ttl_s must be from 0 (answers are not kept) to {CACHE_TTL_S_MAX} seconds, not {ttl_s:g}",
            field="cache_ttl_s",
        )
    if limit_per_s and not RATE_LIMIT_PER_S_MIN <= limit_per_s <= RATE_LIMIT_PER_S_MAX:
        raise InvalidArgument(
            f"rate_limit_per_s must be 0 (as the gateways' setting says) or from {RATE_LIMIT_PER_S_MIN:g} to "
            f"{RATE_LIMIT_PER_S_MAX:g} requests a second, not {limit_per_s:g}",
            field="rate_limit_per_s",
        )
