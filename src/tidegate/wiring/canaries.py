"""The loop of canaries and guards, put together. Called by `wiring.build`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tidegate.clock import Clock
from tidegate.core.captured import CapturedRows
from tidegate.loops.canary import CanarySteps
from tidegate.loops.runner import Loop
from tidegate.services.canaries.guarding import GuardLooks
from tidegate.services.canaries.looking import CanaryLooks
from tidegate.services.gateways.answered import Answered
from tidegate.store.database.engine import Store


def canary_loop(
    fenced: Store, capture: CapturedRows, answered: Answered, clock: Clock, changed: Callable[[], None]
) -> Loop:
    """`fenced` is the leader's store; `changed` wakes the loops that follow a change of weights."""
    steps = CanarySteps(
        fenced,
        CanaryLooks(fenced, capture, answered.since, clock, changed),
        GuardLooks(fenced, answered.since, clock, changed),
    )
    return Loop("canary", steps.step, threading.Event(), leader_only=True)
