"""The REST shapes of canaries, and of the guard that watches a new version. Times: seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tidegate.wire.exact import STRICT, Number
from tidegate.wire.experiments import GuardrailView

CanaryKind = Literal["canary", "guard"]
CanaryState = Literal["running", "paused", "promoted", "aborted", "failed", "ended"]


@dataclass(frozen=True)
class CanaryRequest:
    """Take a version through steps of traffic, each for `every_s` and on evidence. The last step is 100.

    Guardrails in the grammar of experiments; none: those by default (errors, latency, non-finite outputs, prediction
    drift, crashes).
    """

    __pydantic_config__ = STRICT

    steps: list[Number] = field(default_factory=lambda: [1.0, 5.0, 25.0, 50.0, 100.0])
    every_s: Number = 600.0
    guardrails: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CanaryStep:
    """A step as it went: percent, from when to when, requests on both sides, and why it ended or goes on."""

    weight: float
    since: float
    until: float | None
    requests: int
    requests_stable: int
    reason: str


@dataclass(frozen=True)
class CanaryView:
    """A canary (or guard) of an endpoint: where it is, what was found, what happens next."""

    endpoint: str
    kind: CanaryKind
    version: str
    stable: dict[str, float]
    state: CanaryState
    step: int
    steps: list[float]
    weight: float
    every_s: float
    started_at: float
    step_since: float
    next_at: float | None
    reason: str
    next: str
    guardrails: list[GuardrailView]
    history: list[CanaryStep] = field(default_factory=list)
    looked_at: float | None = None
    ended_at: float | None = None
