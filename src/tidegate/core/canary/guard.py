"""Whether a version that was given all traffic at once is to give it back. Pure; called every few seconds.

Nothing runs beside it, so it is judged by itself, on what cannot be right in any version: it answers 500, does not
answer within the deadline, answers NaN, or its process ends by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tidegate.wire.counts import counted

ALPHA = 1e-3
"""A version that is no worse than it may be is taken back with at most this probability, however often one looks."""
RATE_FREE = 0.02
"""Failures, or answers that are no numbers, up to this share of the requests, and up to twice what there was before."""
CRASHES_MAX = 2
ROUTED_WITHIN_S = 86_400.0
"""A version that is not routed after so long is not watched any longer."""

GuardVerdict = Literal["watch", "rollback", "done"]
LogAbove = Callable[[int, int, float], float]
"""The logarithm of the evidence, valid at every look, that so many of so many came at more than a rate."""


@dataclass(frozen=True)
class Ended:
    """How requests to a version ended: of so many, which failed (500), timed out (504) or were answered NaN."""

    requests: int = 0
    failed: int = 0
    timed_out: int = 0
    non_finite: int = 0

    @property
    def errors(self) -> int:
        return self.failed + self.timed_out


@dataclass(frozen=True)
class GuardFacts:
    """`routed_at`: since when all traffic goes to it. `ended` None: no gateway reports. `before`: of stable, of the
    minutes before the deployment. `crashes`: replicas that ended by themselves, none that was killed from outside.
    """

    now: float
    started_at: float
    routed_at: float | None
    ended: Ended | None
    before: Ended = Ended()
    crashes: int = 0


@dataclass(frozen=True)
class GuardDecision:
    """What to do, and why."""

    verdict: GuardVerdict
    reason: str


def watch(facts: GuardFacts, guard_s: float, above: LogAbove) -> GuardDecision:
    """Of these the first row that fits. `above` is the statistics: `sequential.exact.log_above`.

    what is known                                                  | then
    ---------------------------------------------------------------|------------------------------------
    gateways do not have it, for a day                             | done
    gateways do not have it yet                                    | watch
    more than two replicas ended by themselves                     | roll back
    more errors, or NaN, than can be chance                        | roll back
    the time is over                                               | done, in silence
    nothing is known, or too little                                | watch; no data is no fault
    """
    if facts.routed_at is None:
        gave_up = facts.now - facts.started_at > ROUTED_WITHIN_S
        return GuardDecision("done" if gave_up else "watch", "it has no traffic yet")
    ended = facts.ended
    if facts.crashes > CRASHES_MAX:
        return GuardDecision("rollback", f"{facts.crashes} of its replicas ended by themselves{_of(ended)}")
    if ended is not None and (why := _worse(ended, facts.before, above)):
        return GuardDecision("rollback", why)
    if facts.now - facts.routed_at >= guard_s:
        return GuardDecision("done", "nothing happened")
    return GuardDecision(
        "watch", "no report of gateways yet" if ended is None else f"{counted(ended.requests, 'request')}, fine"
    )


def _worse(ended: Ended, before: Ended, above: LogAbove) -> str:
    kinds: tuple[tuple[str, Callable[[Ended], int]], ...] = (
        ("failed or timed out", lambda one: one.errors),
        ("were answered with NaN or infinity", lambda one: one.non_finite),
    )
    for words, count in kinds:
        found, allowed = count(ended), _allowed(count(before), before.requests)
        if above(min(found, ended.requests), ended.requests, allowed) >= math.log(len(kinds) / ALPHA):
            detail = f" ({ended.failed} with 500, {ended.timed_out} timed out)" if words.startswith("failed") else ""
            was = f", of stable {count(before)} of {before.requests} before" if before.requests else ""
            return f"{found} of {counted(ended.requests, 'request')} {words}{detail}{was}"
    return ""


def _allowed(found: int, requests: int) -> float:
    """Twice what there was, with its uncertainty: one more of it might have been seen."""
    return min(0.9, max(RATE_FREE, 2 * (found + 1) / (requests + 1) if found else RATE_FREE))


def _of(ended: Ended | None) -> str:
    return "" if ended is None else f", after {counted(ended.requests, 'request')}"


def by_itself(exit_code: int | None) -> bool:
    """Whether a process ended by its own fault. One that was killed (by people, an engine that went, or for memory) may
    have been well; engines that know no negative codes add 128 to the signal's number.
    """
    if exit_code is None:
        return False
    signal = -exit_code if exit_code < 0 else exit_code - 128 if exit_code > 128 else None
    return exit_code != 0 and (signal is None or signal in _OWN_FAULTS)


_OWN_FAULTS = frozenset({4, 6, 7, 8, 11})
"""SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV."""
