"""The REST shapes of canaries, and of the guard that watches a new version. Times: seconds since the epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tidegate.wire.exact import STRICT, Flag, Number
from tidegate.wire.experiments.experiments import GuardrailView

CanaryKind = Literal["canary", "guard"]
CanaryState = Literal["running", "paused", "promoted", "aborted", "failed", "ended"]


@dataclass(frozen=True)
class CanaryRequest:
    """Take a version through steps of traffic, each for `every_s` and on evidence. The last step is 100.

    `version` is a number, a label or `@alias`. Guardrails in the grammar of experiments (`errors:margin=abs:0.01`,
    `latency:max=80`, `drift:off`) take the place of those by default: errors, latency, non_finite, drift, crashes.
    `accept_signature_change` and `end_automation` as in a deployment.
    """

    __pydantic_config__ = STRICT

    version: str = ""
    steps: list[Number] = field(default_factory=lambda: [1.0, 5.0, 25.0, 50.0, 100.0])
    every_s: Number = 600.0
    guardrails: list[str] = field(default_factory=list)
    accept_signature_change: Flag = False
    end_automation: Flag = False


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
