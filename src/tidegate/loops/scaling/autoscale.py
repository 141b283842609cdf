"""The autoscaler's loop: looks at each version whose replicas follow its load, and writes how many there shall be.

Run by the control process while it leads. It never decides: `core.scaling.autoscale.decide` does. What it remembers
is in memory alone: a restart or a new leader begins with nothing, which shrinks no fleet before a whole window was
seen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tidegate.clock import Clock, monotonic, now
from tidegate.core.endpoints.effective import AutomatedReplicas
from tidegate.core.engines.placement import Placement
from tidegate.core.ports import Handle
from tidegate.core.scaling.autoscale import AutoscaleDecision, Memory, ScalingFacts, decide
from tidegate.core.scaling.load import Samples
from tidegate.core.scaling.switch import enough_for, needed_for
from tidegate.errors import NotLeader
from tidegate.loops.scaling.cpu import CpuOf, CpuSamples, Key
from tidegate.services.endpoints.scaling import Decisions
from tidegate.services.gateways.load import Load
from tidegate.store.database.engine import Store
from tidegate.store.endpoints.automation import set_replicas
from tidegate.store.endpoints.history import Entry
from tidegate.store.fleet.autoscaled import Autoscaled, RunningVersion, autoscaled
from tidegate.wire.endpoints.scaling import ScaleDecision, ScaleSamples

log = logging.getLogger(__name__)

LOOK_S = 2.0
ACTOR = "autoscaler"
_NOTHING = RunningVersion({}, None)
_ROUNDING = 1e-6


@dataclass(frozen=True)
class AutoscaleDependencies:
    """The dependencies of `Autoscaler`.

    `changed` wakes the reconcile loop after a commit; `ticks` is the monotonic clock of load's samples, so that
    setting the machine's time changes nothing. `wanted` names the endpoints for which a request waits at a gateway.

    `placement` is where replicas run of endpoints that do not say, `host` the one that local ones belong to.
    """

    store: Store
    load: Load
    cpu_of: CpuOf
    wanted: Callable[[], frozenset[str]]
    decisions: Decisions
    changed: Callable[[], None]
    placement: Placement
    host: str
    clock: Clock = now
    ticks: Clock = monotonic


@dataclass(frozen=True)
class TrafficShare:
    """Percent of the traffic that a number of replicas is for, and how many of them that takes at the present load."""

    percent: float
    enough: int | None = None


@dataclass(frozen=True)
class _Decided:
    """Of one version: what is shown of it, what is to be written, and what to remember."""

    shown: ScaleDecision
    count: AutomatedReplicas
    memory: Memory | None = None


class Autoscaler:
    """The loop's step: looks at every version that is scaled, and writes what was decided."""

    def __init__(self, dependencies: AutoscaleDependencies) -> None:
        self._dependencies = dependencies
        self._memories: dict[Key, Memory] = {}
        self._failed: dict[str, str] = {}  # at the last look, and why: each is logged once
        self._cpu = CpuSamples(dependencies.cpu_of)
        self._wanted: frozenset[str] = frozenset()

    def step(self) -> float:
        """Look at all; how long until the next look. What goes wrong with one endpoint leaves the others alone."""
        dependencies, at = self._dependencies, self._dependencies.ticks()
        self._wanted = dependencies.wanted()
        with dependencies.store.reading() as tx:
            found, unread = autoscaled(tx, dependencies.placement, dependencies.host)
        self._cpu.look(dict(_measured(found)), at)
        failed = {name: self._failure(name, error) for name, error in unread.items()}
        memories: dict[Key, Memory] = {}
        decisions: dict[str, list[ScaleDecision]] = {}
        for one in found:
            try:
                decided = _awake({version: self._decided(one, version, at) for version in _versions(one)}, one)
                self._write(one, decided)
            except NotLeader:
                raise
            except Exception as error:
                failed[one.seen.endpoint] = why = self._failure(one.seen.endpoint, error)
                decisions[one.seen.endpoint] = [_undecided(one, version, why) for version in _versions(one)]
                continue
            decisions[one.seen.endpoint] = [each.shown for each in decided.values()]
            kept = {_key(one, version): each.memory for version, each in decided.items()}
            memories |= {key: memory for key, memory in kept.items() if memory is not None}
        self._memories, self._failed = memories, failed
        dependencies.decisions.put(decisions)
        return LOOK_S

    def _failure(self, endpoint: str, error: Exception) -> str:
        """The failure in words; logged when it is new."""
        why = f"the last look failed: {error}"
        if self._failed.get(endpoint) != why:
            log.error("%s: not scaled, its replicas stay as they are", endpoint, exc_info=error)
        return why

    # -- one version -----------------------------------------------------------------------------------------------

    def _decided(self, one: Autoscaled, version: str, at: float) -> _Decided:
        """How many replicas it shall have.

        version                                   | replicas
        ------------------------------------------|---------------------------------------------------------------
        without traffic, which still runs         | one, for as long as it is kept
        gets more traffic than it has             | what the share it gets needs, once; then more if its load does
        has traffic                               | as its load says
        """
        if version in one.previous:
            return self._previous(one, version)
        percent, before = one.target.get(version, 0.0), one.routed.get(version, 0.0)
        facts = self._facts(one, version, at)
        if percent <= before:
            decision = decide(one.spec, facts, self._memories.get(_key(one, version), Memory()), at)
            return self._made(one, version, facts, decision, TrafficShare(before))
        known = one.counts.get(version)
        if known is None or known.share < percent - _ROUNDING:
            facts = replace(facts, desired=max(facts.desired, self._for_switch(one, percent, at)))
        # With an empty memory it never shrinks; and what comes after the switch begins with one.
        decision = decide(one.spec, facts, Memory(), at)
        if decision.desired == facts.desired:
            why = f"{facts.desired} for the {percent:g} % of the traffic that it gets; {decision.reason}"
            decision = replace(decision, rule="switch", reason=why)
        loads = [self._load(one, routed, at) for routed in one.routed]
        enough = enough_for(one.spec, percent, loads, at)
        return self._made(one, version, facts, replace(decision, memory=Memory()), TrafficShare(percent, enough))

    def _previous(self, one: Autoscaled, version: str) -> _Decided:
        ready = len(one.running.get(version, _NOTHING).ready)
        why = "no traffic: one is kept for a while, for a way back"
        return _Decided(
            ScaleDecision(version, 1, ready, "previous", why), _count(one, version, 1, TrafficShare(0.0), why)
        )

    def _for_switch(self, one: Autoscaled, percent: float, at: float) -> int:
        fleet = sum(one.now.wanted(version) for version in one.routed)
        return needed_for(one.spec, percent, fleet, [self._load(one, version, at) for version in one.routed], at)

    def _facts(self, one: Autoscaled, version: str, at: float) -> ScalingFacts:
        running = one.running.get(version, _NOTHING)
        # One that is new beside others has no number yet: people's own was for the others.
        has_one = version in one.counts or version in one.routed or not one.routed
        desired = one.now.wanted(version) if has_one else 0
        load = self._load(one, version, at)
        waiting = one.seen.endpoint in self._wanted
        requests = self._requests(one, version, load)
        return ScalingFacts(desired, len(running.ready), load, requests, running.cold_start_s, waiting)

    def _requests(self, one: Autoscaled, version: str, load: Samples) -> Samples:
        """Those in progress, of the version; where the endpoint may sleep, which is one matter of all, of all of it."""
        if one.spec.min_replicas == 0:
            versions = _versions(one)
        elif one.spec.metric == "concurrency":
            return load
        else:
            versions = [version]
        of = [self._dependencies.load.concurrency(one.seen.endpoint, each, one.spec.stable_s) for each in versions]
        points = {
            f"{gateway} {version}": samples
            for version, found in zip(versions, of, strict=True)
            for gateway, samples in found.points.items()
        }
        return Samples(points, frozenset().union(*(found.silent for found in of)))

    def _load(self, one: Autoscaled, version: str, at: float) -> Samples:
        place = one.seen.endpoint, version, one.spec.stable_s
        match one.spec.metric:
            case "concurrency":
                return self._dependencies.load.concurrency(*place)
            case "rps":
                return self._dependencies.load.requests(*place)
            case "cpu":
                return self._cpu.series(_key(one, version), one.spec.stable_s, at)

    def _made(
        self, one: Autoscaled, version: str, facts: ScalingFacts, decision: AutoscaleDecision, share: TrafficShare
    ) -> _Decided:
        spec, dependencies = one.spec, self._dependencies
        samples = ScaleSamples(
            metric=spec.metric,
            target=spec.target,
            stable=decision.stable,
            stable_s=spec.stable_s,
            panic=decision.panic,
            panic_s=spec.panic_s,
            need=decision.need,
            cold_start_s=facts.cold_start_s,
            silent=sorted(facts.load.silent),
        )
        present = dependencies.clock()
        next_at = None if decision.next_at is None else present + decision.next_at - dependencies.ticks()
        shown = ScaleDecision(
            version, decision.desired, facts.ready, decision.rule, decision.reason, samples, next_at, present
        )
        return _Decided(shown, _count(one, version, decision.desired, share, decision.reason), decision.memory)

    # -- writing ---------------------------------------------------------------------------------------------------

    def _write(self, one: Autoscaled, decided: dict[str, _Decided]) -> None:
        """Where a number, or what it is enough for, is another. A reason alone is not worth a write."""
        counts = {version: each.count for version, each in decided.items()}
        if counts == one.counts:
            return
        changes = [
            f"version {version}: {one.now.wanted(version)} → {count.replicas} ({count.reason})"
            for version, count in counts.items()
            if count.replicas != one.now.wanted(version)
        ]
        note = "; ".join(changes)
        entry = Entry("autoscale", self._dependencies.clock(), ACTOR, note=note)
        with self._dependencies.store.transaction() as tx:
            written = set_replicas(tx, one.seen, counts, entry)
        if written:
            if note:
                log.info("%s: %s", one.seen.endpoint, note)
            self._dependencies.changed()


