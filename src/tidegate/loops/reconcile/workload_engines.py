"""Carries out what was planned on engines that place replicas themselves: observes, asks for counts, deletes.

Called by loops/reconcile, beside `replica_engine`, which starts and ends replicas one by one on the other engines. What
these engines show of a replica becomes its row here: they start and replace replicas whenever they see fit.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tidegate.clock import Clock, monotonic, now
from tidegate.core.engines.capabilities import POOLED
from tidegate.core.ports import Handle, ReplicaObservation
from tidegate.core.reconcile.failures import error_line
from tidegate.core.reconcile.fleet import Fleet, Replica
from tidegate.core.reconcile.workloads import (
    WorkloadCount,
    counted,
    observed,
    unknown_since,
    waiting_for,
    workload_counts,
)
from tidegate.core.workloads import Instance, WorkloadKey, Workloads, WorkloadSpec, WorkloadState
from tidegate.errors import (
    NotLeader,
    StoreUnavailable,
    TidegateError,
)
from tidegate.loops.reconcile.engine_calls import EngineCalls, StillAsking
from tidegate.loops.reconcile.replica_engine import NOT_YET
from tidegate.store.fleet.fleet import LoadedFleet

T = TypeVar("T")
log = logging.getLogger(__name__)

WAITS_S = 1.0
"""What was not possible yet is asked for again after so long."""
AGAIN_S = 60.0
"""So often an engine is asked for what it was asked for before, in case it forgot."""
LOOKS_EVERY_S = 10.0
"""So often an engine is looked at on which nothing of this platform should be any more."""
PATIENCE_S = 10.0
"""For so long an engine that has not answered yet is taken to be as it was; then nothing is known of it."""
DEAD_KEPT = 10_000
ENGINES_USED_DIR = "engines"
"""In the data directory: a file for each engine elsewhere that was ever asked for something."""


class EnginesUsed:
    """Which engines may hold something of this platform; `folder` keeps it over a restart, None: in memory."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._names: set[str] = {file.name for file in folder.iterdir()} if folder and folder.is_dir() else set()

    def may_hold(self, name: str) -> bool:
        """Whether it was ever asked for anything."""
        return name in self._names

    def note(self, name: str) -> None:
        """It is asked for something now."""
        if name in self._names:
            return
        self._names.add(name)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            (self._folder / name).touch()


@dataclass
class _Asked:
    """What an engine was asked for last of a workload, when that may be tried again, and why it could not be done."""

    spec: WorkloadSpec
    again_at: float
    refused: str = ""


