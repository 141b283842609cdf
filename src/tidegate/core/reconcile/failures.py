"""Why a replica failed, in words, and what that means for its version: restart count, back-off, quarantine.

Pure; called by `reconcile.plan`.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tidegate.core.ports import ReplicaObservation
from tidegate.core.reconcile.fleet import EndpointFacts, FailureKind, ReconcileLimits, VariantFacts, World

ERROR_PREFIX = "tidegate-error: "
"""A replica that cannot load its model prints this and a JSON body as its last line."""

LOG_LINES_SHOWN = 5

FAILED_STARTS_MAX_BY_CODE = {
    "not_a_model": 1,
    "pickle_not_granted": 1,
    "missing_library": 1,
    "missing_code": 1,
    "model_load_failed": 2,
    "artifact_damaged": 2,  # the second, in case it was just being put back
    "image_build_failed": 2,
    "wheel_missing": 2,
    "missing_extra": 1,
    "invalid_argument": 1,  # an engine's word: a name too long, what it cannot scale by
    "engine_refused": 2,
    "image_pull_failed": 3,  # a registry may be away for a while
}
"""Failures that another try will not mend; a load may also run out of memory, so it gets a second one."""


OF_THE_PLATFORM = frozenset(
    {"out_of_resources", "disk_full", "store_unavailable", "files_busy", "engine_unavailable", "part_unavailable"}
)
"""Failures of what a replica stands on, or has its version from: shown, tried again after a pause, and never counted
against a version.
"""
PLATFORM_PAUSE_OF = 3
"""The pause after one is as long as after so many failures of the version itself."""


@dataclass(frozen=True)
class FailedReplica:
    """One replica that failed: at its start, or after it had been ready (`crash`)."""

    kind: FailureKind
    cause: str
    code: str | None = None


def failure_of(kind: FailureKind, seen: ReplicaObservation) -> FailedReplica:
    """The failure of a replica that is gone."""
    code, message = _reported_error(seen.log_tail)
    if message:
        return FailedReplica(kind, message, code)
    cause = _exit_cause(seen.exit_code)
    lines = [line for line in seen.log_tail if line.strip()][-LOG_LINES_SHOWN:]
    return FailedReplica(kind, f"{cause}; last log lines: {' | '.join(lines)}" if lines else cause)


def error_line(body: Mapping[str, object]) -> str:
    """The last line of a replica that ended with this error, so that whatever fails is judged by its code."""
    return ERROR_PREFIX + json.dumps(body, default=str)


def _reported_error(log_tail: Sequence[str]) -> tuple[str | None, str | None]:
    lines = [line for line in log_tail if line.startswith(ERROR_PREFIX)]
    if not lines:
        return None, None
    try:
        body = json.loads(lines[-1].removeprefix(ERROR_PREFIX))
        return body.get("code"), str(body["error"])
    except (ValueError, KeyError, AttributeError):
        return None, lines[-1].removeprefix(ERROR_PREFIX)


def _exit_cause(exit_code: int | None) -> str:
    if exit_code is None:
        return "the replica ended"
    if exit_code >= 0:
        return f"the replica exited with code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    hint = " (out of memory?)" if -exit_code == signal.SIGKILL else ""
    return f"the replica was ended by {name}{hint}"


def lift_quarantine(variant: VariantFacts, endpoint: EndpointFacts) -> VariantFacts:
    """What concerns this very version (a person's change, its files made whole) clears the record and tries again.

    Other changes do not: an alias that was refused, another version that is deployed or repaired.
    """
    quarantined = variant.quarantined_generation
    if quarantined is None or quarantined >= endpoint.retries.get(variant.version, 0):
        return variant
    return replace(variant, quarantined_generation=None, attempts=0, crashes=(), retry_at=None)


def rested(variant: VariantFacts) -> VariantFacts:
    """A version that sleeps: starts that failed before say nothing of its next one, unless it is quarantined."""
    return replace(variant, attempts=0, retry_at=None) if variant.quarantined_generation is None else variant


def record(
    variant: VariantFacts,
    failures: Sequence[FailedReplica],
    became_ready: bool,
    fleet: EndpointFacts,
    world: World,
    limits: ReconcileLimits,
) -> VariantFacts:
    """The variant after what happened to its replicas since the last pass.

    attempts: failed starts in a row; a replica that becomes ready sets them to 0.
    crashes:  deaths of replicas that had been ready, within the window; more replicas may have more of them.

    The first death of each wanted replica is followed by a new one at once: calls may wait for it, and mostly its
    machine or engine was to blame. Pauses are for those that die again. What the platform itself lacked (descriptors,
    memory, disk) counts as neither.
    """
    others = [failure for failure in failures if failure.code in OF_THE_PLATFORM]
    failures = [failure for failure in failures if failure.code not in OF_THE_PLATFORM]
    crashes = tuple(at for at in variant.crashes if world.now - at < limits.crash_window_s)
    crashes += tuple(world.now for failure in failures if failure.kind == "crash")
    attempts = 0 if became_ready else variant.attempts
    attempts += sum(failure.kind == "start" for failure in failures)
    variant = replace(variant, attempts=attempts, crashes=crashes, restarts=variant.restarts + len(failures))
    if not failures:
        if others:
            retry_at = world.now + limits.backoff.delay_s(PLATFORM_PAUSE_OF, world.jitter)
            return replace(variant, cause=others[-1].cause, retry_at=retry_at)
        return variant
    wanted = max(fleet.wanted(variant.version), 1)
    delay_s = limits.backoff.delay_s(max(attempts, len(crashes) - wanted), world.jitter)
    variant = replace(variant, cause=failures[-1].cause, retry_at=world.now + delay_s)
    starts_max = min(FAILED_STARTS_MAX_BY_CODE.get(f.code or "", limits.failed_starts_max) for f in failures)
    if attempts >= starts_max or len(crashes) >= limits.crashes_max * wanted:
        return replace(variant, quarantined_generation=fleet.generation)
    return variant
