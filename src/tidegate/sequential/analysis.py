"""One look at an experiment: its metrics, guardrails and sample ratio. Called by the loop of experiments.

Error rates. Success metrics share alpha among themselves and the treatments (Bonferroni): `p_value` is corrected, and
intervals hold together. A guardrail is a one-sided non-inferiority test. For shipping all of them must pass, so that
alpha is not divided (Schultzberg, Ankargren and Frånberg, arXiv 2402.11609); for rolling back any one is enough, so
that alpha is divided among guardrails, success metrics (which may not get worse) and treatments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tidegate.sequential.evidence import LEAST_UNITS, Evidence, EvidencePlan, evidence, plan
from tidegate.sequential.means import p_value
from tidegate.sequential.sample_ratio import ENOUGH, bayes_factor
from tidegate.sequential.units import Exposed, Units
from tidegate.wire.experiments.experiments import (
    ExperimentSpec,
    Guardrail,
    GuardrailState,
    GuardrailView,
    Metric,
    MetricView,
    RatioView,
)

_SEVERAL_SHARE = 0.01
_SEVERAL_LEAST = 10


@dataclass(frozen=True)
class Analysis:
    """What a look found, and what the next one needs of it: plans (by metric) and least p-values (metric/variant).

    `worse` are (metric, variant) of success metrics that are worse than control's for certain.
    """

    metrics: list[MetricView]
    guardrails: list[GuardrailView]
    ratio: RatioView
    plans: dict[str, EvidencePlan] = field(default_factory=dict)
    least_p: dict[str, float] = field(default_factory=dict)
    worse: list[tuple[str, str]] = field(default_factory=list)


def analyse(
    spec: ExperimentSpec, units: Mapping[str, Units], exposed: Exposed, before: Analysis | None = None
) -> Analysis:
    """All metrics and guardrails of all treatments. Hand over the analysis of the look before: its plans stay.

    `units` by the metric's name, or `guardrail:` and its name where a guardrail's metric is not one of the metrics.
    """
    known = {name: each.finite() for name, each in units.items()}
    look = _Look(spec, known, dict(before.plans) if before else {}, dict(before.least_p) if before else {})
    metrics = [look.metric(each, arm, exposed) for each in spec.metrics for arm in look.treatments]
    guardrails = [look.guardrail(each, arm) for each in spec.guardrails for arm in look.treatments]
    return Analysis(metrics, guardrails, ratio(spec, exposed), look.plans, look.least_p, look.worse)


def ratio(spec: ExperimentSpec, exposed: Exposed) -> RatioView:
    """Whether units came as they were shared out, each in one arm only. Unknown (but sound) before the first came."""
    total = sum(sum(row) for row in exposed.counts.values())
    if not total:
        return RatioView(True, None, exposed.several)
    factor = bayes_factor(exposed.counts, [arm.share for arm in spec.arms])
    mixed = exposed.several > max(_SEVERAL_LEAST, _SEVERAL_SHARE * total)
    return RatioView(factor < ENOUGH and not mixed, factor, exposed.several)


@dataclass
class _Look:
    spec: ExperimentSpec
    units: Mapping[str, Units]
    plans: dict[str, EvidencePlan]
    least_p: dict[str, float]
    worse: list[tuple[str, str]] = field(default_factory=list)

    @property
    def treatments(self) -> range:
        return range(1, len(self.spec.arms))

    @property
    def comparisons(self) -> int:
        return max(1, len(self.spec.metrics)) * len(self.treatments)  # guardrails alone are planned too

    @property
    def alpha_back(self) -> float:
        """What each test that may roll back gets."""
        acting = sum(not each.dry_run for each in self.spec.guardrails)
        return self.spec.alpha / (self.comparisons + acting * len(self.treatments))

    def metric(self, metric: Metric, arm: int, exposed: Exposed) -> MetricView:
        variant = self.spec.arms[arm].variant
        found, pair = self._evidence(metric.name, metric, arm)
        immature = list(exposed.immature.get(metric.name, ()))
        waiting = sum(immature[k] for k in (0, arm) if k < len(immature))
        in_b = 0 if pair is None else int(pair.arm.sum())
        in_a = 0 if pair is None else pair.arm.size - in_b
        if found is None or min(in_a, in_b) < LEAST_UNITS:
            unknown = MetricView(metric.name, variant, None, None, None, None, None, None, False, None)
            return replace(unknown, units_a=in_a, units_b=in_b, immature=waiting)
        alpha = self.spec.alpha / self.comparisons
        key = f"{metric.name}/{variant}"
        now = found.log_e(alpha)
        least = min(self.least_p.get(key, 1.0), p_value(now))
        self.least_p[key] = least
        lower, upper = found.interval(alpha)
        if lower is not None and metric.type == "proportion":
            lower = max(lower, -1.0)  # a share is at worst nothing
        significant = now >= math.log(1 / alpha)  # at this look: the least p-value may be of another side
        better = _better(metric, found)
        if found.apart(self.alpha_back) == (1 if metric.direction == "decrease" else -1):
            self.worse.append((metric.name, variant))
        return MetricView(
            metric.name,
            variant,
            found.a,
            found.b,
            _share(found),
            lower,
            upper,
            min(1.0, least * self.comparisons),
            significant,
            None if not significant or better is None else "b" if better else "a",
            self.plans[metric.name].method,
            in_a,
            in_b,
            waiting,
        )

    def guardrail(self, guardrail: Guardrail, arm: int) -> GuardrailView:
        metric, variant = guardrail.metric, self.spec.arms[arm].variant
        key = f"guardrail:{metric.name}"
        found, _ = self._evidence(key if key in self.units else metric.name, metric, arm)
        value: float | None = None
        bound: float | None = None
        state: GuardrailState = "unknown"
        if found is not None:
            tell = _margin if guardrail.kind == "margin" else _limit
            value, bound, state = tell(guardrail, found, self.spec.alpha, self.alpha_back)
        about = guardrail.kind, guardrail.dry_run, guardrail.absolute
        return GuardrailView(metric.name, variant, value, bound, guardrail.value, state, *about)

    def _evidence(self, key: str, metric: Metric, arm: int) -> tuple[Evidence | None, Units | None]:
        units = self.units.get(key)
        if units is None:
            return None, None
        if key not in self.plans:
            how = plan(metric, units, self.spec, self.spec.alpha / self.comparisons)
            if how is not None:
                self.plans[key] = how
        pair = units.beside(arm)
        share = self.spec.arms[arm].share / (self.spec.arms[0].share + self.spec.arms[arm].share)
        return (evidence(metric, pair, self.plans[key], share) if key in self.plans else None), pair


def _better(metric: Metric, found: Evidence) -> bool | None:
    if found.a == found.b:
        return None
    return (found.b > found.a) == (metric.direction == "increase")


def _share(found: Evidence) -> float | None:
    return None if found.a == 0 else (found.b - found.a) / found.a


Told = tuple[float | None, float | None, GuardrailState]


def _margin(guardrail: Guardrail, found: Evidence, alpha: float, alpha_back: float) -> Told:
    """How much worse the treatment is, as a share of control's value or as an amount, and how much it may be.

    The bound is the one that decides: while it is breached the lower, else the upper.
    """
    what = "difference" if guardrail.absolute else "relative"
    value = found.b - found.a if guardrail.absolute else _share(found)
    falls = guardrail.metric.direction == "increase"  # it is worse where it falls
    if not guardrail.absolute and found.a < 0:
        falls = not falls
    least, _ = _turned(found.bounds(what, alpha_back, early=True), falls)
    _, most = _turned(found.bounds(what, alpha), falls)
    worse = None if value is None else -value if falls else value
    if least is not None and least > guardrail.value:
        return worse, least, "breached"
    if found.a == 0 and not guardrail.absolute and found.apart(alpha_back) == (-1 if falls else 1):
        return worse, None, "breached"  # a share of 0: whatever is worse for certain is past it
    return worse, most, "ok" if most is not None and most < guardrail.value else "undecided"


def _limit(guardrail: Guardrail, found: Evidence, alpha: float, alpha_back: float) -> Told:
    """The treatment's value against a limit: breached when past it and worse than control, each for certain.

    Fine when either is refuted, each at half of alpha.
    """
    falls = guardrail.kind == "min"
    limit = -guardrail.value if falls else guardrail.value
    least, _ = _turned(found.bounds("value", alpha_back, early=True), falls)
    _, most = _turned(found.bounds("value", alpha / 2), falls)
    worse = -1 if falls else 1
    if least is not None and least > limit and found.apart(alpha_back) == worse:
        return found.b, -least if falls else least, "breached"
    fine = (most is not None and most < limit) or found.apart(alpha / 2) == -worse
    shown = None if most is None else -most if falls else most
    return found.b, shown, "ok" if fine else "undecided"


def _turned(ends: tuple[float | None, float | None], turn: bool) -> tuple[float | None, float | None]:
    low, high = ends
    if not turn:
        return low, high
    return None if high is None else -high, None if low is None else -low
