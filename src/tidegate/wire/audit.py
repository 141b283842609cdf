"""Shapes of the audit in the REST API: who changed what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

PrincipalKind = Literal["token", "session", "predict", "node", "metrics", "replica", "platform", "unknown"]
"""What a principal is known by: the platform's token, a browser's session, one of its other keys. `platform` is a loop
or another part of the platform itself, `unknown` whoever asked before that was kept."""
SubjectKind = Literal["endpoint", "model", "version", "session", "job", "alert", "silence", "notifier"]
Outcome = Literal["done", "started", "failed"]
"""`started`, then `done` or `failed`, is for changes in the registry, which no transaction of ours can hold."""


@dataclass(frozen=True)
class Who:
    """Who asked: the token, a browser's session, or a part of the platform; `unknown` before that was kept."""

    kind: PrincipalKind
    name: str


@dataclass(frozen=True)
class Subject:
    """What was changed. A version is named `churn:3`."""

    kind: SubjectKind
    name: str


@dataclass(frozen=True)
class AuditEntry:
    """One change. `changes` has by name the value before and the one after; null where there is none.

    `outcome` is `done`; `started`, then `done` or `failed`, for one that the registry has to make. `request_id` is the
    `X-Request-Id` of the request that began it, also where a job made the change; empty where no request did.
    """

    id: int
    at: float
    who: Who
    action: str
    subject: Subject
    outcome: Outcome = "done"
    changes: dict[str, list[Any]] = field(default_factory=dict)
    note: str = ""
    request_id: str = ""


@dataclass(frozen=True)
class AuditPage:
    """Changes, newest first. Where there are more, `next` is the `before` of the next page."""

    entries: list[AuditEntry]
    next: int | None = None
