"""Carries out what `core.reconcile.plan` decided: observes, starts, stops and kills replicas by way of the backend.

Called by loops/reconcile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from tidegate.clock import Clock, monotonic
from tidegate.core.engines.capabilities import PLACING_THEMSELVES
from tidegate.core.ports import Backend, Handle, ReplicaObservation, ReplicaSpec
from tidegate.core.reconcile.failures import error_line
from tidegate.core.reconcile.fleet import EngineAction, Fleet, Replica
from tidegate.core.reconcile.workloads import GONE, is_placed
from tidegate.errors import (
    DiskFull,
    EngineUnavailable,
    ImagePending,
    NotLeader,
    OutOfResources,
    StoreUnavailable,
    TidegateError,
)
from tidegate.store.database.engine import Store
from tidegate.store.fleet import fleet as rows
from tidegate.store.fleet.fleet import LoadedFleet

log = logging.getLogger(__name__)

REVERT_EVERY_S = 10.0
WAITS_S = 1.0
"""A start that was not possible yet is tried again after so long."""
NOT_YET = (EngineUnavailable, ImagePending, DiskFull, OutOfResources)


class ReplicaEngine:
    """A backend, with what the store does not know of it yet. What it starts carries the lease's `token`."""

    def __init__(
        self,
        backend: Backend,
        store: Store,
        manifest_path: Callable[[str, str], Path],
        clock: Clock,
        token: int = 0,
    ) -> None:
        self._token = token
        self._reverted_at = -REVERT_EVERY_S
        self._backend = backend
        self._store = store
        self._manifest_path = manifest_path
        self._clock = clock
        self._unsaved: dict[str, Handle] = {}  # started, but the database did not take the handle
        self._failed: dict[str, ReplicaObservation] = {}  # could not even be started
        self._waiting: dict[str, tuple[float, str]] = {}  # cannot be started yet: when to try again, and why
        self._observed: dict[
            str, tuple[LoadedFleet, LoadedFleet]
        ] = {}  # by endpoint: as it was loaded, and as returned

    def observe(self, loaded: list[LoadedFleet]) -> list[LoadedFleet]:
        """The fleets with what the backend says of each replica now, and with the handles only this engine knows.

        A fleet that was loaded as it was the last time, and of which the backend says the same, is the same object.
        """
        handles = {
            key: handle
            for one in loaded
            for key, handle in one.handles.items()
            if handle.backend not in PLACING_THEMSELVES
        } | self._unsaved
        seen = dict(zip(handles, self._backend.observe(list(handles.values())), strict=True))
        self._observed = {one.fleet.endpoint.name: (one, self._with_seen(one, seen)) for one in loaded}
        return [observed for _, observed in self._observed.values()]

    def _with_seen(self, one: LoadedFleet, seen: Mapping[str, ReplicaObservation | None]) -> LoadedFleet:
        found = [(self._seen(replica, seen), self._waits(replica)) for replica in one.fleet.replicas]
        before, after = self._observed.get(one.fleet.endpoint.name, (None, one))
        if before is one and found == [(replica.seen, replica.waits) for replica in after.fleet.replicas]:
            return after
        replicas = [
            replace(replica, seen=seen_, waits=waits)
            for replica, (seen_, waits) in zip(one.fleet.replicas, found, strict=True)
        ]
        return replace(one, fleet=replace(one.fleet, replicas=tuple(replicas)))

    def _waits(self, replica: Replica) -> str:
        return self._waiting.get(replica.id, (0.0, ""))[1]

    def _seen(self, replica: Replica, seen: Mapping[str, ReplicaObservation | None]) -> ReplicaObservation | None:
        if replica.id in seen:
            return seen[replica.id]
        if replica.state == "starting":
            return self._failed.get(replica.id)  # None: its row was written and its process is still to be started
        return GONE  # on its way out before it was ever started

    def revert_stale(self, loaded: list[LoadedFleet]) -> None:
        """Now and then: end what runs without a row.

        A former leader started it after it had been replaced, or its engine did not answer when its row went.
        """
        if monotonic() - self._reverted_at < REVERT_EVERY_S:
            return
        self._reverted_at = monotonic()
        known = [handle for one in loaded for handle in one.handles.values()]
        wanted = {replica.id for one in loaded for replica in one.fleet.replicas}
        try:
            for handle in self._backend.orphans([*known, *self._unsaved.values()]):
                self._revert(handle, wanted)
        except EngineUnavailable as error:
            log.debug("what runs without a row is looked for later: %s", error)

    def _revert(self, handle: Handle, wanted: set[str]) -> None:
        token, replica = int(handle.data.get("token", 0)), str(handle.data["replica"])
        if token < self._token or replica not in wanted:
            log.warning("ending replica %s: nothing knows of it (its token is %d of %d)", replica, token, self._token)
            self._backend.kill(handle)

    def act(self, actions: Iterable[EngineAction], handles: Mapping[str, Handle]) -> None:
        """Stop and kill as planned. An action for a replica that was never started is done already."""
        for action in actions:
            handle = self._unsaved.get(action.replica) or handles.get(action.replica)
            if handle is None or handle.backend in PLACING_THEMSELVES:
                continue
            log.info("%s replica %s: %s", action.kind, action.replica, action.why)
            try:
                (self._backend.stop if action.kind == "stop" else self._backend.kill)(handle)
            except EngineUnavailable as error:  # the plan asks again
                log.warning("replica %s could not be ended: %s", action.replica, error)

    def start_missing(self, one: LoadedFleet, room: int) -> int:
        """Start every replica whose row is there without a process, and note how to find it again.

        Of those that had to wait, as many as there is room for; returns the room that is left.
        """
        for replica in one.fleet.replicas:
            if is_placed(replica):
                continue
            started = replica.id in one.handles or replica.id in self._failed
            if replica.state == "starting" and not started and self._may_start(replica, room):
                self._start(one.fleet, replica)
                room -= replica.id not in self._waiting
        return room

    def _may_start(self, replica: Replica, room: int) -> bool:
        """A new row was planned within the room there is; one that waited finds others in its place."""
        retry_at, _ = self._waiting.get(replica.id, (0.0, ""))
        return not replica.waits or (room > 0 and monotonic() >= retry_at)

    def _start(self, fleet: Fleet, replica: Replica) -> None:
        if replica.id not in self._unsaved and not self._started(fleet, replica):
            return
        with self._store.transaction() as tx:
            rows.save_handle(tx, replica.id, self._unsaved[replica.id], self._clock())
        del self._unsaved[replica.id]

    def _started(self, fleet: Fleet, replica: Replica) -> bool:
        endpoint = fleet.endpoint
        manifest = self._manifest_path(endpoint.model, replica.version)
        spec = ReplicaSpec(
            replica.id, endpoint.name, endpoint.model, replica.version, manifest, self._token, replica.placement
        )
        waited = self._waiting.pop(replica.id, None)
        try:
            self._unsaved[replica.id] = self._backend.start(spec)
        except NOT_YET as error:
            self._waiting[replica.id] = (monotonic() + WAITS_S, error.message)
            if waited is None or waited[1] != error.message:
                log.warning("%s: replica %s cannot start yet: %s", endpoint.name, replica.id, error.message)
            return False
        except (NotLeader, StoreUnavailable):
            raise
        except TidegateError as error:
            self._failed[replica.id] = ReplicaObservation(False, False, log_tail=(error_line(error.body()),))
            return False
        log.info("%s: started replica %s of version %s", endpoint.name, replica.id, replica.version)
        return True

    def forget(self, replica_ids: Iterable[str]) -> None:
        """Drop what is remembered of replicas whose rows are gone."""
        for replica_id in replica_ids:
            self._unsaved.pop(replica_id, None)
            self._failed.pop(replica_id, None)
            self._waiting.pop(replica_id, None)