@dataclass
class WorkloadEngines:
    """`engines` by the name of their backend; `token` is of the lease under which they are asked.

    `used` tells of engines that may hold something of this platform though no endpoint is on them, and notes one that
    is asked for something.
    """

    engines: Mapping[str, Workloads] = field(default_factory=dict)
    manifest_path: Callable[[str, str], Path] = Path
    clock: Clock = now
    token: int = 0
    used: EnginesUsed = field(default_factory=EnginesUsed)
    ticks: Clock = monotonic
    _states: dict[str, Sequence[WorkloadState] | None] = field(default_factory=dict)
    _by_endpoint: dict[str, dict[str, list[WorkloadState]]] = field(default_factory=dict)  # the same, by engine
    _looked_at: dict[str, float] = field(default_factory=dict)
    _asked: dict[WorkloadKey, _Asked] = field(default_factory=dict)
    _wanted: set[WorkloadKey] = field(default_factory=set)  # in this pass
    _failed: dict[WorkloadKey, Instance] = field(default_factory=dict)  # what an engine will not do, as a dead instance
    _refusals: int = 0
    _dead: dict[str, None] = field(default_factory=dict)  # instances whose end is known already
    _born: set[str] = field(default_factory=set)  # replicas that have no row yet
    _calls: dict[str, EngineCalls] = field(default_factory=dict)
    _changed: set[str] = field(default_factory=set)  # engines that took something since they were looked at
    _complaints: dict[str, str] = field(default_factory=dict)  # why an engine is not known, as it was said last
    _silent_since: dict[str, float] = field(default_factory=dict)  # engines that did not say what is on them
    _undeleted: dict[WorkloadKey, tuple[float, str]] = field(default_factory=dict)  # again at; why not the last time
    _returned: dict[str, LoadedFleet] = field(default_factory=dict)

    def observe(self, loaded: list[LoadedFleet]) -> list[LoadedFleet]:
        """The fleets with what these engines show now. One of which they show the same is the object of last time."""
        if not self.engines:
            return loaded
        self._born = set()
        for calls in self._calls.values():
            calls.begin_pass()
        needed = {name for one in loaded for name in _backends(one.fleet)}
        self._states = {name: self._look(name, name in needed) for name in self.engines}
        self._by_endpoint = {name: _by_endpoint(states or ()) for name, states in self._states.items()}
        found = [self._observed(one) for one in loaded]
        for states in self._states.values():
            self._remember_dead(states or ())
        self._failed.clear()
        self._returned = {one.fleet.endpoint.name: one for one in found}
        return found

    def ask(self, fleet: Fleet) -> None:
        """Ask for what is planned of an endpoint."""
        if self.engines.keys().isdisjoint(_backends(fleet)):
            return
        for count in workload_counts(fleet, self.clock()):
            self._wanted.add(count.key)
            self._ask(fleet, count)

    def delete_others(self, untouched: frozenset[str]) -> None:
        """Have deleted what nobody has asked for since the last time, but for endpoints in `untouched`."""
        wanted, self._wanted = self._wanted, set()
        for name, states in self._states.items():
            for state in states or ():
                if state.key not in wanted and state.key.endpoint not in untouched:
                    self._delete(name, state.key)
        shown = {state.key for states in self._states.values() for state in states or ()}
        self._undeleted = {key: why for key, why in self._undeleted.items() if key in shown}
        for key in self._asked.keys() - wanted:
            if key.endpoint not in untouched:
                del self._asked[key]

    def born(self, one: LoadedFleet) -> dict[Replica, Handle]:
        """Replicas that an engine has made since the fleet was loaded, and how to find them."""
        return {replica: one.handles[replica.id] for replica in one.fleet.replicas if replica.id in self._born}

    # -- looking ---------------------------------------------------------------------------------------------------

    def _look(self, name: str, needed: bool) -> Sequence[WorkloadState] | None:
        """What is on an engine; None where it does not say. One that no endpoint needs is asked now and then."""
        if not needed and not self.used.may_hold(name):
            return ()
        every_s = self.engines[name].looks_every_s if needed else LOOKS_EVERY_S
        if name not in self._changed and self.ticks() - self._looked_at.get(name, -math.inf) < every_s:
            return self._states.get(name)
        first = name not in self._looked_at
        try:
            found = self._call(name, "observe", self.engines[name].observe)
        except StillAsking:
            self._silent_since.setdefault(name, self.clock())
            patient = self.ticks() - self._looked_at.get(name, -math.inf) < every_s + PATIENCE_S
            return self._states.get(name) if patient else None
        except (NotLeader, StoreUnavailable):
            raise
        except Exception as error:  # whatever it is: endpoints on other engines go on
            self._silent_since.setdefault(name, self.clock())
            self._complain(name, error)
            self._looked_at[name] = self.ticks()
            return None
        self._looked_at[name] = self.ticks()
        self._changed.discard(name)
        self._complaints.pop(name, None)
        self._silent_since.pop(name, None)
        if first:  # what ended before this term began was counted in the one before
            self._remember_dead(found)
        return found

    def _complain(self, name: str, error: Exception) -> None:
        """Once for each reason: why what runs on an engine is not known. Only a fault of ours has a traceback."""
        said = error.message if isinstance(error, TidegateError) else repr(error)
        if self._complaints.get(name) != said:
            self._complaints[name] = said
            fault = None if isinstance(error, TidegateError) else error
            log.warning("what runs on %s is not known: %s", name, said, exc_info=fault)

    def _call(self, name: str, what: Hashable, do: Callable[[], T]) -> T:
        calls = self._calls.get(name)
        if calls is None:
            calls = self._calls[name] = EngineCalls(name)
        return calls.ask(what, do)

    def _observed(self, one: LoadedFleet) -> LoadedFleet:
        names = _backends(one.fleet) & self.engines.keys()
        if not names:
            return one
        fleet, handles = one.fleet, dict(one.handles)
        endpoint = fleet.endpoint
        for name in sorted(names):
            mine = None if self._states[name] is None else self._of(endpoint.name, name, fleet)
            fleet = observed(fleet, name, mine, self.clock())
            if name == endpoint.placement.backend:
                refused = {key: asked.refused for key, asked in self._asked.items() if asked.refused}
                away = unknown_since(name, self._silent_since.get(name), self._complaints.get(name, ""))
                waits = dict.fromkeys(endpoint.active, away) if mine is None else waiting_for(endpoint, mine, refused)
                endpoint = replace(counted(endpoint, mine, fleet.replicas), engine_says=waits)
            for state in mine or ():
                handles |= {instance.id: instance.handle for instance in state.instances}
        found = replace(one, fleet=replace(fleet, endpoint=endpoint), handles=handles)
        self._born |= {replica.id for replica in fleet.replicas} - {replica.id for replica in one.fleet.replicas}
        before = self._returned.get(endpoint.name)
        if before == found:
            return before
        return one if found == one else found

    def _of(self, endpoint: str, name: str, fleet: Fleet) -> list[WorkloadState]:
        """Workloads of an endpoint, without instances whose end is known, and with what the engine will not do."""
        known = {replica.id for replica in fleet.replicas}
        mine = []
        for state in self._by_endpoint[name].get(endpoint, ()):
            news = [one for one in state.instances if one.id in known or one.id not in self._dead]
            mine.append(replace(state, instances=tuple(news)))
        for key, instance in self._failed.items():
            if key.endpoint == endpoint and key.placement.backend == name:
                mine.append(WorkloadState(key, self.token, 0, (instance,)))
        return mine

    def _remember_dead(self, states: Sequence[WorkloadState]) -> None:
        shown = [one for state in states for one in state.instances]
        self._dead |= dict.fromkeys(one.id for one in shown if not one.seen.alive)
        while len(self._dead) > DEAD_KEPT:
            del self._dead[next(iter(self._dead))]

    # -- asking ----------------------------------------------------------------------------------------------------

    def _ask(self, fleet: Fleet, count: WorkloadCount) -> None:
        key = count.key
        name = key.placement.backend
        engine = self.engines.get(name)
        if engine is None or self._states.get(name) is None:
            return
        state = next((one for one in self._by_endpoint[name].get(key.endpoint, ()) if one.key == key), None)
        if state is None and count.count == 0:
            return
        spec = self._spec(fleet, count)
        before = self._asked.get(key)
        if before is not None and not self._is_due(spec, before, state):
            return
        self._asked[key] = asked = _Asked(spec, self.ticks() + AGAIN_S)
        try:
            self.used.note(key.placement.backend)
            asked.spec = self._call(key.placement.backend, ("apply", key), lambda: _applied(engine, spec))
            self._changed.add(key.placement.backend)  # what changed is worth a look
        except StillAsking:
            asked.again_at = self.ticks()
        except (NotLeader, StoreUnavailable):
            raise
        except NOT_YET as error:
            asked.again_at, asked.refused = self.ticks() + WAITS_S, error.message
            if before is None or before.refused != error.message:
                log.warning("%s: version %s is not asked for yet: %s", key.endpoint, key.version, error.message)
        except TidegateError as error:
            self._failed[key] = self._refusal(key, error)
            asked.again_at = self.ticks() + WAITS_S  # and the plan's own pause holds it back

    def _is_due(self, spec: WorkloadSpec, before: _Asked, state: WorkloadState | None) -> bool:
        """Whether the engine is to be asked (again): it was not yet, or does not show what it was asked for."""
        if before.spec != replace(spec, cold_start_s=before.spec.cold_start_s):
            return not before.refused or self.ticks() >= before.again_at
        if self.ticks() >= before.again_at:
            return True
        if before.refused or state is None:
            return False  # asked, and it has not appeared yet
        if state.token != spec.token or (spec.scaling is None and state.desired != spec.count):
            return self.ticks() >= before.again_at - AGAIN_S + WAITS_S
        here = {one.id for one in state.instances if one.seen.alive and not one.terminating}
        return bool(here.intersection(spec.ending)) and self.ticks() >= before.again_at - AGAIN_S + WAITS_S

    def _spec(self, fleet: Fleet, count: WorkloadCount) -> WorkloadSpec:
        endpoint, key = fleet.endpoint, count.key
        starts = [
            replica.ready_at - replica.created_at
            for replica in fleet.replicas
            if replica.version == key.version and replica.ready_at is not None
        ]
        return WorkloadSpec(
            key=key,
            model=endpoint.model,
            manifest=self.manifest_path(endpoint.model, key.version),
            count=count.count,
            token=self.token,
            ending=count.ending,
            scaling=count.scaling,
            cold_start_s=max(starts) if starts else None,
            routed=dict(endpoint.routed) if key.placement.backend in POOLED else {},
        )

    def _refusal(self, key: WorkloadKey, error: TidegateError) -> Instance:
        """What an engine will not do is a start that failed, so that it is judged, counted and shown as one."""
        self._refusals += 1
        id_ = f"{key.endpoint}-v{key.version}-{key.suffix}.refused-{self.token}-{self._refusals}"
        log.warning("%s: version %s is refused: %s", key.endpoint, key.version, error.message)
        seen = ReplicaObservation(alive=False, ready=False, log_tail=(error_line(error.body()),))
        return Instance(id_, Handle(key.placement.backend, {"replica": id_, "token": self.token}), seen)

    def _delete(self, name: str, key: WorkloadKey) -> None:
        again_at, why = self._undeleted.get(key, (-math.inf, ""))
        if self.ticks() < again_at:
            return
        try:
            self._call(name, ("delete", key), lambda: self.engines[name].delete(key, self.token))
        except StillAsking:
            return
        except (NotLeader, StoreUnavailable):
            raise
        except TidegateError as error:  # it is asked again, and others are not kept waiting
            self._undeleted[key] = self.ticks() + WAITS_S, error.message
            if error.message != why:
                log.warning("%s: version %s is not deleted on %s: %s", key.endpoint, key.version, name, error.message)
        else:
            self._undeleted.pop(key, None)
            self._changed.add(name)
            log.info("%s: deleted version %s on %s", key.endpoint, key.version, name)


def _applied(engine: Workloads, spec: WorkloadSpec) -> WorkloadSpec:
    """What the engine was asked for: by the time it answers, something else may be planned."""
    engine.apply(spec)
    return spec


def _backends(fleet: Fleet) -> set[str]:
    """The engines that an endpoint is on, or was until now."""
    return {fleet.endpoint.placement.backend, *(replica.placement.backend for replica in fleet.replicas)}


def _by_endpoint(states: Iterable[WorkloadState]) -> dict[str, list[WorkloadState]]:
    found: dict[str, list[WorkloadState]] = {}
    for state in states:
        found.setdefault(state.key.endpoint, []).append(state)
    return found
