"""How many replicas of what an engine that places them itself is asked for, once a fleet is planned. Pure.

`plan` is the same for all engines: it looks at every replica, moves traffic, and has replicas leave in order. Where we
place replicas one by one, its starts and stops follow; here, a count for each workload does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tidegate.core.engines.capabilities import PLACING_THEMSELVES, POOLED
from tidegate.core.ports import ReplicaObservation
from tidegate.core.reconcile.fleet import EndpointFacts, Fleet, Replica
from tidegate.core.reconcile.replicas import drain
from tidegate.core.workloads import EngineScaling, Instance, WorkloadKey, WorkloadState

GONE = ReplicaObservation(alive=False, ready=False)


@dataclass(frozen=True)
class WorkloadCount:
    """How many replicas a workload shall have, and which instances are to go first; see `core.workloads.WorkloadSpec`.

    `scaling` is there while the engine counts them itself, from `count` on.
    """

    key: WorkloadKey
    count: int
    ending: tuple[str, ...] = ()
    scaling: EngineScaling | None = None


def is_placed(replica: Replica) -> bool:
    """Whether its engine placed it, and starts and ends it."""
    return replica.placement.backend in PLACING_THEMSELVES


def key_of(endpoint: EndpointFacts, version: str) -> WorkloadKey:
    """The workload in which a version shall run now."""
    return WorkloadKey(endpoint.name, version, endpoint.placement, endpoint.forms.get(version, ""))


def workload_counts(fleet: Fleet, now: float) -> tuple[WorkloadCount, ...]:
    """What is asked of engines that place replicas themselves; a workload that is not named is to be deleted.

    workload of                        | count
    -----------------------------------|----------------------------------------------------------------------------
    a version with traffic, as it      | as many as it shall have, and those that drain until gateways let go of them
    shall run now                      |
    the same, in quarantine            | those that drain
    the same, its start failed and is  | as many as there are: none is asked for before the pause is over
    tried again later                  |
    a version kept for a rollback, and | those that are there
    what is replaced by another one    |
    none of these, nothing left in it  | not named

    A pool shows no instances: it has as many as its version shall have, as long as it is needed at all.
    """
    rows: dict[WorkloadKey, list[Replica]] = {}
    for replica in filter(is_placed, fleet.replicas):
        key = WorkloadKey(fleet.endpoint.name, replica.version, replica.placement, replica.form or "")
        rows.setdefault(key, []).append(replica)
    wanted = _wanted(fleet, now)
    found = []
    for key in dict.fromkeys((*wanted, *rows)):
        mine = rows.get(key, [])
        draining = sum(replica.state == "draining" and not replica.terminating for replica in mine)
        live = sum(replica.live for replica in mine)
        count = (live if (asked := wanted.get(key)) is None else asked) + draining
        if key.placement.backend in POOLED and (live or draining or asked):
            count = fleet.endpoint.replicas_of(key.version)
        ending = tuple(sorted(replica.id for replica in mine if replica.state == "stopping"))
        scaling = fleet.endpoint.engine_scaling if wanted.get(key) is not None else None
        if key in wanted or count:
            found.append(WorkloadCount(key, count, ending, scaling))
    return tuple(found)


def _wanted(fleet: Fleet, now: float) -> dict[WorkloadKey, int | None]:
    """By workload of each version in use: how many replicas, None for those there are."""
    endpoint = fleet.endpoint
    if endpoint.deleted or endpoint.placement.backend not in PLACING_THEMSELVES:
        return {}
    records = {variant.version: variant for variant in fleet.variants}
    wanted: dict[WorkloadKey, int | None] = {}
    for version in endpoint.active:
        record, count = records.get(version), endpoint.wanted(version)
        if record is not None and record.quarantined_generation is not None:
            wanted[key_of(endpoint, version)] = 0
        elif record is not None and now < (record.retry_at or 0.0):
            wanted[key_of(endpoint, version)] = None
        else:
            wanted[key_of(endpoint, version)] = count
    return wanted


def observed(fleet: Fleet, backend: str, states: Sequence[WorkloadState] | None, now: float) -> Fleet:
    """The fleet with what this engine says: instances that are new are replicas from now on.

    `states` are those of this endpoint; None: the engine did not say, and nothing is known of any.

    replica                                | then
    ---------------------------------------|------------------------------------------------------------------
    the engine shows it                    | as shown
    the engine ends it (evicts the pod,    | drains: it leaves the routing snapshot
    empties its node), nobody here did     |
    the engine shows it no more            | gone, and that is no failure
    new, and dead already                  | a failed start
    """
    if states is None:
        return _each(fleet, backend, lambda one: replace(one, seen=None))
    shown = {instance.id: (state.key, instance) for state in states for instance in state.instances}
    known = {replica.id for replica in fleet.replicas}
    fleet = _each(fleet, backend, lambda one: _seen(one, shown.get(one.id), now))
    born = tuple(_born(key, instance, now) for id_, (key, instance) in shown.items() if id_ not in known)
    return replace(fleet, replicas=(*fleet.replicas, *born)) if born else fleet


def counted(
    endpoint: EndpointFacts, states: Sequence[WorkloadState] | None, replicas: Sequence[Replica]
) -> EndpointFacts:
    """With the counts that the engine decided, where it counts the replicas itself.

    of a version                               | counts
    -------------------------------------------|--------------------------------------------------------------------
    whose workload the engine shows            | what it decided
    any, while the engine does not say         | as many as there are: it is not known that fewer would do
    whose workload is not made yet             | as many as run in the one that it replaces
    none of it runs, others have the traffic   | its share of what those have: it takes over at full strength
    nothing runs                               | what people's spec has it begin with
    """
    scaling = endpoint.engine_scaling
    if scaling is None:
        return endpoint
    desired = {state.key: state.desired for state in states or ()}
    live = Counter((one.version, one.form, one.placement) for one in replicas if one.live)
    serving = sum(count for (of, _, _), count in live.items() if of in endpoint.routed)
    counts = {}
    for version in endpoint.active:
        there = max((count for (of, _, _), count in live.items() if of == version), default=None)
        found = desired.get(key_of(endpoint, version), there)
        if found is None and serving:
            found = math.ceil(serving * endpoint.target.get(version, 0.0) / 100)
        if found is not None:
            counts[version] = min(max(found, scaling.min), scaling.max)
    return replace(endpoint, counts={**endpoint.counts, **counts})


def waiting_for(
    endpoint: EndpointFacts, states: Sequence[WorkloadState], refused: Mapping[WorkloadKey, str]
) -> dict[str, str]:
    """Why there is no replica of a version yet, by version: what keeps the engine, or what it was asked in vain."""
    problems = {state.key: state.problem for state in states if state.problem} | dict(refused)
    keys = {version: key_of(endpoint, version) for version in endpoint.active}
    return {version: problems[key] for version, key in keys.items() if key in problems}


def unknown_since(backend: str, silent_since: float | None, why: str) -> str:
    """That an engine does not say what runs on it, in words, since when (seconds since the epoch), and why.

    >>> unknown_since("kubernetes", 0.0, "nothing answers at https://10.0.0.1:6443")
    'kubernetes has not answered since 1970-01-01 00:00:00Z (nothing answers at https://10.0.0.1:6443)'
    """
    at = None if silent_since is None else datetime.fromtimestamp(silent_since, UTC)
    since = "yet" if at is None else f"since {at:%Y-%m-%d %H:%M:%S}Z"
    return f"{backend} has not answered {since}" + (f" ({why})" if why else "")


def _each(fleet: Fleet, backend: str, change: Callable[[Replica], Replica]) -> Fleet:
    replicas = tuple(change(one) if one.placement.backend == backend else one for one in fleet.replicas)
    return replace(fleet, replicas=replicas)


def _seen(replica: Replica, found: tuple[WorkloadKey, Instance] | None, now: float) -> Replica:
    if found is None:
        return replace(_leaving(replica, now), seen=GONE)
    instance = found[1]
    replica = replace(replica, seen=instance.seen, waits=instance.waits, terminating=instance.terminating)
    return _leaving(replica, now) if instance.terminating and instance.seen.alive else replica


def _leaving(replica: Replica, now: float) -> Replica:
    return drain(replica, now) if replica.live else replica


def _born(key: WorkloadKey, instance: Instance, now: float) -> Replica:
    born = Replica(instance.id, key.version, "starting", now, form=key.form, placement=key.placement)
    return _seen(born, (key, instance), now)
