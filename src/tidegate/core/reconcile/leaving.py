"""When a replica that left the routing snapshot may be asked to end. Pure; called by `judge`.

The order is the same whoever takes a replica away (fewer replicas, another version, form or placement, a deletion): out
of the snapshot, let go of by every gateway, SIGTERM, SIGKILL after the grace. A timer alone would end replicas under a
gateway that takes its snapshot late, or that still waits for an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tidegate.core.reconcile.fleet import GatewayFacts, ReconcileLimits, Replica, World


@dataclass(frozen=True)
class Release:
    """Whether the replica may be asked to end, and why it may or may not."""

    free: bool
    why: str


def release(replica: Replica, world: World, limits: ReconcileLimits) -> Release:
    """A draining replica is asked to end once no gateway can send it anything any more.

    gateways that are alive                          | since it left the snapshot | then
    -------------------------------------------------|----------------------------|------------------------------
    all have let go of it                            | at once                    | ends
    some have not                                    | less than leave_s          | waits for them
    some have not                                    | leave_s or more            | ends under them
    there are none                                   | less than drain_s          | waits: one may still poll
    there are none                                   | drain_s or more            | ends

    A gateway has let go of a replica when it says that it routes by a snapshot without it, and that it waits for no
    answer of it. It is alive if it polled, or was started, within gateway_silent_s; else it is dead, or cut off from
    here, and nothing waits for it.
    """
    left_s = world.now - (replica.draining_at or 0.0)
    alive = [gateway for gateway in world.gateways if gateway.silent_s < limits.gateway_silent_s]
    if not alive:
        over = min(left_s, world.listening_s) >= limits.drain_s
        return Release(over, "no gateway has been heard of" if over else "waits for gateways to be heard of")
    holding = [(gateway, why) for gateway in alive if (why := _why_held(replica, gateway))]
    if not holding:
        return Release(True, "no gateway uses it any more")
    held_by = _in_words(holding)
    if left_s >= limits.leave_s:
        return Release(True, f"the {limits.leave_s:g} s that gateways have for it are over: {held_by}")
    return Release(False, f"waits for gateways: {held_by}")


def all_let_go(gateways: Iterable[GatewayFacts], revision: int, left_s: float, limits: ReconcileLimits) -> Release:
    """As `release`, of all replicas of a host at once, that no snapshot from `revision` on lists."""
    alive = [gateway for gateway in gateways if gateway.silent_s < limits.gateway_silent_s]
    holding = [one.id for one in alive if one.revision is None or one.revision < revision or one.in_use]
    if not alive:
        return Release(left_s >= limits.drain_s, "no gateway has been heard of")
    if holding and left_s < limits.leave_s:
        return Release(False, f"waits for {', '.join(sorted(holding))}")
    return Release(True, f"{', '.join(sorted(holding))} did not let go" if holding else "no gateway uses them any more")


def _why_held(replica: Replica, gateway: GatewayFacts) -> str:
    """Empty where the gateway has let go of it."""
    if gateway.revision is None:
        return "has not said what it routes by"
    if replica.drain_revision is None or gateway.revision < replica.drain_revision:
        return f"routes by revision {gateway.revision}"
    return "waits for its answer" if replica.id in gateway.in_use else ""


def _in_words(holding: list[tuple[GatewayFacts, str]]) -> str:
    first, why = min(holding, key=lambda one: one[0].id)
    more = len(holding) - 1
    return f"{first.id} {why}" + (f", and {more} more" if more else "")
