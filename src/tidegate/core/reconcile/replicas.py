"""What became of one replica since the last pass: whether it became ready, failed, crashed, or is to be ended.

Pure; called by `reconcile.plan`, which starts others in place of those that failed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tidegate.core.ports import ReplicaObservation
from tidegate.core.reconcile.failures import FailedReplica, failure_of
from tidegate.core.reconcile.fleet import EngineAction, ReconcileLimits, Replica, World
from tidegate.core.reconcile.leaving import release


@dataclass(frozen=True)
class Verdict:
    """The replica as it is now (None: gone), how it failed, and what to do."""

    replica: Replica | None
    failure: FailedReplica | None = None
    action: EngineAction | None = None
    became_ready: bool = False


def judge(replica: Replica, world: World, limits: ReconcileLimits) -> Verdict:
    """One step of a replica's life.

    state            | the engine says          | then
    -----------------|--------------------------|-----------------------------------------------------------
    any              | nothing (unknown)        | as it was: unknown is not dead
    starting         | gone                     | row goes; a failed start
    starting         | answers                  | ready
    starting         | runs, its engine waits   | as it was: the time does not count
    starting         | runs, past ready_timeout | killed; a failed start
    ready, unready   | gone                     | row goes; a crash
    ready, unready   | answers                  | ready
    ready, unready   | runs, silent             | unready after silent_s, killed (a crash) after health_timeout_s
    draining         | runs                     | asked to stop once gateways have let go of it (core.reconcile.leaving)
    stopping         | runs                     | killed after stop_grace_s
    draining, stopping | gone                   | row goes
    """
    seen = replica.seen
    if seen is None:
        return Verdict(replica)
    if not seen.alive:
        return _gone(replica, seen)
    match replica.state:
        case "starting":
            return _starting(replica, seen, world, limits)
        case "ready" | "unready":
            return _serving(replica, seen, world, limits)
        case "draining":
            return _draining(replica, world, limits)
        case "stopping":
            return _stopping(replica, world, limits)


def stop(replica: Replica, world: World, why: str) -> Verdict:
    """Ask a replica that no gateway routes to (any more) to end."""
    stopping = replace(replica, state="stopping", stopping_at=world.now, reason="")
    return Verdict(stopping, action=EngineAction("stop", replica.id, why))


def drain(replica: Replica, now: float) -> Replica:
    """Take it out of the routing snapshot; it is stopped once gateways have let go of it."""
    return replace(replica, state="draining", draining_at=now, drain_revision=None)


def _gone(replica: Replica, seen: ReplicaObservation) -> Verdict:
    if not replica.live:
        return Verdict(None)
    return Verdict(None, failure_of("start" if replica.state == "starting" else "crash", seen))


def _starting(replica: Replica, seen: ReplicaObservation, world: World, limits: ReconcileLimits) -> Verdict:
    replica = replace(replica, address=seen.address)
    if seen.ready:
        return Verdict(replace(replica, state="ready", ready_at=world.now), became_ready=True)
    if replica.waits:
        long = world.now - replica.created_at >= limits.ready_timeout_s / 2
        return Verdict(replace(replica, created_at=world.now) if long else replica)
    if world.now - replica.created_at < limits.ready_timeout_s:
        return Verdict(replica)
    why = f"the replica did not become ready within {limits.ready_timeout_s:g} s"
    return _kill(replica, world, FailedReplica("start", _with_log(why, seen)))


def _serving(replica: Replica, seen: ReplicaObservation, world: World, limits: ReconcileLimits) -> Verdict:
    replica = replace(replica, address=seen.address)
    if seen.ready:
        return Verdict(replace(replica, state="ready", unready_since=None))
    since = replica.unready_since if replica.unready_since is not None else world.now
    replica = replace(replica, unready_since=since)
    if world.now - since >= limits.health_timeout_s:
        why = f"the replica did not answer its health check for {limits.health_timeout_s:g} s"
        return _kill(replica, world, FailedReplica("crash", _with_log(why, seen)))
    return Verdict(replace(replica, state="unready") if world.now - since >= limits.silent_s else replica)


def _draining(replica: Replica, world: World, limits: ReconcileLimits) -> Verdict:
    # A clock that was set back meanwhile begins the wait anew, and does not add to it.
    replica = replace(replica, draining_at=min(replica.draining_at or 0.0, world.now))
    found = release(replica, world, limits)
    return stop(replica, world, found.why) if found.free else Verdict(replace(replica, reason=found.why))


def _stopping(replica: Replica, world: World, limits: ReconcileLimits) -> Verdict:
    replica = replace(replica, stopping_at=min(replica.stopping_at or 0.0, world.now))
    if world.now - (replica.stopping_at or 0.0) < limits.stop_grace_s:
        return Verdict(replica)
    return Verdict(
        replica, action=EngineAction("kill", replica.id, f"still there {limits.stop_grace_s:g} s after SIGTERM")
    )


def _kill(replica: Replica, world: World, failure: FailedReplica) -> Verdict:
    stopping = replace(replica, state="stopping", stopping_at=world.now)
    return Verdict(stopping, failure, EngineAction("kill", replica.id, failure.cause))


def _with_log(why: str, seen: ReplicaObservation) -> str:
    lines = [line for line in seen.log_tail if line.strip()][-3:]
    return f"{why}; last log lines: {' | '.join(lines)}" if lines else why
