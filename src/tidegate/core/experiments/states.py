"""Which states of an experiment follow which, and what is kept of it when a split changes. Pure.

The row has one of five stored states; `waiting_for_traffic` is how a running one is shown that nobody takes part in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tidegate.errors import Conflict

Stored = Literal["draft", "running", "paused", "decided", "stopped"]
Action = Literal["start", "pause", "resume", "stop", "approve", "split"]
LIVE: tuple[Stored, ...] = ("running", "paused")
"""In these an experiment sets its endpoint's weights."""
ENDED: tuple[Stored, ...] = ("decided", "stopped")

_NEXT: dict[tuple[Stored, Action], Stored] = {
    ("draft", "start"): "running",
    ("draft", "stop"): "stopped",
    ("draft", "split"): "draft",
    ("running", "pause"): "paused",
    ("running", "resume"): "running",  # lifts a hold
    ("running", "stop"): "stopped",
    ("running", "approve"): "decided",
    ("paused", "start"): "running",
    ("paused", "resume"): "running",
    ("paused", "stop"): "stopped",
}
_KEPT = "its split stays as it began: units keep their arms. For another split stop it and create another experiment"
_WHY_NOT: dict[tuple[Stored, Action], str] = {
    ("draft", "pause"): "has not been started: start it, or stop it to have it no more",
    ("draft", "resume"): "has not been started: start it",
    ("draft", "approve"): "has not been started: there is no decision to approve",
    ("running", "start"): "runs already",
    ("running", "split"): f"was started, and {_KEPT}",
    ("paused", "split"): f"was started, and {_KEPT}",
    ("paused", "pause"): "is paused already",
    ("paused", "approve"): "is paused: resume it first, so that what is decided is decided on what holds now",
}


def after(name: str, state: Stored, action: Action) -> Stored:
    """The state that an action leads to. Raises `Conflict` that says why it cannot be taken in this state."""
    following = _NEXT.get((state, action))
    if following is None:
        why = _WHY_NOT.get((state, action), f"has ended ({state}): create another one")
        raise Conflict(f"experiment {name!r} {why}", experiment=name, state=state)
    return following


@dataclass(frozen=True)
class Ramp:
    """Where a ramp is: its steps in percent of units that take part, each for `every_s`, and the one it is at."""

    steps: tuple[float, ...]
    every_s: float
    step: int = 0

    @property
    def coverage(self) -> float:
        """Share of units that take part now."""
        return self.steps[self.step] / 100.0

    def is_due(self, ran_s: float) -> bool:
        """Whether the next step is to be taken, when this one has lasted so long; never past the last."""
        return self.step + 1 < len(self.steps) and ran_s >= self.every_s
