"""A canary's guardrails on what was gathered of its step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tidegate.core.canary.grammar import CanaryGuardrail
from tidegate.core.canary.split import CANARY
from tidegate.errors import InvalidArgument
from tidegate.sequential.guard import Alphas, Bound, Counted, is_passed, latency, rates
from tidegate.sequential.turned import turned_bad
from tidegate.sequential.units import Units
from tidegate.services.canaries.evidence import LEVEL, ComparedSides
from tidegate.services.canaries.tallies import CanaryTally
from tidegate.watch.drift.drift import Drift, DriftContext, DriftRule, evaluate
from tidegate.watch.histograms.histogram import Histogram
from tidegate.watch.histograms.layout import layout_of
from tidegate.wire.experiments.experiments import GuardrailState, GuardrailView

ALPHA = 0.05
"""Of taking back a canary that is no worse than it may be: all guardrails at all steps together."""
ERRORS_SHARE = 0.5
"""Of that, what is staked on errors: the rest is shared equally by the other guardrails that are tested."""
FIRST_SHARE = 0.5
"""Of a guardrail's, what is staked on the first step: most that is wrong with a version shows at once."""
DRIFT_ROWS_MIN = 100
Sides = tuple[Counted, Counted, tuple[Counted, Counted] | None]
"""Of stable and of the canary, in how many requests something happened; and by key, where there are keys."""


def alphas_of(guardrails: Sequence[CanaryGuardrail], step: int, steps: int) -> dict[str, Alphas]:
    """Each guardrail's share at a step below 100 %; all of them at all steps are `ALPHA`, by the union bound.

    What is counted and not tested (crashes), and what can take nothing back (dry runs), needs none.

    >>> from tidegate.core.canary.grammar import DEFAULTS
    >>> shares = [alphas_of(DEFAULTS, step, 5) for step in range(4)]
    >>> round(sum(one.breach for each in shares for name, one in each.items() if name != "crashes"), 12)
    0.05
    """
    tested = [one.name for one in guardrails if one.name != "crashes" and not one.dry_run]
    others = [name for name in tested if name != "errors"]
    for_errors = 0.0 if "errors" not in tested else ERRORS_SHARE if others else 1.0
    stakes = {name: (1 - for_errors) / len(others) for name in others} | {"errors": for_errors or ERRORS_SHARE}
    return {one.name: Alphas(ALPHA * stakes.get(one.name, ERRORS_SHARE) * _share(step, steps)) for one in guardrails}


def _share(step: int, steps: int) -> float:
    below = max(1, steps - 1)
    if below == 1:
        return 1.0
    return FIRST_SHARE if step == 0 else (1 - FIRST_SHARE) / (below - 1)


def judge(
    guardrails: Sequence[CanaryGuardrail], found: ComparedSides, crashes: tuple[int, int], alphas: Mapping[str, Alphas]
) -> list[GuardrailView]:
    """Each guardrail's view. `crashes`: of stable's version and of the canary's, since it began."""
    return [_judged(one, found, crashes, alphas[one.name]) for one in guardrails]


def breached(
    guardrails: Sequence[CanaryGuardrail], found: ComparedSides, crashes: tuple[int, int], alphas: Mapping[str, Alphas]
) -> str | None:
    """The first guardrail that is breached and no dry run. As `judge` has it; bounds are not worked out in vain."""
    for one in guardrails:
        if one.dry_run or not _is_suspect(one, found, alphas[one.name]):
            continue
        if _judged(one, found, crashes, alphas[one.name]).state == "breached":
            return one.name
    return None


def _is_suspect(one: CanaryGuardrail, found: ComparedSides, alphas: Alphas) -> bool:
    """Whether it may be breached at all, by what costs little to find out."""
    if one.kind != "margin":
        return True
    if one.name == "latency":  # a quantile that is not past its bound so far is not past it for certain
        before, now = found.stable.durations_ms, found.canary.durations_ms
        if not before.size or not now.size:
            return False
        was, is_now = float(np.quantile(before, LEVEL)), float(np.quantile(now, LEVEL))
        return is_now > (was + one.value if one.absolute else was * (1 + one.value))
    stable, canary, keys = _SIDES[one.name](found)
    return bool(found.before) or is_passed(_bound(one), stable, canary, alphas, keys)


