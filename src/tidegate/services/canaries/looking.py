"""One look at a canary: its captured requests, its replicas, what that decides, and the deed in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.core.canary.decide import WARM_S, CanaryDecision, CanaryFacts, CanaryPlan, decide
from tidegate.core.canary.grammar import guardrails
from tidegate.core.captured import CapturedRows
from tidegate.errors import CaptureUnreadable
from tidegate.services.canaries import changes
from tidegate.services.canaries.by_key import BEFORE_S, before
from tidegate.services.canaries.by_key import ROWS_MAX as BEFORE_ROWS_MAX
from tidegate.services.canaries.evidence import REFUSED, ROWS_MAX, ComparedSides, Side, StepWindow, gather
from tidegate.services.canaries.guarding import AnsweredSince
from tidegate.services.canaries.judging import alphas_of, breached, judge, slow_requests
from tidegate.services.canaries.tallies import CanaryTally
from tidegate.store.database.engine import Store
from tidegate.store.endpoints.automation import effective_of
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.experiments import canaries as rows
from tidegate.store.experiments import rollouts
from tidegate.store.fleet.fleet import capture_rules_of, routed_split_of
from tidegate.store.models import models as model_rows
from tidegate.store.tables import EndpointRow
from tidegate.store.tables.canaries import CanaryRow
from tidegate.wire.decoding import convert
from tidegate.wire.experiments.experiments import GuardrailView
from tidegate.wire.parts import AnsweredView
from tidegate.wire.signature import Signature

log = logging.getLogger(__name__)

SPAN_S_MIN = 30.0
_NOTHING = ComparedSides()


@dataclass(frozen=True)
class CanaryLook:
    """A canary and its endpoint as they were when the look began; None where it no longer sets the weights."""

    canary: CanaryRow
    is_in_effect: bool
    is_routed: bool = False
    ready_at: tuple[float, ...] = ()
    crashes: tuple[int, int] = (0, 0)
    broken: str = ""
    signature: Signature | None = None
    is_recorded: bool = True


@dataclass
class CanaryLooks:
    """`store` is the leader's, `capture` what gateways recorded, `answered` what they count of a version since then;
    `changed` wakes the reconcile loop after a commit.
    """

    store: Store
    capture: CapturedRows
    answered: AnsweredSince
    clock: Clock
    changed: Callable[[], None]
    _spans: dict[int, float] = field(default_factory=dict)
    _before: dict[int, Mapping[str, CanaryTally]] = field(default_factory=dict)

    def look(self, number: int, *, is_due: bool = True) -> bool:
        """At one canary; captured rows are read where that `is_due`, or where gateways' counts look like a breach.

        Whether they were read. Raises what the store raises.
        """
        now = self.clock()
        with self.store.reading() as tx:
            seen = _seen(tx, number)
        if seen is None:
            return False
        if not seen.is_in_effect:
            self._write(number, seen, None, now)
            return False
        if not is_due and not self._looks_bad(seen):
            return False
        seen.canary.routed_at = _routed_at(seen, now)
        found, unreadable = self._gather(seen, now)
        plan = _plan(seen.canary)
        views = _judged(seen, found)
        facts = _facts(seen, found, views, now)
        decision = decide(plan, replace(facts, unreadable=unreadable))
        self._write(number, seen, _Look(decision, facts), now)
        return True

    def _looks_bad(self, seen: CanaryLook) -> bool:
        """By what is known without reading rows. It decides nothing: rows are read then, at once."""
        if seen.broken:
            return True
        canary = seen.canary
        stable, own = (
            _counted(self.answered(canary.endpoint, version, canary.step_set_at))
            for version in (canary.baseline, canary.version)
        )
        kept = guardrails(canary.guardrails)
        alphas = alphas_of(kept, canary.step, len(canary.steps))
        return breached(kept, ComparedSides(stable, own), seen.crashes, alphas) is not None

    def _gather(self, seen: CanaryLook, now: float) -> tuple[ComparedSides, str]:
        """Both sides of the step, or why that cannot be read. Of a busy step the newest rows alone."""
        canary = seen.canary
        if seen.signature is None or (canary.step == 0 and canary.routed_at is None):
            return _NOTHING, ""
        if not seen.is_recorded:
            return _NOTHING, f"nothing is recorded any more ('tidegate capture-settings {canary.endpoint} --sample 1')"
        age_s = max(0.0, now - canary.step_set_at)
        span_s = min(age_s, self._spans.get(canary.id, age_s))
        warm_s = min(WARM_S, canary.every_s)
        window = StepWindow(canary.endpoint, now - span_s, now, canary.routed_at, seen.ready_at, warm_s)
        try:
            found = gather(self.capture, window, seen.signature)
        except CaptureUnreadable as error:
            return _NOTHING, error.message
        if found.rows > ROWS_MAX:
            self._spans[canary.id] = max(SPAN_S_MIN, span_s * 0.8 * ROWS_MAX / found.rows)
        return replace(found, before=self._had_before(canary, found, span_s)), ""

    def _had_before(self, canary: CanaryRow, found: ComparedSides, span_s: float) -> Mapping[str, CanaryTally]:
        """How requests of the canary's keys went before it, where several keys have failures; read once."""
        if not found.keys.several_fail:
            return {}
        if canary.id not in self._before:
            reach_s = min(BEFORE_S, max(SPAN_S_MIN, span_s * BEFORE_ROWS_MAX / max(found.rows, 1)))
            since = canary.started_at - reach_s
            try:
                self._before[canary.id] = before(
                    self.capture, canary.endpoint, since, canary.started_at, frozenset({REFUSED})
                )
            except CaptureUnreadable:
                return {}  # what keys had before is not known, and requests are judged all the same
        return self._before[canary.id]

    def _write(self, number: int, seen: CanaryLook, look: _Look | None, now: float) -> None:
        with self.store.transaction() as tx:
            canary = rows.get(tx, number)
            if canary is None or _place(canary) != _place(seen.canary):
                return  # a person was first
            row = get_endpoint(tx, canary.endpoint)
            if row is None or not changes.is_in_effect(canary, row):
                changes.end(canary, "ended", "people changed the traffic, or the endpoint is gone", now)
                if row is not None and row.uid == canary.endpoint_uid:
                    rollouts.count(tx, row, "canary", "stopped")
                    rollouts.write_guardrails(tx, row, ())
                self._forget(number)
                return
            if look is None:
                return
            moved = _apply(tx, canary, row, seen, look, now)
        if moved:
            self._forget(number)
            log.info("%s: canary of version %s: %s: %s", row.name, canary.version, moved, look.decision.reason)
            self.changed()

    def _forget(self, number: int) -> None:
        self._spans.pop(number, None)
        self._before.pop(number, None)


