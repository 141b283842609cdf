"""How an endpoint is served beside traffic and replicas, and what changed of it, in words. Pure; for its history."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.core.placement import Asked


@dataclass(frozen=True)
class Serving:
    """What `deploy` may set for good: where replicas run and with which limits, how long answers are kept, the rate.

    A rollback leaves it as it is. 0 stands for none.
    """

    asked: Asked = field(default_factory=Asked)
    cache_ttl_s: float = 0.0
    rate_limit_per_s: float = 0.0


def change_of(before: Serving, after: Serving) -> str:
    """What differs, with what was before; nothing where nothing does.

    >>> change_of(Serving(rate_limit_per_s=5), Serving(Asked("docker", memory_bytes=100 << 20)))
    'backend docker (was unset), memory 100 MiB (was unset), rate limit unset (was 5/s)'
    """
    old, new = _words(before), _words(after)
    return ", ".join(f"{name} {new[name]} (was {old[name]})" for name in new if new[name] != old[name])


def _words(one: Serving) -> dict[str, str]:
    asked = one.asked
    return {
        "backend": asked.backend or "unset",
        "CPU": f"{asked.cpus:g}" if asked.cpus else "unset",
        "memory": f"{asked.memory_bytes / (1 << 20):g} MiB" if asked.memory_bytes else "unset",
        "kept answers": f"{one.cache_ttl_s:g} s" if one.cache_ttl_s else "unset",
        "rate limit": f"{one.rate_limit_per_s:g}/s" if one.rate_limit_per_s else "unset",
    }
