"""How an endpoint is served beside traffic and replicas, and what changed of it, in words. Pure; for its history."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.core.placement import PlacementRequest


@dataclass(frozen=True)
class Serving:
    """What `deploy` may set for good: where replicas run and with which limits, how long answers are kept, the rate.

    A rollback leaves it as it is. 0 stands for none.
    """

    placement: PlacementRequest = field(default_factory=PlacementRequest)
    cache_ttl_s: float = 0.0
    rate_limit_per_s: float = 0.0


def change_of(before: Serving, after: Serving) -> str:
    """What differs, with what was before; nothing where nothing does.

    >>> change_of(Serving(rate_limit_per_s=5), Serving(PlacementRequest("docker", memory_bytes=100 << 20)))
    'backend docker (was unset), memory 100 MiB (was unset), rate limit unset (was 5/s)'
    """
    old, new = _words(before), _words(after)
    return ", ".join(f"{name} {new[name]} (was {old[name]})" for name in new if new[name] != old[name])


def _words(one: Serving) -> dict[str, str]:
    placement = one.placement
    return {
        "backend": placement.backend or "unset",
        "CPU": f"{placement.cpus:g}" if placement.cpus else "unset",
        "memory": f"{placement.memory_bytes / (1 << 20):g} MiB" if placement.memory_bytes else "unset",
        "kept answers": f"{one.cache_ttl_s:g} s" if one.cache_ttl_s else "unset",
        "rate limit": f"{one.rate_limit_per_s:g}/s" if one.rate_limit_per_s else "unset",
    }
