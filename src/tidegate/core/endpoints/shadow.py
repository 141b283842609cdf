"""The shadow of an endpoint: a version that gets a copy of a share of its traffic, and no say in any answer. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidegate.errors import InvalidArgument


@dataclass(frozen=True)
class ShadowSpec:
    """`share` is percent of the endpoint's requests; it listens `since` then, because of `by`."""

    version: str
    share: float
    since: float
    by: str = ""


def check_share(share: float) -> None:
    """Raises `InvalidArgument` unless it is a percent above 0."""
    if not 0.0 < share <= 100.0:
        raise InvalidArgument(
            f"share must be percent of the traffic, above 0 and up to 100, not {share:g}; --off (REST: DELETE, or "
            "share 0) ends a shadow",
            field="share",
        )


def replicas_for(share: float, live: Iterable[int]) -> int:
    """Replicas of a shadow: its share of those that the largest live version has, at least one; none while all sleep.

    So it follows whoever sets their number, people or the autoscaler; what is too much for it is shed.
    """
    largest = max(live, default=0)
    return max(1, math.ceil(share / 100.0 * largest)) if largest else 0


def is_live(version: str, *weights: Mapping[str, float]) -> bool:
    """Whether a version answers traffic, or shall, by any of these weights."""
    return any(one.get(version, 0.0) > 0 for one in weights)
