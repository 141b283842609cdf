"""Who asks, and what they may do: permissions, and the principals that hold them.

`api.guard.Keys` makes principals of keys and of browser sessions, routes name a permission (`api.permissions.needs`),
and use cases take the principal as an argument. A role is a set of permissions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tidegate.wire.audit import PrincipalKind


class Permission(StrEnum):
    """What a route can ask for. The set is closed: a route that needs another one adds it here."""

    READ = "read"
    """See models, endpoints, jobs, logs and the status."""
    DEPLOY = "deploy"
    """Register and remove models, deploy, shift traffic, scale, build images."""
    APPROVE = "approve"
    """Have the promotion of an experiment or a canary carried out that waits for somebody's word."""
    ADMINISTER = "administer"
    """Decide what is trusted: pickles of a model's name, and browsers that log in."""
    AUDIT = "audit"
    """Read who changed what."""
    ROWS = "rows"
    """Read what was captured: inputs and answers, row by row."""
    PREDICT = "predict"
    """Ask gateways for predictions. No route of the control plane takes it."""
    NODE = "node"
    """Fetch routing snapshots and report, as gateways do."""
    PACKAGE = "package"
    """Fetch a version's files, as a replica does before it starts: with its own key, its own version alone."""
    METRICS = "metrics"
    """Read /metrics."""


EVERYTHING = frozenset(Permission)


@dataclass(frozen=True)
class Principal:
    """Who asks. `request_id` is of the request that it made; empty for what no request began."""

    kind: PrincipalKind
    name: str
    permissions: frozenset[Permission] = frozenset()
    request_id: str = ""

    def may(self, permission: Permission) -> bool:
        """Whether it holds this permission."""
        return permission in self.permissions


def part_of_platform(name: str) -> Principal:
    """A part of the platform that changes something by itself. It passes no guard, so it needs no permission."""
    return Principal("platform", name)
