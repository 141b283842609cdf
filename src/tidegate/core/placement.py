"""Which backend runs a replica, and how much of the machine it may use. Pure; resolved from what was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidegate.errors import InvalidArgument

LOCAL, DOCKER = "local", "docker"
BACKENDS = (LOCAL, DOCKER)
OF_A_HOST = (LOCAL, DOCKER)
"""Those whose replicas belong to the host that started them: no other one reaches their processes and sockets."""
CPUS_MIN, CPUS_MAX = 0.01, 1024.0
MEMORY_BYTES_MIN, MEMORY_BYTES_MAX = 16 << 20, 1 << 50
"""Below that no Python starts; an engine's own minimum is smaller."""


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


@dataclass(frozen=True)
class Placement:
    """`cpus` is a number of processors (0.5: half of one's time); None: no limit. Only containers have limits."""

    backend: str = LOCAL
    cpus: float | None = None
    memory_bytes: int | None = None


PROCESSES = Placement(LOCAL)


@dataclass(frozen=True)
class PlacementRequest:
    """What an endpoint was asked to run on; None: as the platform's settings say."""

    backend: str | None = None
    cpus: float | None = None
    memory_bytes: int | None = None


def placed(requested: PlacementRequest, default: Placement) -> Placement:
    """Where replicas of an endpoint run. The platform's limits are for containers, whoever chose those."""
    backend = requested.backend or default.backend
    if backend == LOCAL:
        return Placement(LOCAL)
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


def check_backend(backend: str) -> str:
    """`backend` if there is one of this name, else `InvalidArgument`."""
    if backend not in BACKENDS:
        raise InvalidArgument(f"backend {backend[:40]!r} is none of {', '.join(BACKENDS)}", field="backend")
    return backend


def check_placement_request(requested: PlacementRequest, default: Placement) -> PlacementRequest:
    """`requested` if it can be done, else `InvalidArgument`."""
    if requested.backend is not None:
        check_backend(requested.backend)
    if requested.cpus is not None and not CPUS_MIN <= requested.cpus <= CPUS_MAX:
        raise InvalidArgument(f"cpus must be from {CPUS_MIN:g} to {CPUS_MAX:g}, not {requested.cpus:g}", field="cpus")
    if requested.memory_bytes is not None and not MEMORY_BYTES_MIN <= requested.memory_bytes <= MEMORY_BYTES_MAX:
        raise InvalidArgument(
            f"memory_bytes must be from {MEMORY_BYTES_MIN} (16m) to {MEMORY_BYTES_MAX}, not {requested.memory_bytes}",
            field="memory_bytes",
        )
    if (requested.backend or default.backend) == LOCAL and (requested.cpus or requested.memory_bytes):
        raise InvalidArgument(
            "only containers have limits of CPU and memory: add backend 'docker' (--backend docker)", field="backend"
        )
    return requested