@dataclass(frozen=True)
class _Look:
    decision: CanaryDecision
    facts: CanaryFacts


def _apply(tx: Session, canary: CanaryRow, row: EndpointRow, seen: CanaryLook, look: _Look, now: float) -> str:
    """Write what was found, and do what was decided; what was done, "" where it only waits."""
    decision, facts = look.decision, look.facts
    canary.routed_at, canary.looked_at = seen.canary.routed_at, now
    canary.views = [_plain(one) for one in facts.guardrails]
    rollouts.write_guardrails(tx, row, facts.guardrails)
    before = canary.requests
    canary.requests = {
        "requests": facts.requests,
        "requests_stable": facts.requests_stable,
        "answered": facts.answered - before.get("answered_before", 0),
        "affected": facts.affected - before.get("affected_before", 0),
        "answered_before": before.get("answered_before", 0),
        "affected_before": before.get("affected_before", 0),
    }
    canary.reason, canary.next, canary.next_at = decision.reason, decision.next, decision.next_at
    match decision.verdict:
        case "wait":
            return ""
        case "advance":
            if not changes.set_step(tx, canary, row, canary.step + 1, decision.reason, now):
                return ""
            canary.reason, canary.next_at = f"replicas for {canary.steps[canary.step]:g} % are made ready", None
            return f"{canary.steps[canary.step]:g} %"
        case "promote":
            changes.promote(tx, canary, row, by=_by(canary), why=decision.reason, now=now)
        case "abort":
            changes.restore(tx, canary, row, changes.Ending("aborted", _by(canary), decision.reason), now)
        case "fail":
            changes.restore(tx, canary, row, changes.Ending("failed", _by(canary), decision.reason), now)
    return canary.state


