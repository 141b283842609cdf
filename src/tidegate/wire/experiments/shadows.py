"""The REST shapes of shadows: a copy of the traffic for a version whose answers are compared and thrown away."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.wire.exact import STRICT, Number

SHED = "shadow_shed"
"""What the reasons begin with for which a request was not copied to a shadow, among its recorded failures."""


@dataclass(frozen=True)
class ShadowRequest:
    """Send a copy of `share` percent of the traffic to a version. 0 ends it."""

    __pydantic_config__ = STRICT

    version: str
    share: Number


@dataclass(frozen=True)
class ShadowSummary:
    """The version that shadows an endpoint, as the endpoint's own view has it: how its replicas are, and why."""

    version: str
    share: float
    since: float
    status: str
    reason: str


@dataclass(frozen=True)
class PairedView:
    """The paired test on labelled units: right and wrong of both versions. None where nothing can be known."""

    units: int
    both_right: int
    only_live: int
    only_shadow: int
    both_wrong: int
    difference: float | None
    lower: float | None
    upper: float | None
    p_value: float | None
    significant: bool
    winner: str | None
    verdict: str


@dataclass(frozen=True)
class ShadowView:
    """A shadow and what it came to: pairs of answers, how far they agree, its latency beside that of live answers.

    `agreement` is the share of rows with the same answer (numbers: within one part in a million), `difference` the
    mean absolute difference of numeric outputs. `failures` are copies that failed, `shed` requests that were not copied
    as there was no room. All of it is of the time from `compared_since` (`since`, until there are very many rows) to
    `compared_until`: what was compared is kept for up to a minute where it took long. None is what nothing is known of.
    """

    endpoint: str
    version: str
    share: float
    since: float
    status: str
    reason: str
    pairs: int
    agreement: float | None
    difference: float | None
    latency_p50_ms: float | None
    latency_p95_ms: float | None
    live_p50_ms: float | None
    live_p95_ms: float | None
    failures: int
    shed: int
    compared_since: float = 0.0
    paired: PairedView | None = None
    compared_until: float = 0.0
