"""How many replicas a version needs for traffic that it does not have yet. Pure; called by the autoscaler's loop."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from tidegate.core.scaling.autoscale import replicas_for
from tidegate.core.scaling.load import Samples, mean
from tidegate.core.scaling.policy import Scaling


def needed_for(spec: Scaling, percent: float, fleet: int, loads: Iterable[Samples], now: float) -> int:
    """What `percent` of the endpoint's traffic takes, within the bounds.

    The share of the present load, each version's `loads` by the window in which it is higher; and no less than the
    share of the `fleet`, all replicas that the versions with traffic are to have: a switch shrinks no fleet, whatever
    is known of the load.
    """
    share = percent / 100
    needed = max(math.ceil(fleet * share), replicas_for(spec, _load(spec, loads, now) * share))
    return min(max(needed, spec.min_replicas, 1), spec.max_replicas)


def enough_for(spec: Scaling, percent: float, loads: Collection[Samples], now: float) -> int | None:
    """What `percent` of the present load takes, within the bounds; None where that is not known of all gateways."""
    if not loads or any(one.silent or mean(one, now - spec.stable_s, now) is None for one in loads):
        return None
    return needed_for(spec, percent, 0, loads, now)


def _load(spec: Scaling, loads: Iterable[Samples], now: float) -> float:
    """As far as it is known."""
    total = 0.0
    for series in loads:
        known = [mean(series, now - window_s, now) for window_s in (spec.panic_s, spec.stable_s)]
        total += max((one.value for one in known if one is not None and math.isfinite(one.value)), default=0.0)
    return total
