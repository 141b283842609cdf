"""The first and the last step of a control plane: take over the replicas that run, and end them all. No decisions.

What ended while no control plane watched is no crash: its row goes, and the loop starts it again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tidegate.clock import Clock, monotonic, now
from tidegate.core.engines.placement import PROCESSES
from tidegate.core.ports import Backend, Handle
from tidegate.errors import EngineUnavailable
from tidegate.store.database.engine import Store
from tidegate.store.fleet import fleet as rows
from tidegate.store.fleet.fleets import Fleets

log = logging.getLogger(__name__)

POLL_S = 0.1


def adopt(store: Store, backend: Backend, host: str, clock: Clock = now) -> int:
    """Bring the rows in line with what runs: once, before the loop's first pass. Returns how many replicas run on
    (on `host`).

    A process whose row has no handle (the control plane died between the two) gets it; one without a row is ended.
    What an engine that does not answer runs is unknown, and left as it is: the loop sees to it later.
    """
    with store.reading() as tx:
        loaded = Fleets(PROCESSES, host).read(tx)
    handles = {key: handle for one in loaded for key, handle in one.handles.items()}
    waiting = {r.id for one in loaded for r in one.fleet.replicas if r.id not in handles and r.state == "starting"}
    found = _found_again(backend, list(handles.values()), waiting)
    observed = dict(zip(handles, backend.observe(list(handles.values())), strict=True))
    dead = [replica_id for replica_id, seen in observed.items() if seen is not None and not seen.alive]
    with store.transaction() as tx:
        for replica_id, handle in found.items():
            rows.save_handle(tx, replica_id, handle, clock())
        rows.forget_replicas(tx, dead)
        rows.lift_quarantines(tx)
    alive = len(handles) - len(dead) + len(found)
    if handles or found:
        log.info("took over %d running replicas; %d had ended meanwhile", alive, len(dead))
    return alive


def _found_again(backend: Backend, known: list[Handle], waiting: set[str]) -> dict[str, Handle]:
    found = {}
    for handle in backend.orphans(known):
        replica_id = str(handle.data["replica"])
        if replica_id in waiting:
            found[replica_id] = handle
        else:
            log.warning("ending replica %s: it runs, but nothing knows of it", replica_id)
            _ask(backend.kill, handle)
    return found


def stop_replicas(backend: Backend, timeout_s: float, at_once: threading.Event) -> None:
    """End this platform's replicas on this host, known to the store or not; within `timeout_s`, or once `at_once` is
    set. Those on an engine that hosts share serve on.
    """
    running = backend.on_this_host()
    if why := backend.unavailable_reason():
        log.warning("containers may go on running: %s", why)
    for handle in running:
        _ask(backend.stop, handle)
    deadline = monotonic() + timeout_s
    while running and monotonic() < deadline and not at_once.wait(POLL_S):
        running = [h for h, seen in zip(running, backend.observe(running), strict=True) if seen is None or seen.alive]
    for handle in running:
        log.warning("replica %s did not end in time and is killed", handle.data["replica"])
        _ask(backend.kill, handle)
    backend.observe(running)


def _ask(do: Callable[[Handle], None], handle: Handle) -> None:
    """An engine that does not answer keeps nothing else from ending."""
    try:
        do(handle)
    except EngineUnavailable as error:
        log.warning("replica %s: %s", handle.data["replica"], error)
