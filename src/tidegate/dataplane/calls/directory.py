"""What a process serves: the names that clients call, and the versions behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tidegate.dataplane.calls.call import Destination
from tidegate.wire.gateways.decision import AssignmentContext, Decision


class Service(Protocol):
    """One name that clients call: an endpoint on the gateway, the model on a replica."""

    name: str

    def decide(self, context: AssignmentContext) -> Decision | None:
        """Which variant a request is assigned and which one answers; None where nothing has weight.

        Raises `UnknownVersion` for a pinned version that does not run.
        """

    def destination(self, decision: Decision | None) -> Destination:
        """The version that answers; raises `NoReadyReplica`."""

    def pinned(self, version: str) -> Destination:
        """The running version with this number or label; raises `UnknownVersion` that lists those that run."""

    def destinations(self) -> list[Destination]:
        """All variants of running versions, the one with the most traffic first."""


class Directory(Protocol):
    """Everything served by this process."""

    def services(self) -> Mapping[str, Service]:
        """By name."""

    def only(self) -> Service | None:
        """The one service of a replica; None on a gateway, where every path names its endpoint."""
