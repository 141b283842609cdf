"""The engines that replicas are placed on, and what each can do. Pure.

Decisions, rows and edges ask what an engine can do, never for its name. How one is built stands in `adapters/backends`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LOCAL, DOCKER = "local", "docker"


@dataclass(frozen=True)
class Capabilities:
    """`own_host_only`: its replicas belong to the host that started them, and no other reaches their sockets.

    `limits`: it bounds how much CPU and memory a replica uses. `tells_cpu`: it knows how much CPU one has used.
    """

    own_host_only: bool
    limits: bool
    tells_cpu: bool


ENGINES: Mapping[str, Capabilities] = MappingProxyType(
    {
        LOCAL: Capabilities(own_host_only=True, limits=False, tells_cpu=True),
        DOCKER: Capabilities(own_host_only=True, limits=True, tells_cpu=False),
    }
)
"""By name, in the order in which messages list them; the first is the default.

`adapters/backends` says what else a new engine touches.
"""

OF_A_HOST = tuple(name for name, can in ENGINES.items() if can.own_host_only)
WITH_LIMITS = tuple(name for name, can in ENGINES.items() if can.limits)
TELLING_CPU = tuple(name for name, can in ENGINES.items() if can.tells_cpu)
