"""The reconcile loop's hands: asks the backend what runs, starts and stops what was planned. Never decides."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from tidegate.clock import Clock, monotonic
from tidegate.core.fleet import Action, Fleet, Replica
from tidegate.core.ports import Backend, Handle, Observation, ReplicaSpec
from tidegate.errors import TidegateError
from tidegate.store import fleet as rows
from tidegate.store.engine import Store
from tidegate.store.fleet import LoadedFleet

log = logging.getLogger(__name__)

REVERT_EVERY_S = 10.0
GONE = Observation(alive=False, ready=False)


class Engine:
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
        self._failed: dict[str, Observation] = {}  # could not even be started

    def observe(self, loaded: list[LoadedFleet]) -> list[LoadedFleet]:
        """The fleets with what the backend says of each replica now, and with the handles only this engine knows."""
        handles = {key: handle for one in loaded for key, handle in one.handles.items()} | self._unsaved
        seen = dict(zip(handles, self._backend.observe(list(handles.values())), strict=True))
        return [replace(one, fleet=self._with_seen(one.fleet, seen)) for one in loaded]

    def _with_seen(self, fleet: Fleet, seen: Mapping[str, Observation]) -> Fleet:
        return replace(fleet, replicas=tuple(replace(r, seen=self._seen(r, seen)) for r in fleet.replicas))

    def _seen(self, replica: Replica, seen: Mapping[str, Observation]) -> Observation | None:
        if replica.id in seen:
            return seen[replica.id]
        if replica.state == "starting":
            return self._failed.get(replica.id)  # None: its row was written and its process is still to be started
        return GONE  # on its way out before it was ever started

    def revert_stale(self, loaded: list[LoadedFleet]) -> None:
        """Now and then: end what a former leader started after it had been replaced, which no row speaks of."""
        if monotonic() - self._reverted_at < REVERT_EVERY_S:
            return
        self._reverted_at = monotonic()
        known = [handle for one in loaded for handle in one.handles.values()]
        for handle in self._backend.orphans([*known, *self._unsaved.values()]):
            token = int(handle.data.get("token", 0))
            if token < self._token:
                log.warning(
                    "ending replica %s: started under token %d, now %d", handle.data["replica"], token, self._token
                )
                self._backend.kill(handle)

    def act(self, actions: Iterable[Action], handles: Mapping[str, Handle]) -> None:
        """Stop and kill as planned. An action for a replica that was never started is done already."""
        for action in actions:
            handle = self._unsaved.get(action.replica) or handles.get(action.replica)
            if handle is None:
                continue
            log.info("%s replica %s: %s", action.kind, action.replica, action.why)
            (self._backend.stop if action.kind == "stop" else self._backend.kill)(handle)

    def start_missing(self, one: LoadedFleet) -> None:
        """Start every replica whose row is there without a process, and note how to find it again."""
        for replica in one.fleet.replicas:
            started = replica.id in one.handles or replica.id in self._failed
            if replica.state == "starting" and not started:
                self._start(one.fleet, replica)

    def _start(self, fleet: Fleet, replica: Replica) -> None:
        endpoint = fleet.endpoint
        if replica.id not in self._unsaved:
            manifest = self._manifest_path(endpoint.model, replica.version)
            spec = ReplicaSpec(replica.id, endpoint.name, endpoint.model, replica.version, manifest, token=self._token)
            try:
                self._unsaved[replica.id] = self._backend.start(spec)
            except TidegateError as error:
                self._failed[replica.id] = Observation(False, False, log_tail=(error.message,))
                return
            log.info("%s: started replica %s of version %s", endpoint.name, replica.id, replica.version)
        with self._store.transaction() as tx:
            rows.save_handle(tx, replica.id, self._unsaved[replica.id], self._clock())
        del self._unsaved[replica.id]

    def forget(self, replica_ids: Iterable[str]) -> None:
        """Their rows are gone."""
        for replica_id in replica_ids:
            self._unsaved.pop(replica_id, None)
            self._failed.pop(replica_id, None)
