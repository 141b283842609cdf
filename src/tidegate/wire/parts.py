"""The REST shapes of what a platform rests on: database, leader, broker, container engine. Parts of `rest.Status`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tidegate.wire.exact import STRICT, Whole


@dataclass(frozen=True)
class DatabaseView:
    """The database of the platform's state (never its password), and whether it answers."""

    where: str
    status: Literal["ready", "unavailable"]
    reason: str = ""


@dataclass(frozen=True)
class AutomationView:
    """What sets an endpoint's weights in place of people, since people's `revision`; a rollback restores `stable`.

    `stable` is percent by version. `kind` is experiment, canary or bandit. `shares` is percent by variant of the units
    that take part, `coverage` their share of all units; the others get the variant `uncovered`. Units are assigned by
    `salt`, and `phase` counts the splits.
    """

    kind: str
    name: str
    revision: int
    stable: dict[str, float]
    shares: dict[str, float] = field(default_factory=dict)
    coverage: float = 1.0
    uncovered: str = ""
    phase: int | None = None
    salt: str = ""


@dataclass(frozen=True)
class AnsweredCounts:
    """How the requests to one version ended, as one gateway has counted since it was first started.

    `failed`: the model raised, or its answer could not be read (500). `timed_out`: no answer within the deadline (504).
    `non_finite`: answered, with NaN or infinity in it.
    """

    __pydantic_config__ = STRICT

    endpoint: str
    version: str
    requests: Whole
    failed: Whole
    timed_out: Whole
    non_finite: Whole


@dataclass(frozen=True)
class AnsweredReport:
    """A gateway's counts by version."""

    __pydantic_config__ = STRICT

    gateway: str
    versions: list[AnsweredCounts]


@dataclass(frozen=True)
class AnsweredView:
    """How the requests to one version ended over the last `window_s` seconds, told as in `AnsweredCounts`.

    Of so many live gateways (`gateways_silent`) the counts are missing: where that is not 0, there may be more of each.
    """

    window_s: float
    requests: int
    failed: int
    timed_out: int
    non_finite: int
    gateways_silent: int = 0


@dataclass(frozen=True)
class LeaderView:
    """The control plane that leads: its machine and data directory, its API, and the token of its lease.

    `here`: it is the one that was asked. `alive`: its lease has not run out, by the database's clock.
    """

    host: str
    url: str
    token: int
    here: bool
    alive: bool = True


@dataclass(frozen=True)
class QueueView:
    """The broker that jobs go over to workers, where there is one, and whether it answers.

    `messages` wait in its queue, and so many workers have room for a job (`idle_workers`); None while it is away.
    """

    where: str
    status: Literal["ready", "unavailable"]
    reason: str = ""
    messages: int | None = None
    idle_workers: int | None = None


@dataclass(frozen=True)
class RedisView:
    """Redis, where there is one, and whether it answered this control plane when it was asked last."""

    where: str
    status: Literal["unknown", "ready", "unavailable"]
    reason: str = ""


@dataclass(frozen=True)
class EngineView:
    """The engine that replicas run on, by the name of its `backend`, and whether it answers. None where they are all
    processes.
    """

    where: str
    status: Literal["ready", "unavailable"]
    version: str = ""
    reason: str = ""
    backend: str = "docker"


@dataclass(frozen=True)
class RolloutView:
    """A canary, or the guard of a version that was deployed at once, that a person should look at.

    `paused`: it goes no further by itself; `at` is when its step began. `aborted`: the version was taken back by itself
    of late (`at`), and nobody has changed the endpoint's traffic since. `failed`: it was to be taken back then, and
    could not be.
    """

    endpoint: str
    kind: Literal["canary", "guard"]
    version: str
    state: Literal["paused", "aborted", "failed"]
    reason: str
    at: float
