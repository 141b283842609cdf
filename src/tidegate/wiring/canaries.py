"""What the loop has canaries and guards do, put together."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.clock import Clock
from tidegate.core.captured import CapturedRows
from tidegate.loops.canary import CanarySteps
from tidegate.services.canaries.guarding import GuardLooks
from tidegate.services.canaries.looking import CanaryLooks
from tidegate.services.gateways.answered import Answered
from tidegate.store.engine import Store


def canary_steps(
    fenced: Store, capture: CapturedRows, answered: Answered, clock: Clock, changed: Callable[[], None]
) -> CanarySteps:
    """`fenced` is the leader's store; `changed` wakes the loops that follow a change of weights."""
    return CanarySteps(
        fenced,
        CanaryLooks(fenced, capture, answered.since, clock, changed),
        GuardLooks(fenced, answered.since, clock, changed),
    )
