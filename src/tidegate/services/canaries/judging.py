"""A canary's guardrails on what was gathered of its step."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.core.canary.comparisons import Alphas, compare_latency, compare_rates, view
from tidegate.core.canary.grammar import CanaryGuardrail
from tidegate.errors import InvalidArgument
from tidegate.services.canaries.evidence import Compared
from tidegate.watch.drift import Drift, DriftContext, DriftRule, evaluate
from tidegate.watch.histogram import Histogram
from tidegate.watch.layout import layout_of
from tidegate.wire.experiments import GuardrailView

ALPHA = 0.05
"""Of taking back a canary that is no worse than it may be: all guardrails at all steps together."""
DRIFT_ROWS_MIN = 100


def alphas_of(guardrails: Sequence[CanaryGuardrail], steps: int) -> Alphas:
    """Each guardrail's share at each step below 100 %, by the union bound."""
    return Alphas(ALPHA / max(1, len(guardrails)) / max(1, steps - 1))


def judge(
    guardrails: Sequence[CanaryGuardrail], found: Compared, crashes: tuple[int, int], alphas: Alphas
) -> list[GuardrailView]:
    """Each guardrail's view. `crashes`: of stable's version and of the canary's, since it began."""
    return [_judged(one, found, crashes, alphas) for one in guardrails]


def _judged(one: CanaryGuardrail, found: Compared, crashes: tuple[int, int], alphas: Alphas) -> GuardrailView:
    stable, canary = found.stable, found.canary
    match one.name:
        case "errors":
            return compare_rates(one, stable.errors, canary.errors, alphas)
        case "non_finite":
            return compare_rates(one, stable.numbers, canary.numbers, alphas)
        case "latency":
            effects = stable.latency_effect, canary.latency_effect
            return compare_latency(one, stable.durations_ms, canary.durations_ms, alphas, effects)
        case "crashes":
            before, now = crashes
            breached = now > one.value and now > before
            return view(one, float(now), None, "breached" if breached else "ok")
        case "drift":
            return _drift(one, found, alphas)


def _drift(one: CanaryGuardrail, found: Compared, alphas: Alphas) -> GuardrailView:
    """The column of the answers that moved most, by the lower bound of how many rows lie elsewhere."""
    worst: Drift | None = None
    for drift in _drifts(one, found, alphas):
        if drift.effect_lower is not None and (worst is None or drift.effect_lower > (worst.effect_lower or 0.0)):
            worst = drift
    if worst is None:
        return view(one, None, None, "unknown")
    is_breached = (worst.effect_lower or 0.0) > one.value
    return view(one, worst.effect, worst.effect_lower, "breached" if is_breached else "ok")


def _drifts(one: CanaryGuardrail, found: Compared, alphas: Alphas) -> list[Drift]:
    stable, canary = found.stable, found.canary
    before: dict[str, Histogram] = {}
    now: dict[str, Histogram] = {}
    for name, values in stable.outputs.items():
        others = canary.outputs.get(name)
        if others is None or min(len(values), len(others)) < DRIFT_ROWS_MIN:
            continue
        try:
            layout = layout_of(values, stable.kinds.get(name), stable.datatypes[name], name=name)  # type: ignore[arg-type]
            before[name] = Histogram.of(values, layout, name)
            now[name] = Histogram.of(others, layout, name)
        except InvalidArgument:  # answers that are all missing, or of no type that has a distribution
            continue
    if not before:
        return []
    rule = DriftRule(margin=one.value, alpha=alphas.breach)
    context = DriftContext(outputs=list(before), page_alpha=alphas.breach)
    return list(evaluate(before, now, rule, context).values())
