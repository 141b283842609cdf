"""What sets an endpoint's traffic in place of people, as the verbs that look print it."""

from __future__ import annotations

from tidegate.cli.output import split
from tidegate.wire.rest import Endpoint


def automated(found: Endpoint) -> list[str]:
    """Who sets the weights, what a rollback restores, how much takes part; nothing while people set them."""
    if (now := found.automation) is None:
        return []
    told = [
        f"{now.kind} {now.name} sets the traffic since revision {now.revision}; asked for was {split(found.asked)},",
        f"and a rollback restores {split(now.stable)}",
    ]
    if now.shares:
        phase = "" if now.phase is None else f" in phase {now.phase}"
        told.append(f"{100 * now.coverage:.4g}% of units take part{phase}: {split(now.shares)}")
        if now.coverage < 1:
            told.append(f"the others get {now.uncovered}")
    return told
