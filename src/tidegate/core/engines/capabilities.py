"""The engines that replicas are placed on, and what each can do. Pure.

Decisions, rows and edges ask what an engine can do, never for its name. How one is built stands in `adapters/backends`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LOCAL, DOCKER, KUBERNETES, ECS, CLOUDRUN = "local", "docker", "kubernetes", "ecs", "cloudrun"
TIDEGATE, ENGINE = "tidegate", "engine"
"""Who counts the replicas of an endpoint that follows its load."""


@dataclass(frozen=True)
class Capabilities:
    """`own_host_only`: its replicas belong to the host that started them, and no other reaches their sockets.

    `limits`: it bounds how much CPU and memory a replica uses. `tells_cpu`: it knows how much CPU one has used.
    `places_itself`: it is told how many replicas of a version there shall be, and places, restarts and replaces them by
    itself (`core.workloads`); on the others we place each (`core.ports.Backend`). `pooled`: all replicas of a version
    are behind one address, and how many there are is not known. `autoscalers` are those that may count its replicas.
    `engine_metrics` are what it can count them by itself. `requests`: it keeps CPU and memory free for each replica.
    `fetches`: a replica can fetch its version before it starts, so that it needs no image with that in it.
    """

    own_host_only: bool
    limits: bool
    tells_cpu: bool
    places_itself: bool = False
    pooled: bool = False
    autoscalers: tuple[str, ...] = (TIDEGATE,)
    engine_metrics: tuple[str, ...] = ()
    requests: bool = False
    fetches: bool = False


ENGINES: Mapping[str, Capabilities] = MappingProxyType(
    {
        LOCAL: Capabilities(own_host_only=True, limits=False, tells_cpu=True),
        DOCKER: Capabilities(own_host_only=True, limits=True, tells_cpu=False),
        KUBERNETES: Capabilities(
            own_host_only=False,
            limits=True,
            tells_cpu=False,
            places_itself=True,
            autoscalers=(TIDEGATE, ENGINE),
            engine_metrics=("cpu",),
            requests=True,
            fetches=True,
        ),
        ECS: Capabilities(own_host_only=False, limits=True, tells_cpu=False, places_itself=True),
        CLOUDRUN: Capabilities(
            own_host_only=False,
            limits=True,
            tells_cpu=False,
            places_itself=True,
            pooled=True,
            autoscalers=(ENGINE,),
            engine_metrics=("cpu", "concurrency"),
        ),
    }
)
"""By name, in the order in which messages list them; the first is the default.

`adapters/backends` says what else a new engine touches.
"""

OF_A_HOST = tuple(name for name, can in ENGINES.items() if can.own_host_only)
WITH_LIMITS = tuple(name for name, can in ENGINES.items() if can.limits)
WITH_REQUESTS = tuple(name for name, can in ENGINES.items() if can.requests)
TELLING_CPU = tuple(name for name, can in ENGINES.items() if can.tells_cpu)
PLACING_THEMSELVES = tuple(name for name, can in ENGINES.items() if can.places_itself)
POOLED = tuple(name for name, can in ENGINES.items() if can.pooled)
