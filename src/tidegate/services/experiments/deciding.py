"""Looks at running experiments: gathers what was captured, has it judged, and does what follows in one transaction.

Called by `loops.experiment` alone. What people did since a look began wins: the look is then dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec
import numpy as np
from sqlalchemy.orm import Session

from tidegate.clock import Clock
from tidegate.errors import TidegateError
from tidegate.sequential.analysis import Analysis
from tidegate.sequential.decision import DecisionFacts, ExperimentVerdict
from tidegate.sequential.units import Exposed, Units
from tidegate.services.experiments import weights
from tidegate.services.experiments.evidence import ExperimentEvidence, arms_so_far, evidence_of, finite_analysis
from tidegate.services.experiments.lifecycle import version_of
from tidegate.services.experiments.telling import Tell, nobody, of_look, quiet
from tidegate.services.experiments.views import QUIET_S
from tidegate.store.database.engine import Store
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.experiments import canaries, rollouts
from tidegate.store.experiments import experiments as rows
from tidegate.store.tables import EndpointRow, ExperimentRow
from tidegate.wire.counts import counted
from tidegate.wire.experiments.experiments import ExperimentSpec, LookView, PhaseView

GAP_S_MAX = 86_400.0
"""Between two looks no more time than this is counted, however long nobody looked or wherever the clock was set."""
LOST_UNITS, LOST_SHARE = 10, 0.01
"""Units seen before that may be gone from what is captured, at most: people may ask to be forgotten."""
UNREPORTED_UNITS = 100
"""Units whose window has passed without a value, before a metric is called unreported."""


class ExperimentLook(Protocol):
    """What was captured of an experiment: matured units by metric, who was exposed, what people should know."""

    @property
    def units(self) -> Mapping[str, Units]: ...
    @property
    def exposed(self) -> Exposed: ...
    @property
    def warnings(self) -> Sequence[str]: ...
    @property
    def newest_at(self) -> float | None: ...


Gather = Callable[[ExperimentSpec, tuple[str, str], float, Sequence[PhaseView], float], ExperimentLook]
Analyse = Callable[[ExperimentSpec, Mapping[str, Units], Exposed, Analysis | None], Analysis]
Decide = Callable[[ExperimentSpec, Analysis, DecisionFacts], ExperimentVerdict]


@dataclass(frozen=True)
class Judging:
    """How an experiment is looked at: where its units come from, and the statistics."""

    gather: Gather
    analyse: Analyse
    decide: Decide


@dataclass(frozen=True)
class RunningExperiment:
    """An experiment as it was when a look began."""

    number: int
    endpoint: str
    name: str
    turn: int
    started_at: float
    spec: ExperimentSpec
    phases: list[PhaseView]
    before: ExperimentEvidence | None


@dataclass(frozen=True)
class Found:
    """What a look found, before anything follows from it."""

    seen: ExperimentLook
    analysis: Analysis
    at: float
    elapsed_s_max: float


@dataclass(frozen=True)
class Deciding:
    """The use cases of the loop, through the leader's fenced store. `changed` wakes the reconcile loop."""

    store: Store
    judging: Judging
    clock: Clock
    changed: Callable[[], None]
    tell: Tell = nobody

    def live(self) -> list[int]:
        """Experiments that set weights, those first that were looked at longest ago."""
        with self.store.reading() as tx:
            return [row.id for row in rows.live(tx)]

    def look(self, number: int, elapsed_s_max: float = GAP_S_MAX) -> None:
        """Look at one, and do what follows. At most `elapsed_s_max` seconds have passed since the look before.

        What cannot be looked at is told in its status, and decides nothing. Raises `NotLeader`, `StoreUnavailable`.
        """
        running = self._running(number)
        if running is None:
            return
        now = self.clock()
        try:
            place = (running.endpoint, running.name)
            seen = self.judging.gather(running.spec, place, running.started_at, running.phases, now)
            before = running.before.analysis if running.before else None
            analysis = finite_analysis(self.judging.analyse(running.spec, seen.units, seen.exposed, before))
        except TidegateError as error:
            self._note_trouble(running, error.message)
            return
        found = Found(seen, analysis, now, elapsed_s_max)
        with self.store.transaction() as tx:
            row = self._same(tx, running)
            endpoint = None if row is None else get_endpoint(tx, running.endpoint)
            if row is None or endpoint is None:
                return
            moved = self._act(tx, endpoint, row, running.spec, found)
            self._tell(tx, row, found)
        if moved:
            self.changed()

    def note_trouble(self, number: int, why: str) -> None:
        """Have the status say why it could not be looked at."""
        with self.store.transaction() as tx:
            row = rows.by_id(tx, number)
            if row is not None and row.state == "running" and row.trouble != why:
                row.trouble = why

    def forget_gone(self) -> None:
        """Forget what is of endpoints that are gone."""
        with self.store.transaction() as tx:
            rows.forget_gone(tx)
            canaries.forget_gone(tx)
            rollouts.forget_gone(tx)

    def _tell(self, tx: Session, row: ExperimentRow, found: Found) -> None:
        ended = row.state != "running"
        self.tell(tx, row.endpoint, [of_look(row, found.analysis, ended=ended)], found.at)
        if ended:  # nobody looks again: it is over from now on
            self.tell(tx, row.endpoint, [quiet(row)], found.at)

    def _running(self, number: int) -> RunningExperiment | None:
        """One that runs and sets the weights; one that was ended from outside is written down as such instead."""
        with self.store.reading() as tx:
            row = rows.by_id(tx, number)
            if row is None or row.state not in ("running", "paused"):
                return None
            endpoint = get_endpoint(tx, row.endpoint)
            same = endpoint is not None and endpoint.uid == row.endpoint_uid
            if same and endpoint is not None and weights.is_in_effect(endpoint, row):
                if row.state == "paused":
                    return None
                started = row.started_at or 0.0
                spec, phases = rows.spec_of(row), rows.phases_of(row)
                return RunningExperiment(
                    row.id, row.endpoint, row.name, row.turn, started, spec, phases, evidence_of(row)
                )
        self._ended_outside(number)
        return None

    def _ended_outside(self, number: int) -> None:
        with self.store.transaction() as tx:
            row = rows.by_id(tx, number)
            if row is None or row.state not in ("running", "paused"):
                return
            endpoint = get_endpoint(tx, row.endpoint)
            if endpoint is not None and endpoint.uid != row.endpoint_uid:
                endpoint = None
            if endpoint is not None and weights.is_in_effect(endpoint, row):
                return
            by, why, at = weights.ended_outside(tx, endpoint, row)
            row.reason, row.next = why, "it has ended: create another one"
            weights.end(tx, endpoint, row, ("stopped", "stopped"), by=by, now=self.clock() if at is None else at)
            self.tell(tx, row.endpoint, [quiet(row)], self.clock())

    def _same(self, tx: Session, running: RunningExperiment) -> ExperimentRow | None:
        """Its row, unless somebody did something to it, or to its endpoint's traffic, since the look began."""
        row = rows.by_id(tx, running.number)
        if row is None or row.turn != running.turn or row.state != "running":
            return None
        endpoint = get_endpoint(tx, running.endpoint)
        there = endpoint is not None and endpoint.uid == row.endpoint_uid and weights.is_in_effect(endpoint, row)
        return row if there else None

    def _note_trouble(self, running: RunningExperiment, why: str) -> None:
        with self.store.transaction() as tx:
            row = self._same(tx, running)
            if row is not None and row.trouble != why:
                row.trouble = why

    def _act(self, tx: Session, endpoint: EndpointRow, row: ExperimentRow, spec: ExperimentSpec, found: Found) -> bool:
        """Write what was found and do what follows; whether the endpoint's weights are others now."""
        before = evidence_of(row)
        _count_time(row, found, None if before is None else before.newest_at)
        quiet_s = row.ran_s - row.exposed_at_s
        unreported = unreported_of(spec, found.seen, row.exposed)
        started_at, lost = found.at - row.ran_s, lost_of(found.seen.exposed, row.exposed)
        facts = DecisionFacts(started_at, found.at, traffic=quiet_s < QUIET_S, unreported=unreported, lost=lost)
        verdict = self.judging.decide(spec, found.analysis, facts)
        _write(tx, row, spec, Written(found, verdict, unreported, None if before is None else before.ready_since))
        rollouts.write_guardrails(tx, endpoint, found.analysis.guardrails)
        if verdict.decision == "rollback":
            note = f"rolled back: {verdict.reason}"
            weights.give_back(tx, endpoint, row, ("decided", "rolled_back"), now=found.at, note=note)
            row.next = "all traffic has gone back to control"
        elif verdict.decision == "inconclusive":
            weights.give_back(tx, endpoint, row, ("decided", "inconclusive"), now=found.at, note=verdict.reason)
            row.next = "all traffic has gone back to control"
        elif verdict.decision == "promote":
            return self._promote(tx, endpoint, row, spec, verdict, found.at)
        elif quiet_s >= QUIET_S and spec.on_no_traffic == "abort":
            row.reason = f"no calls came for {quiet_s / 3600:.3g} hours, and it was to end then (--on-no-traffic abort)"
            weights.give_back(tx, endpoint, row, ("stopped", "stopped"), now=found.at, note=row.reason)
            row.next = "all traffic has gone back to control"
        else:
            return _raise_ramp(tx, endpoint, row, spec, found, verdict)
        return True

    def _promote(
        self,
        tx: Session,
        endpoint: EndpointRow,
        row: ExperimentRow,
        spec: ExperimentSpec,
        verdict: ExperimentVerdict,
        now: float,
    ) -> bool:
        row.winner = verdict.variant or spec.arms[1].variant
        if not spec.auto or row.held:
            return False
        version = version_of(spec, row.winner)
        weights.promote(tx, endpoint, row, version, now=now, note=verdict.reason)
        row.next = f"version {version} has all traffic"
        return True


