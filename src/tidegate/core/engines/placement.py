"""Which backend runs a replica, and how much of the machine it may use. Pure; resolved from what was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tidegate.core.engines.capabilities import ENGINES, LOCAL, WITH_LIMITS
from tidegate.errors import InvalidArgument

CPUS_MIN, CPUS_MAX = 0.01, 1024.0
MEMORY_BYTES_MIN, MEMORY_BYTES_MAX = 16 << 20, 1 << 50
"""Below that no Python starts; an engine's own minimum is smaller."""


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True)
class Placement:
    """`cpus` is a number of processors (0.5: half of one's time); None: no limit. Not every engine has limits.

    Requests are what an engine with several machines keeps free for each replica; None: its own default.
    """

    backend: str = LOCAL
    cpus: float | None = None
    memory_bytes: int | None = None
    cpu_request: float | None = None
    memory_request_bytes: int | None = None


PROCESSES = Placement(LOCAL)


@dataclass(frozen=True)
class PlacementRequest:
    """What an endpoint was asked to run on; None: as the platform's settings say."""

    backend: str | None = None
    cpus: float | None = None
    memory_bytes: int | None = None


def placed(requested: PlacementRequest, default: Placement) -> Placement:
    """Where replicas of an endpoint run. The platform's limits are for engines that have any, whoever chose those."""
    backend = requested.backend or default.backend
    if backend not in WITH_LIMITS:
        return Placement(backend)
    return Placement(backend, requested.cpus or default.cpus, requested.memory_bytes or default.memory_bytes)


def bytes_of(text: str) -> int:
    """`512m` or `1.5g` in bytes, as Docker reads it: a unit is a power of 1024. Raises `InvalidArgument`.

    >>> [bytes_of(text) for text in ("512m", "1.5GiB", "1024")]
    [536870912, 1610612736, 1024]
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None:
        raise InvalidArgument(f"{text[:40]!r} is no amount of memory: give for example 512m or 2g", field="memory")
    return int(float(found[1]) * _UNITS[found[2]])


def requested_after(before: PlacementRequest, now: PlacementRequest, default: Placement) -> PlacementRequest:
    """What an endpoint is to run on after a request: what it says, else as before; limits of 0 are none any more.

    Raises `InvalidArgument`.
    """
    after = PlacementRequest(now.backend or before.backend, now.cpus or None, now.memory_bytes or None)
    check_placement_request(after, default)
    if now.backend is not None and now.backend not in WITH_LIMITS:  # the limits it had elsewhere go
        return after
    cpus = before.cpus if now.cpus is None else after.cpus
    memory_bytes = before.memory_bytes if now.memory_bytes is None else after.memory_bytes
    return replace(after, cpus=cpus, memory_bytes=memory_bytes)


def check_backend(backend: str) -> str:
    """`backend` if there is one of this name, else `InvalidArgument`."""
    if backend not in ENGINES:
        raise InvalidArgument(f"backend {backend[:40]!r} is none of {', '.join(ENGINES)}", field="backend")
    return backend


def check_placement_request(requested: PlacementRequest, default: Placement) -> PlacementRequest:
    """`requested` if it can be done, else `InvalidArgument`."""
    if requested.backend is not None:
        check_backend(requested.backend)
    check_limits(requested.cpus, requested.memory_bytes)
    if (requested.backend or default.backend) not in WITH_LIMITS and (requested.cpus or requested.memory_bytes):
        those = " or ".join(map(repr, WITH_LIMITS))
        raise InvalidArgument(
            f"only containers have limits of CPU and memory: add backend {those} (--backend {WITH_LIMITS[0]})",
            field="backend",
        )
    return requested


def check_limits(cpus: float | None, memory_bytes: int | None) -> None:
    """Raises `InvalidArgument` for limits that no engine keeps."""
    if cpus is not None and not CPUS_MIN <= cpus <= CPUS_MAX:
        raise InvalidArgument(f"cpus must be from {CPUS_MIN:g} to {CPUS_MAX:g}, not {cpus:g}", field="cpus")
    if memory_bytes is not None and not MEMORY_BYTES_MIN <= memory_bytes <= MEMORY_BYTES_MAX:
        raise InvalidArgument(
            f"memory_bytes must be from {MEMORY_BYTES_MIN} (16m) to {MEMORY_BYTES_MAX}, not {memory_bytes}",
            field="memory_bytes",
        )
