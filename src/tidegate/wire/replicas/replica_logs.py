"""The REST shapes of replicas' logs, and of how replicas failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ReplicaFailure:
    """How and when a replica failed: `kind` is `start` before it was ever ready, else `crash`.

    It has an `exit_code` or the name of the `signal` that ended it, or neither where that is not known.
    """

    at: float
    kind: Literal["start", "crash"]
    reason: str
    exit_code: int | None = None
    signal: str | None = None


@dataclass(frozen=True)
class LogLines:
    """The last lines of a replica's log. `failed` is there for one that has failed; it no longer serves."""

    replica: str
    version: str
    lines: list[str]
    failed: ReplicaFailure | None = None
