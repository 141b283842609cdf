"""The REST shapes of what a platform rests on: database, leader, broker, container engine. Parts of `rest.Status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DatabaseView:
    """The database of the platform's state (never its password), and whether it answers."""

    where: str
    status: Literal["ready", "unavailable"]
    reason: str = ""


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
    """The container engine that replicas run on, and whether it answers. There is none where none is used."""

    where: str
    status: Literal["ready", "unavailable"]
    version: str = ""
    reason: str = ""
