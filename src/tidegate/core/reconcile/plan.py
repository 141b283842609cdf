"""The reconciler's decision for one endpoint: `plan(fleet, world, limits)`. Pure; called by loops/reconcile every pass.

A change of traffic takes effect whole, when every version it names is ready; until then the old weights stay routed.

A replica is restarted in two steps. `reconcile_replicas.judge` finds that it failed, and the cause is kept in its
version's status (`reconcile_failures.record`) and for the logs command (`Plan.failed`). Then the version has one too
few, and `_starts` starts another as soon as back-off and quarantine allow. A replica that works is replaced where it is
outdated (`replacing.why_outdated`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tidegate.core.endpoints.effective import shares_of
from tidegate.core.engines.capabilities import PLACING_THEMSELVES
from tidegate.core.reconcile.failures import FailedReplica, lift_quarantine, record, rested
from tidegate.core.reconcile.fleet import (
    EndpointFacts,
    EngineAction,
    Failed,
    Fleet,
    Plan,
    ReconcileLimits,
    Replica,
    VariantFacts,
    World,
)
from tidegate.core.reconcile.replacing import replacements, why_outdated
from tidegate.core.reconcile.replicas import Verdict, drain, judge, stop
from tidegate.core.reconcile.status import endpoint_status, variant_status

GROWS_AT_ONCE = 2.0
"""A fleet that follows its load takes so many times the traffic it has without more replicas being there before."""


@dataclass(frozen=True)
class _Judged:
    """The fleet after looking at every replica once."""

    variants: dict[str, VariantFacts]
    replicas: list[Replica]
    gone: tuple[str, ...]
    actions: tuple[EngineAction, ...]
    events: tuple[str, ...]
    failed: tuple[Failed, ...]

    def of(self, version: str) -> list[Replica]:
        return [replica for replica in self.replicas if replica.version == version]

    def ready(self) -> dict[str, int]:
        """Ready replicas by version."""
        return {version: sum(r.state == "ready" for r in self.of(version)) for version in self.variants}


def plan(fleet: Fleet, world: World, limits: ReconcileLimits) -> Plan:
    """Look at every replica, decide the routing, then how many replicas each version shall have, then the words.

    Calling it again on its own result, with nothing changed outside, changes nothing: a restart means "run again".
    """
    judged = _judge_all(fleet, world, limits)
    if fleet.endpoint.deleted:
        return _remove(fleet.endpoint, judged, world)
    endpoint = replace(
        next_routed(fleet.endpoint, judged.ready()),
        observed_generation=fleet.endpoint.generation,
    )
    variants, stopped = _place(endpoint, judged, world, limits)
    starts = _starts(endpoint, variants, stopped.replicas, world)
    first_tries = [version for version in starts if not variants[version].attempts]
    replaced = replacements(judged.replicas, endpoint, first_tries)
    named = _named(endpoint, variants, stopped.replicas)
    ready = {version: sum(r.state == "ready" for r in stopped.of(version)) for version in named}
    endpoint = endpoint_status(endpoint, named, ready)
    return Plan(
        fleet=Fleet(endpoint, tuple(named.values()), tuple(stopped.replicas)),
        starts=starts,
        gone=stopped.gone,
        actions=stopped.actions,
        events=(
            *stopped.events,
            *(f"{endpoint.name}: {one.words}" for one in replaced),
            *_news(fleet, endpoint, named),
        ),
        failed=stopped.failed,
        replaced=replaced,
    )


def converged(fleet: Fleet) -> bool:
    """Whether only a change of the fleet itself (its rows, or what the engine says) could give `plan` anything to do.

    All that is in effect is there and answers, nothing else is, and no version has a record that time wears off.
    """
    endpoint = fleet.endpoint
    wanted = {version: endpoint.wanted(version) for version in endpoint.active}
    return (
        endpoint.status in ("ready", "asleep")
        and not endpoint.deleted
        and endpoint.observed_generation == endpoint.generation
        and endpoint.arrived
        and Counter(replica.version for replica in fleet.replicas) == Counter(wanted)
        and all(variant.version in wanted and _clean(variant) for variant in fleet.variants)
        and all(_serves(replica) and not why_outdated(replica, endpoint) for replica in fleet.replicas)
    )


def _clean(variant: VariantFacts) -> bool:
    """What delays a start is left out: nothing is to be started."""
    in_use = variant.idle_since is None and variant.quarantined_generation is None
    return in_use and not variant.attempts and not variant.crashes


def _serves(replica: Replica) -> bool:
    return (
        replica.state == "ready" and replica.unready_since is None and replica.seen is not None and replica.seen.ready
    )


def next_routed(endpoint: EndpointFacts, ready: dict[str, int]) -> EndpointFacts:
    """With the weights gateways shall use: the target once it can be served, else what they use now.

    version of the target                  | counts as there when
    ---------------------------------------|--------------------------------------------------------------
    has traffic already                    | one replica is ready (its loss must not block a change)
    new, while something else serves       | all wanted replicas are ready (it takes traffic at full strength)
    new, while nothing serves              | one replica is ready (a little is better than nothing)
    gets more than twice its traffic, by   | the autoscaler has decided how many replicas that takes, and those
    an autoscaler, while something serves  | that its share of the present load takes are ready (all where that is
                                           | not known; up to twice, those there are will do meanwhile)
    has traffic already, and sleeps        | at once: the next request wakes it

    A routed version whose replicas all died stays routed: gateways answer 503 with Retry-After, and nobody's share is
    moved to a version it was not meant for.
    """
    target = endpoint.target
    serving = any(ready.get(version, 0) > 0 for version in endpoint.routed)

    def there(version: str) -> bool:
        if endpoint.sleeps(version):
            return True
        before, after = endpoint.routed.get(version, 0.0), target[version]
        grows = after > GROWS_AT_ONCE * before if endpoint.shares is not None else version not in endpoint.routed
        if serving and grows and endpoint.awaits_decision(version, after):
            return False
        enough = endpoint.enough_of(version) if serving and grows else 1
        return ready.get(version, 0) >= max(enough, 1)

    if target and all(map(there, target)):
        return replace(endpoint, routed=target, routed_split=endpoint.split)
    return endpoint


def _judge_all(fleet: Fleet, world: World, limits: ReconcileLimits) -> _Judged:
    """Every replica's verdict, with the failures written into its variant's record."""
    endpoint = fleet.endpoint
    verdicts = [(replica, judge(replica, world, limits)) for replica in fleet.replicas]
    known = {variant.version: lift_quarantine(variant, endpoint) for variant in fleet.variants}
    versions = [*known, *endpoint.active, *(replica.version for replica in fleet.replicas)]
    variants = {}
    for version in dict.fromkeys(versions):
        mine = [verdict for replica, verdict in verdicts if replica.version == version]
        failures = [verdict.failure for verdict in mine if verdict.failure]
        became_ready = any(verdict.became_ready for verdict in mine)
        before = known.get(version, VariantFacts(version))
        variants[version] = record(before, failures, became_ready, endpoint, world, limits)
    return _Judged(
        variants=variants,
        replicas=[verdict.replica for _, verdict in verdicts if verdict.replica],
        gone=tuple(replica.id for replica, verdict in verdicts if verdict.replica is None),
        actions=tuple(verdict.action for _, verdict in verdicts if verdict.action),
        events=tuple(_events(endpoint, verdicts)),
        failed=tuple(_failed(replica, verdict.failure, world) for replica, verdict in verdicts if verdict.failure),
    )


def _failed(replica: Replica, failure: FailedReplica, world: World) -> Failed:
    seen = replica.seen
    exit_code, log_tail = (seen.exit_code, seen.log_tail) if seen else (None, ())
    return Failed(replica.id, replica.version, world.now, failure.kind, failure.cause, exit_code, log_tail)


def _events(endpoint: EndpointFacts, verdicts: Iterable[tuple[Replica, Verdict]]) -> Iterable[str]:
    for replica, verdict in verdicts:
        who = f"{endpoint.name}: replica {replica.id} of version {replica.version}"
        if verdict.failure:
            yield f"{who} failed: {verdict.failure.cause}"
        elif verdict.became_ready:
            yield f"{who} is ready"
        elif verdict.replica is None:
            yield f"{who} has ended"


def _place(
    endpoint: EndpointFacts, judged: _Judged, world: World, limits: ReconcileLimits
) -> tuple[dict[str, VariantFacts], _Judged]:
    """Mark versions with and without traffic; take out the replicas that are too many."""
    active = endpoint.active
    variants: dict[str, VariantFacts] = {}
    replicas: list[Replica] = []
    actions = list(judged.actions)
    ready = judged.ready()
    for version, variant in judged.variants.items():
        idle_since = None if version in active else (variant.idle_since or world.now)
        asleep = endpoint.sleeps(version)
        waking = asleep or (variant.waking and version in endpoint.routed and not ready[version])
        variants[version] = replace(rested(variant) if asleep else variant, idle_since=idle_since, waking=waking)
        kept = idle_since is None or world.now - idle_since < limits.keep_previous_s
        mine = judged.of(version)
        verdicts = _trim(
            mine, _keep(mine, endpoint, endpoint.wanted(version) if kept else 0, idle=idle_since is not None), world
        )
        replicas += [verdict.replica for verdict in verdicts if verdict.replica]
        actions += [verdict.action for verdict in verdicts if verdict.action]
    place = {replica.id: number for number, replica in enumerate(judged.replicas)}
    replicas.sort(key=lambda replica: place[replica.id])  # as they came: another order would be another fleet
    return variants, replace(judged, replicas=replicas, actions=tuple(actions))


def _keep(replicas: list[Replica], endpoint: EndpointFacts, wanted: int, *, idle: bool) -> set[str]:
    """The `wanted` best replicas, ready ones first, then the oldest; a version without traffic loads none.

    Replicas of a form that the version is no longer served in stay until ones of the new form are ready in their place.
    """
    ranks = {"ready": 0, "unready": 1, "starting": 2}
    live = sorted((r for r in replicas if r.live), key=lambda r: (ranks[r.state], r.created_at, r.id))
    fresh = [r for r in live if idle or not why_outdated(r, endpoint)][:wanted]
    there = sum(r.state == "ready" for r in fresh)
    outdated = [r for r in live if not idle and why_outdated(r, endpoint) and r.state != "starting"]
    old = outdated[: max(wanted - there, 0)]
    return {r.id for r in (*fresh, *old) if not (idle and r.state == "starting")}


def _trim(replicas: list[Replica], keep: set[str], world: World) -> list[Verdict]:
    return [Verdict(r) if not r.live or r.id in keep else _take_out(r, world) for r in replicas]


def _take_out(replica: Replica, world: World) -> Verdict:
    """A replica that gateways may route to drains first; one that is still loading is stopped at once."""
    if replica.state == "starting":
        return stop(replica, world, "no longer wanted")
    return Verdict(drain(replica, world.now))


def _starts(
    endpoint: EndpointFacts, variants: dict[str, VariantFacts], replicas: list[Replica], world: World
) -> tuple[str, ...]:
    """Which versions get new replicas now: those with traffic first, within the room there is for loading.

    None where the engine places them itself: `workloads.workload_counts` says how many it is asked for.
    """
    if endpoint.placement.backend in PLACING_THEMSELVES:
        return ()
    starts: list[str] = []
    for version in endpoint.active:
        variant = variants[version]
        if variant.quarantined_generation is not None or world.now < (variant.retry_at or 0.0):
            continue
        mine = [replica for replica in replicas if replica.version == version and replica.live]
        live = [replica for replica in mine if not why_outdated(replica, endpoint)]
        missing = endpoint.wanted(version) - len(live)
        # On probation one at a time, so that each failure is one try; a shadow so, to leave room for those that answer.
        if variant.attempts or version == endpoint.listens:
            missing = min(missing, 0 if any(r.state == "starting" for r in live) else 1)
        starts += [version] * missing
    return tuple(starts[: max(world.start_slots, 0)])


def _named(
    endpoint: EndpointFacts, variants: dict[str, VariantFacts], replicas: list[Replica]
) -> dict[str, VariantFacts]:
    """The variants worth a row, with status and reason: those with traffic or with replicas."""
    active = endpoint.active
    named = {}
    for version, variant in variants.items():
        mine = [replica for replica in replicas if replica.version == version]
        if version in active or mine:
            wanted = endpoint.wanted(version) if version in active else 0
            # Those that run where they no longer should serve on, but are not what was asked for.
            counted = [replica for replica in mine if not wanted or replica.placement == endpoint.placement]
            waits_for = next((replica.waits for replica in counted if replica.waits), "")
            asleep, says = endpoint.sleeps(version), endpoint.engine_says.get(version, "")
            named[version] = variant_status(variant, wanted, counted, waits_for, asleep=asleep, says=says)
    return named


def _remove(endpoint: EndpointFacts, judged: _Judged, world: World) -> Plan:
    """A deleted endpoint leaves the snapshot at once; its replicas drain; the row goes when they are gone."""
    verdicts = [_take_out(replica, world) if replica.live else Verdict(replica) for replica in judged.replicas]
    replicas = tuple(verdict.replica for verdict in verdicts if verdict.replica)
    running = {replica.version for replica in replicas}
    variants = tuple(
        replace(variant, status="stopping", reason="the endpoint is being deleted")
        for version, variant in judged.variants.items()
        if version in running
    )
    gone = replace(
        endpoint,
        routed={},
        routed_split=None,
        status="deleting",
        reason="waiting for its replicas to end",
        observed_generation=endpoint.generation,
    )
    return Plan(
        fleet=Fleet(gone, variants, replicas),
        gone=judged.gone,
        actions=(*judged.actions, *(verdict.action for verdict in verdicts if verdict.action)),
        removed=not replicas,
        events=judged.events if replicas else (*judged.events, f"{endpoint.name}: deleted"),
    )


def _news(before: Fleet, endpoint: EndpointFacts, variants: dict[str, VariantFacts]) -> Iterable[str]:
    old = before.endpoint
    if (endpoint.routed, endpoint.routed_split) != (old.routed, old.routed_split):
        yield f"{endpoint.name}: traffic is now {_weights(endpoint)}, it was {_weights(old)}"
    if endpoint.status != old.status:
        yield f"{endpoint.name}: {endpoint.status}{': ' if endpoint.reason else ''}{endpoint.reason}"
    known = {variant.version: variant for variant in before.variants}
    for version, variant in variants.items():
        was = known.get(version, VariantFacts(version)).quarantined_generation
        if variant.quarantined_generation is not None and was != variant.quarantined_generation:
            yield f"{endpoint.name}: version {version} is given up: {variant.cause}"


def _weights(endpoint: EndpointFacts) -> str:
    shares = shares_of(endpoint.routed, endpoint.routed_split)
    return " ".join(f"{share.variant}={share.weight:g}" for share in shares) or "nothing"
