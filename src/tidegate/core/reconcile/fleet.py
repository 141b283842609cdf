"""The facts a reconciler decides on, and its decisions, as plain values. Built by loops from rows and observations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from tidegate.core.backoff import Backoff
from tidegate.core.endpoints.effective import Split
from tidegate.core.endpoints.serving import ServingValues, none_set
from tidegate.core.endpoints.shadow import ShadowSpec, is_live, replicas_for
from tidegate.core.engines.capabilities import POOLED
from tidegate.core.engines.placement import Placement
from tidegate.core.ports import ReplicaObservation
from tidegate.core.workloads import EngineScaling
from tidegate.wire.gateways.snapshot import CaptureRules

ReplicaState = Literal["starting", "ready", "unready", "draining", "stopping"]
VariantStatus = Literal["starting", "ready", "degraded", "failed", "stopping", "idle", "asleep"]
EndpointStatus = Literal["deploying", "ready", "degraded", "failed", "deleting", "asleep"]
ActionKind = Literal["stop", "kill"]
FailureKind = Literal["start", "crash"]

_ROUNDING = 1e-6
LIVE: frozenset[ReplicaState] = frozenset({"starting", "ready", "unready"})
"""States of replicas that count towards the number wanted; the others are on their way out."""


@dataclass(frozen=True)
class ReconcileLimits:
    """Bounds of the reconciler."""

    ready_timeout_s: float = 120.0
    keep_previous_s: float = 600.0
    drain_s: float = 5.0  # without any gateway, a replica that left the snapshot ends after so long
    gateway_silent_s: float = 30.0  # a gateway that said nothing for so long holds no replica up ...
    leave_s: float = 60.0  # ... and one that goes on using it, or takes no snapshot, no longer than this
    stop_grace_s: float = 10.0
    silent_s: float = 3.0  # alive without an answer for so long: unready
    health_timeout_s: float = 30.0  # ... and for so long: started anew
    failed_starts_max: int = 5
    crashes_max: int = 5  # per wanted replica, within the window
    crash_window_s: float = 300.0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True)
class Replica:
    """One replica: its row, and what the engine says of it (None: not started yet, or the engine did not say)."""

    id: str
    version: str
    state: ReplicaState
    created_at: float
    ready_at: float | None = None
    unready_since: float | None = None
    draining_at: float | None = None
    drain_revision: int | None = None
    stopping_at: float | None = None
    address: str | None = None
    reason: str = ""
    form: str | None = None  # of the model it was started with, "" the original; None: unknown
    placement: Placement = Placement()
    seen: ReplicaObservation | None = None
    waits: str = ""  # why the engine has not started it yet, where that is no failure
    terminating: bool = False  # an engine that placed it ends it, whoever asked for that

    @property
    def live(self) -> bool:
        """Whether it counts towards the number wanted."""
        return self.state in LIVE


@dataclass(frozen=True)
class VariantFacts:
    """Status of one version of an endpoint, and its record of failures."""

    version: str
    status: VariantStatus = "starting"
    reason: str = ""
    cause: str = ""
    idle_since: float | None = None
    attempts: int = 0
    crashes: tuple[float, ...] = ()
    restarts: int = 0
    retry_at: float | None = None
    quarantined_generation: int | None = None
    waking: bool = False  # it has traffic, slept, and has had no replica ready since: requests for it wait


@dataclass(frozen=True)
class EndpointFacts:
    """What is in effect (traffic by version, replicas, deleted, cache, limit) and status (the rest) of an endpoint.

    `split` and `routed_split` are there while an automation sets, and gateways have, the weights of named variants.
    """

    name: str
    model: str
    traffic: dict[str, float]
    replicas: int  # per version, but for those in `counts`
    generation: int
    deleted: bool = False
    status: EndpointStatus = "deploying"
    reason: str = ""
    routed: dict[str, float] = field(default_factory=dict)
    observed_generation: int = 0
    retries: dict[str, int] = field(default_factory=dict)  # version -> newest generation that asks to start it anew
    forms: dict[str, str] = field(default_factory=dict)  # version -> form it is served in now, "" the original
    settings: ServingValues = field(default_factory=none_set)
    capture: CaptureRules = CaptureRules()
    placement: Placement = Placement()  # of the replicas that shall run
    counts: dict[str, int] = field(default_factory=dict)  # version -> replicas, where the autoscaler decided
    shares: dict[str, float] | None = None  # version -> percent of traffic that is enough for; None: no autoscaler
    enough: dict[str, int] = field(default_factory=dict)  # version -> replicas that a switch waits for, if not all
    split: Split | None = None
    routed_split: Split | None = None

    shadow: ShadowSpec | None = None  # the version that listens

    may_sleep: bool = False  # without requests it has no replicas, and the next request waits for one
    engine_scaling: EngineScaling | None = None  # while the engine counts the replicas itself
    engine_says: dict[str, str] = field(default_factory=dict)  # version -> what its engine says of it, or is waited for

    def wanted(self, version: str) -> int:
        """Replicas that a version with traffic, or the shadow, shall have; a pool of them counts as one. One that has
        no traffic yet has to prove itself, if all sleep.

        None is no number where people ask for at least one by now, whatever was decided before they did.
        """
        return 1 if self.placement.backend in POOLED else self.replicas_of(version)

    def replicas_of(self, version: str) -> int:
        """As `wanted`, where each replica in a pool counts."""
        if self.shadow is not None and version == self.listens:
            return replicas_for(self.shadow.share, map(self.wanted, self.routed or self.target))
        count = self.counts.get(version, self.replicas)
        return count if self.may_sleep and version in self.routed else max(count, 1)

    @property
    def listens(self) -> str | None:
        """The version that shadows the endpoint, unless it has traffic, or shall have some."""
        shadow = self.shadow
        return None if shadow is None or is_live(shadow.version, self.traffic, self.routed) else shadow.version

    @property
    def active(self) -> tuple[str, ...]:
        """Versions of which replicas run: those with traffic, those that shall have some, and last the shadow."""
        listens = () if self.listens is None else (self.listens,)
        return (*dict.fromkeys((*self.routed, *self.target)), *listens)

    def enough_of(self, version: str) -> int:
        """Ready replicas with which a version may take over more of the traffic; the others follow."""
        return min(self.enough.get(version, self.wanted(version)), self.wanted(version))

    def sleeps(self, version: str) -> bool:
        """Whether a version that has traffic, or the shadow, shall have no replica now."""
        return (version in self.routed or version == self.listens) and self.wanted(version) == 0

    def awaits_decision(self, version: str, percent: float) -> bool:
        """Whether the autoscaler has still to say how many replicas it takes for so much of the traffic."""
        return self.shares is not None and self.shares.get(version, 0.0) < percent - _ROUNDING

    @property
    def arrived(self) -> bool:
        """Whether gateways have what shall be routed."""
        return (self.routed, self.routed_split) == (self.target, self.split)

    @property
    def target(self) -> dict[str, float]:
        """The versions that shall get traffic."""
        return {version: weight for version, weight in self.traffic.items() if weight > 0}


@dataclass(frozen=True)
class Fleet:
    """One endpoint with all that runs for it."""

    endpoint: EndpointFacts
    variants: tuple[VariantFacts, ...] = ()
    replicas: tuple[Replica, ...] = ()


@dataclass(frozen=True)
class GatewayFacts:
    """What a gateway that may be routing said last, `silent_s` ago: which snapshot it routes by (None: nothing yet),
    and the replicas that this does not list, but whose answers it waits for.
    """

    id: str
    revision: int | None
    silent_s: float = 0.0
    in_use: frozenset[str] = frozenset()


@dataclass(frozen=True)
class World:
    """What is true outside the endpoint: time, chance, room to start, and the gateways.

    `listening_s` is for how long any gateway could have said something.
    """

    now: float
    jitter: float = 0.0
    start_slots: int = 1
    gateways: tuple[GatewayFacts, ...] = ()
    listening_s: float = math.inf


@dataclass(frozen=True)
class EngineAction:
    """What to ask of the engine once the plan is committed."""

    kind: ActionKind
    replica: str
    why: str


@dataclass(frozen=True)
class Failed:
    """A replica that failed, as it is remembered: `kind` is "start" before it was ever ready, else "crash".

    `exit_code` is negative for a signal, None where the engine cannot tell or the replica was still there.
    """

    replica: str
    version: str
    at: float
    kind: FailureKind
    cause: str
    exit_code: int | None = None
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Replaced:
    """A version whose replicas, so many, work and are replaced all the same, and why."""

    version: str
    count: int
    why: str

    @property
    def words(self) -> str:
        """For history and the log."""
        its = "its replica is" if self.count == 1 else f"its {self.count} replicas are"
        return f"version {self.version}: {its} replaced: {self.why}"


@dataclass(frozen=True)
class Plan:
    """The fleet as it shall be written, and what to do.

    `starts` names a version once for each replica to start. `gone` are replicas whose rows go, `failed` those that came
    to grief since the last pass. `removed`: the endpoint itself goes. `events` are sentences for the log, `replaced`
    replacements that begin, for history.
    """

    fleet: Fleet
    starts: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    actions: tuple[EngineAction, ...] = ()
    removed: bool = False
    events: tuple[str, ...] = ()
    replaced: tuple[Replaced, ...] = ()
    failed: tuple[Failed, ...] = ()
