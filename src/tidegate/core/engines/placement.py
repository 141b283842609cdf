"""Which backend runs a replica, and how much of the machine it may use. Pure; resolved from what was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidegate.core.engines.capabilities import ENGINES, LOCAL, PLACING_THEMSELVES, WITH_LIMITS, WITH_REQUESTS
from tidegate.errors import InvalidArgument

CPUS_MIN, CPUS_MAX = 0.01, 1024.0
MEMORY_BYTES_MIN, MEMORY_BYTES_MAX = 16 << 20, 1 << 50
"""Below that no Python starts; an engine's own minimum is smaller."""
LIMITS, REQUESTS = ("cpus", "memory_bytes"), ("cpu_request", "memory_request_bytes")
AMOUNTS = (*LIMITS, *REQUESTS)


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
    cpu_request: float | None = None
    memory_request_bytes: int | None = None


def placed(requested: PlacementRequest, default: Placement) -> Placement:
    """Where replicas of an endpoint run. The platform's limits are for containers of a host, whoever chose those."""
    backend = requested.backend or default.backend
    if backend not in WITH_LIMITS:
        return Placement(backend)
    if backend in PLACING_THEMSELVES:
        default = Placement(backend)
    limits = requested.cpus or default.cpus, requested.memory_bytes or default.memory_bytes
    if backend not in WITH_REQUESTS:
        return Placement(backend, *limits)
    return Placement(backend, *limits, requested.cpu_request, requested.memory_request_bytes)


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
    """What an endpoint is to run on after a request: what it says, else as before; a limit of 0 is none any more.

    Raises `InvalidArgument`.
    """
    backend = now.backend or before.backend
    given = {name: getattr(now, name) or None for name in AMOUNTS}
    check_placement_request(PlacementRequest(backend, **given), default)
    kept = AMOUNTS if now.backend is None else _amounts_of(now.backend)  # what it had elsewhere goes, where none is
    for name in AMOUNTS:
        if getattr(now, name) is None and name in kept:
            given[name] = getattr(before, name)
    return _check_requests(PlacementRequest(backend, **given))


def _amounts_of(backend: str) -> tuple[str, ...]:
    """What a replica on this engine may be given an amount of."""
    return (*(LIMITS if backend in WITH_LIMITS else ()), *(REQUESTS if backend in WITH_REQUESTS else ()))


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
    check_limits(requested.cpu_request, requested.memory_request_bytes, ("cpu_request", "memory_request_bytes"))
    has = _amounts_of(requested.backend or default.backend)
    _check_had("limits", WITH_LIMITS, [getattr(requested, name) for name in LIMITS if name not in has])
    _check_had("requests", WITH_REQUESTS, [getattr(requested, name) for name in REQUESTS if name not in has])
    return _check_requests(requested)


def _check_requests(requested: PlacementRequest) -> PlacementRequest:
    for limit, request in zip(LIMITS, REQUESTS, strict=True):
        most, least = getattr(requested, limit), getattr(requested, request)
        if most and least and least > most:
            raise InvalidArgument(
                f"{request} ({least:g}) is more than {limit} ({most:g}): no replica may use what is kept free for it",
                field=request,
            )
    return requested


def _check_had(what: str, engines: tuple[str, ...], given: list[float | None]) -> None:
    if any(given):
        those = " or ".join(map(repr, engines))
        kind = "containers have limits" if what == "limits" else "an engine with several machines has requests"
        raise InvalidArgument(
            f"only {kind} of CPU and memory: add backend {those} (--backend {engines[0]})", field="backend"
        )


def check_limits(
    cpus: float | None, memory_bytes: int | None, fields: tuple[str, str] = ("cpus", "memory_bytes")
) -> None:
    """Raises `InvalidArgument` for amounts that no engine keeps, naming one of the `fields`."""
    if cpus is not None and not CPUS_MIN <= cpus <= CPUS_MAX:
        raise InvalidArgument(f"{fields[0]} must be from {CPUS_MIN:g} to {CPUS_MAX:g}, not {cpus:g}", field=fields[0])
    if memory_bytes is not None and not MEMORY_BYTES_MIN <= memory_bytes <= MEMORY_BYTES_MAX:
        raise InvalidArgument(
            f"{fields[1]} must be from {MEMORY_BYTES_MIN} (16m) to {MEMORY_BYTES_MAX}, not {memory_bytes}",
            field=fields[1],
        )
