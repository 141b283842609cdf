"""What becomes of a canary at one look. Pure; called by `services.canaries` every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tidegate.core.canary.grammar import REQUIRED
from tidegate.wire.counts import counted
from tidegate.wire.experiments.experiments import GuardrailView

REQUESTS_MIN = 100
"""Of each side, before a step can end well."""
WARM_S = 60.0
"""A replica's first so many seconds are left out of latencies and of what a step needs; no more than a step takes."""

Verdict = Literal["wait", "advance", "promote", "abort", "fail"]


@dataclass(frozen=True)
class CanaryPlan:
    """What was asked for, and how far it has come: the place in `steps` whose weight is set."""

    steps: tuple[float, ...]
    every_s: float
    step: int
    paused: bool = False

    @property
    def is_last(self) -> bool:
        """Whether the next step is the promotion."""
        return self.step + 2 >= len(self.steps)


@dataclass(frozen=True)
class CanaryFacts:
    """What is known at a look. `routed_at`: since when gateways have the step's weights; None: they do not yet.

    `requests` and `requests_stable` are those of the step that count, on both sides. `affected`, of the `answered`
    since the canary began, got an error or no number. `broken` says why the version cannot run at all.
    """

    now: float
    routed_at: float | None
    requests: int
    requests_stable: int
    guardrails: Sequence[GuardrailView]
    answered: int = 0
    affected: int = 0
    broken: str = ""
    unreadable: str = ""


@dataclass(frozen=True)
class CanaryDecision:
    """What to do, why, and what people are told happens next. `next_at`: not before then."""

    verdict: Verdict
    reason: str
    next: str
    next_at: float | None = None


def decide(plan: CanaryPlan, facts: CanaryFacts) -> CanaryDecision:
    """Of these the first row that fits.

    what is known                                         | then
    ------------------------------------------------------|----------------------------------------------
    the version cannot run (quarantined, never starts)    | fail: back to stable
    a guardrail is breached, and is no dry run            | abort: back to stable
    what was captured cannot be read                      | wait; without evidence nothing advances or fails
    gateways do not have the step's weights yet           | wait for its replicas
    it is paused                                          | wait for a person; guardrails stay watched
    fewer than 100 requests on a side                     | wait for traffic, however long
    the step's time is not over                           | wait
    a guardrail is past its bound so far, and it is not   | wait for more requests, which tell
    certain yet                                           |
    the last step, and errors or latency are not shown to | wait for more requests
    be no worse                                           |
    the last step                                         | promote
    any other                                             | advance
    """
    return _ended(facts) or _held(plan, facts) or _at_its_end(plan, facts)


def _ended(facts: CanaryFacts) -> CanaryDecision | None:
    if facts.broken:
        return CanaryDecision("fail", facts.broken, "stable has all of the traffic again")
    breached = [one for one in facts.guardrails if one.state == "breached" and not one.dry_run]
    if breached:
        breaches = "; ".join(breach_words(one) for one in breached)
        return CanaryDecision("abort", f"{breaches}. {_affected(facts)}", "stable has all of the traffic again")
    return None


def _held(plan: CanaryPlan, facts: CanaryFacts) -> CanaryDecision | None:
    """What it waits for before its step can end."""
    if facts.unreadable:
        return CanaryDecision("wait", f"no evidence: {facts.unreadable}", "goes on when captured rows can be read")
    weight = plan.steps[plan.step]
    if facts.routed_at is None:
        return CanaryDecision("wait", f"replicas for {weight:g} % are made ready", f"{weight:g} % of the traffic")
    ends_at = facts.routed_at + plan.every_s
    if plan.paused:
        return CanaryDecision("wait", "paused; guardrails are watched on", "'tidegate canary resume' goes on")
    seen, following = _seen(facts), _following(plan)
    if min(facts.requests, facts.requests_stable) < REQUESTS_MIN:
        why = f"waiting for traffic: {seen}, of {REQUESTS_MIN} on each side"
        return CanaryDecision("wait", why, f"{following} with enough requests", max(ends_at, facts.now))
    if facts.now < ends_at:
        return CanaryDecision("wait", f"no breach in {seen}", f"{following} when the step's time is over", ends_at)
    return None


def _at_its_end(plan: CanaryPlan, facts: CanaryFacts) -> CanaryDecision:
    seen, following = _seen(facts), _following(plan)
    doubtful = [one.name for one in facts.guardrails if _is_doubtful(one)]
    if doubtful:
        why = f"{' and '.join(doubtful)} past what they may be so far, which may be chance: {seen}"
        return CanaryDecision("wait", why, "more requests tell")
    if not plan.is_last:
        return CanaryDecision("advance", f"no breach in {seen}", following)
    required = [one for one in facts.guardrails if one.name in REQUIRED and one.state != "ok" and not one.dry_run]
    share = next((one for one in required if _is_share_of_nothing(one)), None)
    if share is not None:
        why = f"{share.name} may be {share.margin:.0%} more than stable's, and stable has none so far: {seen}"
        return CanaryDecision(
            "wait", why, "'tidegate canary promote', or a canary with an amount, errors:margin=abs:0.01"
        )
    open_ = [one.name for one in required]
    if open_:
        why = f"{' and '.join(open_)} not shown to be no worse yet: {seen}"
        return CanaryDecision("wait", why, "the promotion with more requests, or 'tidegate canary promote'")
    return CanaryDecision("promote", f"no worse in {seen}", "it has all of the traffic")


def _is_share_of_nothing(one: GuardrailView) -> bool:
    return one.kind == "margin" and not one.absolute and one.value is None


def _is_doubtful(one: GuardrailView) -> bool:
    return one.state == "undecided" and one.value is not None and one.value > one.margin and not one.dry_run


def _seen(facts: CanaryFacts) -> str:
    return f"{counted(facts.requests, 'request')}, {facts.requests_stable} of stable"


def _following(plan: CanaryPlan) -> str:
    return "the promotion" if plan.is_last else f"{plan.steps[plan.step + 1]:g} %"


def breach_words(one: GuardrailView) -> str:
    """`errors 0.92, at least 0.7 more than stable; may be 0.01`."""
    value = "?" if one.value is None else f"{one.value:.3g}"
    least = "" if one.bound is None else f" (at least {one.bound:.3g})"
    return f"{one.name} breached: {value}{least}, and may be {one.margin:.3g}"


def _affected(facts: CanaryFacts) -> str:
    if not facts.answered:
        return "No request was affected"
    if facts.answered == 1:
        return f"The one request that it was given was {'' if facts.affected else 'not '}affected"
    were = "was" if facts.affected == 1 else "were"
    return f"{facts.affected} of the {facts.answered} requests that it was given {were} affected"