def _judged(one: CanaryGuardrail, found: ComparedSides, crashes: tuple[int, int], alphas: Alphas) -> GuardrailView:
    match one.name:
        case "errors":
            return _errors(one, found, alphas)
        case "non_finite":
            stable, canary, _ = _numbers(found)
            return rates(_bound(one), stable, canary, alphas)
        case "latency":
            return _latency(one, found, alphas)
        case "crashes":
            before, now = crashes
            breached = now > one.value and now > before
            return _view(one, float(now), None, "breached" if breached else "ok")
        case "drift":
            return _drift(one, found, alphas)


def _latency(one: CanaryGuardrail, found: ComparedSides, alphas: Alphas) -> GuardrailView:
    """Its quantile has to be past the bound as well, where requests as a whole are surely slower."""
    seen = latency(_bound(one), _times(found), LEVEL, alphas, found.latency_effect)
    if seen.state == "breached" and (seen.value is None or seen.value <= one.value):
        return replace(seen, state="undecided")
    return seen


def _errors(one: CanaryGuardrail, found: ComparedSides, alphas: Alphas) -> GuardrailView:
    """By requests and by keys; and where few keys send them all, by what these had before."""
    stable, canary, keys = _failed(found)
    seen = rates(_bound(one), stable, canary, alphas, keys)
    if seen.state == "breached" or not found.before:
        return seen
    now, was = (
        {key: (each.found, each.requests) for key, each in of.items()} for of in (found.keys.canary, found.before)
    )
    others = found.stable.errors
    turned = turned_bad(now, was, (others.found, others.requests), _bound(one))
    return replace(seen, state="breached", bound=one.value) if turned.is_certain else seen


def _failed(found: ComparedSides) -> Sides:
    stable, canary = (_counted(each, found.error_effect) for each in (found.stable.errors, found.canary.errors))
    keys = found.keys.first
    return stable, canary, None if keys is None else (_counted(keys[0]), _counted(keys[1]))


def _numbers(found: ComparedSides) -> Sides:
    return _counted(found.stable.numbers), _counted(found.canary.numbers), None


def _counted(one: CanaryTally, effect: float = 1.0) -> Counted:
    return Counted([one.found], [one.requests], effect)


_SIDES: dict[str, Callable[[ComparedSides], Sides]] = {"errors": _failed, "non_finite": _numbers}


def _bound(one: CanaryGuardrail) -> Bound:
    return Bound(one.name, CANARY, one.kind, one.value, one.absolute, one.dry_run)


def _times(found: ComparedSides) -> Units:
    """Durations of both sides, in one phase: a step has one split."""
    sides = found.stable.durations_ms, found.canary.durations_ms
    arm = np.repeat(np.array([0, 1], dtype=np.int64), [side.size for side in sides])
    return Units(arm, np.ones(arm.size, dtype=np.int64), np.concatenate(sides))


def slow_requests(guardrail: GuardrailView, found: ComparedSides) -> int:
    """How many of the canary's requests took longer than the guardrail lets the slowest of them."""
    before, now = found.stable.durations_ms, found.canary.durations_ms
    if not before.size:
        return 0
    usual = float(np.quantile(before, LEVEL))
    most = guardrail.margin if guardrail.kind == "max" else usual * (1 + guardrail.margin)
    return int((now > most).sum())


def _view(one: CanaryGuardrail, value: float | None, bound: float | None, state: GuardrailState) -> GuardrailView:
    about = one.kind, one.dry_run, one.absolute
    return GuardrailView(one.name, CANARY, value, bound, one.value, state, *about)


def _drift(one: CanaryGuardrail, found: ComparedSides, alphas: Alphas) -> GuardrailView:
    """The column of the answers that moved most, by the lower bound of how many rows lie elsewhere.

    Of its share, a comparison gets 1/((k + 1)(k + 2)), so that all comparisons of a step get no more than all of it.
    """
    alphas = Alphas(alphas.breach / ((found.comparison + 1) * (found.comparison + 2)))
    worst: Drift | None = None
    for drift in _drifts(one, found, alphas):
        if drift.effect_lower is not None and (worst is None or drift.effect_lower > (worst.effect_lower or 0.0)):
            worst = drift
    if worst is None:
        return _view(one, None, None, "unknown")
    is_breached = (worst.effect_lower or 0.0) > one.value
    return _view(one, worst.effect, worst.effect_lower, "breached" if is_breached else "ok")


def _drifts(one: CanaryGuardrail, found: ComparedSides, alphas: Alphas) -> list[Drift]:
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
