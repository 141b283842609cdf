"""The gateways of a platform as its status lists them: those this control plane runs, and those that others started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tidegate.clock import Clock
from tidegate.services.gateways.snapshots import GatewayRevisions
from tidegate.wire.rest import GatewayView

GATEWAY_SEEN_S = 30.0
"""A gateway that polled for the snapshot within so long counts as alive, whoever started it.

After that nothing waits for it to let go of a replica (`core.reconcile.leaving`), and one that was started elsewhere is
shown as `down`. Processes that this control plane started are watched, and started again, by `loops.processes`.
"""
GATEWAY_FORGOTTEN_S = 3600.0
"""One that others started, and that has not polled for so long, is no gateway of this platform any more."""

OwnGateways = Callable[[str, Mapping[str, int]], list[GatewayView]]
"""The gateways that this control plane runs: from their URL, and the revision that each has applied."""


def none_of_its_own(_url: str, _applied: Mapping[str, int]) -> list[GatewayView]:
    """For a control plane that runs no gateway."""
    return []


@dataclass(frozen=True)
class ListedGateways:
    """Of its own it knows the processes; of the others, when they last asked for a snapshot (on a monotonic clock)."""

    revisions: GatewayRevisions
    url: str
    own: OwnGateways
    clock: Clock

    def views(self) -> list[GatewayView]:
        """Its own gateways first, then the others by name."""
        seen = self.revisions.applied()
        own = self.own(self.url, {name: one.revision for name, one in seen.items()})
        known, present = {view.id for view in own}, self.clock()
        others = [(name, one) for name, one in seen.items() if name not in known]
        return own + [
            GatewayView(name, self.url, None, one.revision, "ready" if present - one.at <= GATEWAY_SEEN_S else "down")
            for name, one in sorted(others)
            if present - one.at <= GATEWAY_FORGOTTEN_S
        ]
