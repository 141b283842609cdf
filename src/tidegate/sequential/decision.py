"""What follows from a look: promote, roll back, hold, go on, or end without a result. Called by the loop.

    a guardrail breached, or a metric worse for certain   rollback (hold or continue, by `on_breach`)
    units not in the planned ratio, or units lost         hold
    any of these holds it and it is past `max_days`    inconclusive
    fewer than 100 units an arm                           insufficient_data
    a metric better, all guardrails kept, none worse      promote
    older than `max_days`                                 inconclusive
    otherwise                                             continue

No data is neither good nor bad: it decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.sequential import words
from tidegate.sequential.analysis import Analysis
from tidegate.sequential.evidence import LEAST_UNITS
from tidegate.sequential.sample_ratio import ENOUGH
from tidegate.wire.counts import counted
from tidegate.wire.experiments.experiments import ExperimentDecision, ExperimentSpec, MetricView

_DAY_S = 86400.0


@dataclass(frozen=True)
class DecisionFacts:
    """What there is to know beside the numbers. `units_per_day`: of the last days, all arms; None: as since the start.

    `traffic` whether any unit came lately; `unreported` the metrics that no value ever came for; `lost` units that were
    seen at a look before, and whose rows are not there any more.
    """

    started_at: float
    now: float
    units_per_day: float | None = None
    traffic: bool = True
    unreported: Sequence[str] = ()
    lost: int = 0


@dataclass(frozen=True)
class ExperimentVerdict:
    """A decision, why, what happens next, and about how many days until then. `variant`: which is promoted."""

    decision: ExperimentDecision
    reason: str
    next: str
    days_left: float | None = None
    variant: str | None = None


def decide(spec: ExperimentSpec, analysis: Analysis, facts: DecisionFacts) -> ExperimentVerdict:
    """The table above, from the top; the first line that holds."""
    breaches = _breaches(spec, analysis)
    if breaches and spec.on_breach == "rollback":
        return ExperimentVerdict("rollback", _sentence(breaches), "all traffic goes back to control")
    held = None
    if breaches and spec.on_breach == "hold":
        held = ExperimentVerdict("hold", _sentence(breaches), "held for as long as this is so; a person may stop it")
    elif not analysis.ratio.sound:
        held = _unsound(analysis)
    elif facts.lost:
        reason = f"rows of {counted(facts.lost, 'unit')} that took part are gone, so what is left is another sample"
        held = ExperimentVerdict("hold", reason, "held: keep rows for longer than it lasts, then stop and start anew")
    if held is None:
        return _weigh(spec, analysis, facts, breaches)
    return _ended(spec, held.reason) if _is_over(spec, facts) else held


def _is_over(spec: ExperimentSpec, facts: DecisionFacts) -> bool:
    return facts.now - facts.started_at >= spec.max_days * _DAY_S


def _ended(spec: ExperimentSpec, reason: str) -> ExperimentVerdict:
    text = f"{reason} after {spec.max_days:g} day{'' if spec.max_days == 1 else 's'}, the most it may take"
    return ExperimentVerdict("inconclusive", text, "all traffic goes back to control", 0.0)


def _weigh(spec: ExperimentSpec, analysis: Analysis, facts: DecisionFacts, breaches: list[str]) -> ExperimentVerdict:
    """The lines of the table from the third on."""
    over = _is_over(spec, facts)
    short = _short(analysis)
    if short and not over:
        return _insufficient(spec, analysis, facts, short)
    winners = [] if breaches or short else _winners(spec, analysis)
    if winners:
        best = winners[0]
        metric = next(each for each in spec.metrics if each.name == best.name)
        ready = "it is promoted" if spec.auto else "it waits for approval"
        reason = f"{words.improvement(metric, best)}; ready to promote"
        return ExperimentVerdict("promote", reason, ready, 0.0, best.variant)
    if over:
        return _ended(spec, _so_far(spec, analysis, short))
    left = _days_left(spec, analysis, facts)
    blocked = _sentence(breaches) if breaches else _so_far(spec, analysis, None)
    return ExperimentVerdict("continue", blocked, _until(left, facts), left)


def _breaches(spec: ExperimentSpec, analysis: Analysis) -> list[str]:
    found = [words.breach(view) for view in analysis.guardrails if view.state == "breached" and not view.dry_run]
    metrics = {each.name: each for each in spec.metrics}
    for view in analysis.metrics:
        if (view.name, view.variant) in analysis.worse:
            text = words.improvement(metrics[view.name], view)
            found.append(text if "worse" in text and "better" not in text else f"{view.variant}'s {view.name} is worse")
    return found


def _sentence(parts: list[str]) -> str:
    return "; ".join(parts)


def _unsound(analysis: Analysis) -> ExperimentVerdict:
    factor = analysis.ratio.bayes_factor or 0.0
    if factor >= ENOUGH:
        reason = "unhealthy: ratio. Units did not come as they were shared out, so the arms cannot be compared"
    else:
        reason = f"unhealthy: {counted(analysis.ratio.several, 'unit')} came to more than one arm"
    return ExperimentVerdict(
        "hold", reason, "held: look for requests or feedback lost in one arm, then stop and start anew"
    )


def _short(analysis: Analysis) -> MetricView | None:
    """The metric with the fewest units, where these are too few."""
    least = min(analysis.metrics, key=lambda view: min(view.units_a, view.units_b), default=None)
    return least if least is not None and min(least.units_a, least.units_b) < LEAST_UNITS else None


def _insufficient(
    spec: ExperimentSpec, analysis: Analysis, facts: DecisionFacts, short: MetricView
) -> ExperimentVerdict:
    seen = min(short.units_a, short.units_b)
    if short.name in facts.unreported:
        reason = f"nobody has reported {short.name} yet"
        then = f'it waits for feedback named "{short.name}", with the key of the request'
    elif not facts.traffic:
        reason, then = "no requests come in", "it waits for traffic"
    else:
        waiting = f"; {counted(short.immature, 'unit')} more when the window has passed" if short.immature else ""
        reason = (
            f"{short.name} has {counted(seen, 'unit')} in the smaller arm of {LEAST_UNITS} that are needed{waiting}"
        )
        then = "it goes on collecting"
    return ExperimentVerdict("insufficient_data", reason, then, _days_left(spec, analysis, facts))


def _winners(spec: ExperimentSpec, analysis: Analysis) -> list[MetricView]:
    """One superior metric of each treatment that may be promoted, the best first."""
    found = []
    for arm in spec.arms[1:]:
        views = [view for view in analysis.metrics if view.variant == arm.variant]
        superior = [view for view in views if view.significant and view.winner == "b"]
        deteriorated = any(view.significant and view.winner == "a" for view in views)
        kept = all(
            view.state == "ok" for view in analysis.guardrails if view.variant == arm.variant and not view.dry_run
        )
        if superior and kept and not deteriorated:
            found.append(superior[0])
    return sorted(found, key=lambda view: -abs(view.improvement or 0.0))


def _so_far(spec: ExperimentSpec, analysis: Analysis, short: MetricView | None) -> str:
    if short is not None:
        return f"{short.name} has too few units to say anything"
    metrics = {each.name: each for each in spec.metrics}
    texts = [words.improvement(metrics[view.name], view) for view in analysis.metrics]
    wanting = sorted({v.name for v in analysis.guardrails if not v.dry_run and v.state in ("unknown", "undecided")})
    if wanting:
        texts.append(f"not yet known to keep its margin: {words.listed(wanting)}")
    return _sentence(texts)


def _days_left(spec: ExperimentSpec, analysis: Analysis, facts: DecisionFacts) -> float | None:
    """Days until the first metric has the units it is planned for, or until the most it may take."""
    elapsed = (facts.now - facts.started_at) / _DAY_S
    if elapsed < 0:
        return None
    most = max(0.0, spec.max_days - elapsed)
    view = analysis.metrics[0] if analysis.metrics else None
    plan = None if view is None else analysis.plans.get(view.name)
    if view is None or plan is None:
        return None
    units = view.units_a + view.units_b
    pair = (spec.arms[0].share + spec.arms[1].share) / sum(arm.share for arm in spec.arms)
    per_day = facts.units_per_day * pair if facts.units_per_day is not None else units / elapsed if elapsed else 0.0
    if per_day <= 0 or units >= plan.planned:
        return most
    return min(most, (plan.planned - units) / per_day)


def _until(left: float | None, facts: DecisionFacts) -> str:
    if not facts.traffic:
        return "it waits for traffic"
    return "it goes on" if left is None else f"{words.days(left)} left at the present rate"