def _counted(view: AnsweredView | None) -> Side:
    """A version's requests by what gateways count."""
    if view is None:
        return Side()
    errors = CanaryTally(view.failed + view.timed_out, view.requests)
    return Side(errors=errors, numbers=CanaryTally(view.non_finite, view.requests))


def _place(canary: CanaryRow) -> tuple[float, str]:
    """What a look decides by: the step that it is at, and whether that may end."""
    return canary.step_set_at, canary.state


def _plain(one: GuardrailView) -> dict[str, Any]:
    return dict(vars(one))


def _by(canary: CanaryRow) -> str:
    return f"canary {rows.parts_of(canary).name}"


def _plan(canary: CanaryRow) -> CanaryPlan:
    return CanaryPlan(tuple(canary.steps), canary.every_s, canary.step, canary.state == "paused")


def _seen(tx: Session, number: int) -> CanaryLook | None:
    canary = rows.get(tx, number)
    if canary is None or canary.ended_at is not None:
        return None
    row = get_endpoint(tx, canary.endpoint)
    if row is None or not changes.is_in_effect(canary, row):
        return CanaryLook(canary, False)
    versions = (canary.baseline, canary.version)
    version = model_rows.get_version(tx, row.model, canary.version)
    crashes = tuple(_crashes(tx, canary, one) for one in versions)
    return CanaryLook(
        canary=canary,
        is_in_effect=True,
        is_routed=routed_split_of(row) == effective_of(row).split,
        ready_at=tuple(rows.ready_times(tx, row.name, versions)),
        crashes=(crashes[0], crashes[1]),
        broken=_broken(tx, canary, row.retries.get(canary.version, 0)),
        signature=None if version is None else convert(version.signature, Signature),
        is_recorded=capture_rules_of(row).sample > 0,
    )


def _crashes(tx: Session, canary: CanaryRow, version: str) -> int:
    """Since the canary began: those that are on record, and those that the version's status still counts."""
    kept = len(rows.crashes(tx, canary.endpoint, version, canary.started_at))
    variant = rows.variant(tx, canary.endpoint, version)
    counted = [] if variant is None else [at for at in variant.crashes if at >= canary.started_at]
    return max(kept, len(counted))


def _broken(tx: Session, canary: CanaryRow, tried_at: int) -> str:
    """Why the version cannot run: its replicas failed again and again. What the platform lacks is no such reason.

    It was quarantined at `tried_at` (the endpoint's generation) or later: what failed before, it is tried anew.
    """
    variant = rows.variant(tx, canary.endpoint, canary.version)
    if variant is None or variant.quarantined_generation is None or variant.quarantined_generation < tried_at:
        return ""
    return f"version {canary.version} does not run: {variant.cause or variant.reason}"


def _routed_at(seen: CanaryLook, now: float) -> float | None:
    """Since when gateways have the step's weights: the look that found it first says so."""
    return seen.canary.routed_at or (now if seen.is_routed else None)


def _judged(seen: CanaryLook, found: ComparedSides) -> list[GuardrailView]:
    kept = guardrails(seen.canary.guardrails)
    return judge(kept, found, seen.crashes, alphas_of(kept, seen.canary.step, len(seen.canary.steps)))


def _facts(seen: CanaryLook, found: ComparedSides, views: list[GuardrailView], now: float) -> CanaryFacts:
    canary, side = seen.canary, found.canary
    answered, affected = side.errors.requests, side.errors.found + side.numbers.found
    affected += sum(slow_requests(one, found) for one in views if one.name == "latency" and one.state == "breached")
    return CanaryFacts(
        now=now,
        routed_at=canary.routed_at,
        requests=side.counted,
        requests_stable=found.stable.counted,
        guardrails=views,
        answered=answered + canary.requests.get("answered_before", 0),
        affected=min(affected, answered) + canary.requests.get("affected_before", 0),
        broken=seen.broken,
    )