def unreported_of(spec: ExperimentSpec, seen: ExperimentLook, exposed: int) -> list[str]:
    """Metrics that no value seems to come for: of no unit, or of none of many whose window has passed."""
    found = []
    for metric in spec.metrics:
        if metric.source not in ("feedback", "label") or not exposed:
            continue
        units = seen.units.get(metric.name)
        size = 0 if units is None else len(units.value)
        silent = size >= UNREPORTED_UNITS and units is not None and not np.any(units.value)
        passed = exposed - sum(seen.exposed.immature.get(metric.name, ()))
        if silent or (not size and (metric.window_s == 0 or passed >= UNREPORTED_UNITS)):
            found.append(metric.name)
    return found


def lost_of(exposed: Exposed, before: int) -> int:
    """Units that were there at a look before and are not now; 0 for a few, whom somebody had forgotten."""
    lost = before - sum(sum(by_arm) for by_arm in exposed.counts.values()) - exposed.several
    return lost if lost > max(LOST_UNITS, LOST_SHARE * before) else 0


def _count_time(row: ExperimentRow, found: Found, newest_at: float | None) -> None:
    """Add the time since the look before: by the clock, within what can have passed.

    Traffic is any call of a unit, also of one that has been in for long; `newest_at` is that of the look before.
    """
    exposed = sum(sum(by_arm) for by_arm in found.seen.exposed.counts.values())
    came = found.seen.newest_at is not None and (newest_at is None or found.seen.newest_at > newest_at)
    if row.counted_at is not None:
        passed_s = min(max(0.0, found.at - row.counted_at), found.elapsed_s_max, GAP_S_MAX)
        row.ran_s += passed_s
        row.step_ran_s += passed_s
    row.counted_at = found.at
    if exposed > row.exposed or came:
        row.exposed, row.exposed_at_s = max(exposed, row.exposed), row.ran_s