def _awake(decided: dict[str, _Decided], one: Autoscaled) -> dict[str, _Decided]:
    """An endpoint sleeps as a whole: while one version with traffic has a replica the others keep one, for theirs."""
    active = [version for version in decided if version not in one.previous]
    if not any(decided[version].count.replicas for version in active):
        return decided
    why = "others of the endpoint's versions are awake"
    raised = {
        version: _Decided(
            replace(decided[version].shown, desired=1, rule="awake", reason=why),
            _count(one, version, 1, TrafficShare(decided[version].count.share), why),
            decided[version].memory,
        )
        for version in active
        if decided[version].count.replicas == 0
    }
    return decided | raised


def _key(one: Autoscaled, version: str) -> Key:
    """What was needed for another target says nothing."""
    return one.seen.uid, version, one.spec.metric, f"{one.spec.target:g}"


def _versions(one: Autoscaled) -> list[str]:
    return list(dict.fromkeys([*one.routed, *one.target, *one.previous]))


def _undecided(one: Autoscaled, version: str, why: str) -> ScaleDecision:
    ready = len(one.running.get(version, _NOTHING).ready)
    return ScaleDecision(version, one.now.wanted(version), ready, "unknown", why)


def _measured(found: Iterable[Autoscaled]) -> Iterable[tuple[Key, dict[str, Handle]]]:
    for one in found:
        if one.spec.metric == "cpu":
            for version, running in one.running.items():
                yield _key(one, version), running.ready


def _count(one: Autoscaled, version: str, replicas: int, share: TrafficShare, reason: str) -> AutomatedReplicas:
    """As it was, where only the reason would be another."""
    known = one.counts.get(version)
    if known is not None and (known.replicas, known.share, known.enough) == (replicas, share.percent, share.enough):
        return known
    return AutomatedReplicas(replicas, one.seen.revision, reason, share.percent, share.enough)