@dataclass(frozen=True)
class Written:
    """What a look found and came to, and since when a promotion had been ready before it."""

    found: Found
    verdict: ExperimentVerdict
    unreported: Sequence[str]
    ready_since: float | None


def _write(tx: Session, row: ExperimentRow, spec: ExperimentSpec, look: Written) -> None:
    """The evidence and what it came to, in the row and among the looks."""
    found, verdict = look.found, look.verdict
    arms = arms_so_far(spec, found.seen.units, found.seen.exposed)
    silent = [
        f"no value of {name!r} has come for any of {counted(row.exposed, 'unit')}: is it reported under this name, "
        "with the key?"
        for name in look.unreported
    ]
    analysis = found.analysis
    ready_since = (look.ready_since or found.at) if verdict.decision == "promote" else None
    row.evidence = msgspec.to_builtins(
        ExperimentEvidence(analysis, arms, [*silent, *found.seen.warnings], found.seen.newest_at, ready_since)
    )
    row.decision, row.reason, row.next = verdict.decision, verdict.reason, verdict.next
    row.days_left, row.looked_at, row.trouble, row.winner = verdict.days_left, found.at, "", verdict.variant or ""
    shown = LookView(
        found.at, verdict.decision, verdict.reason, analysis.metrics, analysis.guardrails, analysis.ratio, arms
    )
    rows.add_look(tx, row, msgspec.to_builtins(shown), found.at)


def _raise_ramp(
    tx: Session,
    endpoint: EndpointRow,
    row: ExperimentRow,
    spec: ExperimentSpec,
    found: Found,
    verdict: ExperimentVerdict,
) -> bool:
    """Take the ramp's next step when it is due, nothing holds, and every arm has got units in this one."""
    ramp = weights.ramp_of(row, spec)
    if row.held or verdict.decision == "hold" or not ramp.is_due(row.step_ran_s):
        return False
    now_in = found.seen.exposed.counts.get(rows.phases_of(row)[-1].phase, ())
    if len(now_in) < len(spec.arms) or not all(now_in):
        return False
    row.step = replace(ramp, step=ramp.step + 1).step
    weights.split(tx, endpoint, row, spec, now=found.at, note="the ramp's next step")
    return True
