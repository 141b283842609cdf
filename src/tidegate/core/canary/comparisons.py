"""A canary's requests beside those of stable's slice, valid at every look. Pure.

Each side's rate has a confidence sequence by a beta-binomial mixture (Robbins 1970), and quantiles one by inverting it
at the quantile's level (Howard and Ramdas 2022, arXiv 1906.09712); a difference is bounded by both sides' ends, each at
half of the error rate. Requests of one key are not independent: counts are divided by the design effect of the keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma
from typing import Any

import numpy as np

from tidegate.core.canary.grammar import CanaryGuardrail
from tidegate.core.canary.split import CANARY
from tidegate.wire.experiments import GuardrailState, GuardrailView

LEVEL = 0.95
"""The quantile that latencies are compared by."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Alphas:
    """`breach`: of calling a canary worse that is not, each guardrail at each step; `fine`: of the opposite."""

    breach: float
    fine: float = 0.05


@dataclass(frozen=True)
class Counted:
    """Of so many requests, in how many something happened. `effect`: how many dependent ones count as one."""

    found: int
    requests: int
    effect: float = 1.0

    @property
    def rate(self) -> float | None:
        return self.found / self.requests if self.requests else None


def rate_bounds(found: float, requests: float, alpha: float) -> tuple[float, float]:
    """A rate's confidence sequence: it is between these at all looks together, but with probability `alpha`."""
    if requests <= 0:
        return 0.0, 1.0
    mixed = _log_beta(found + 0.5, requests - found + 0.5) - _log_beta(0.5, 0.5)
    limit = mixed - math.log(1 / alpha)
    rate = found / requests

    def outside(at: float) -> bool:
        """Whether the data speak against this rate."""
        likely = found * math.log(at) if found else 0.0
        likely += (requests - found) * math.log1p(-at) if requests > found else 0.0
        return likely < limit

    low = 0.0 if not found else _end(0.0, rate, outside)
    high = 1.0 if found >= requests else _end(1.0, rate, outside)
    return low, high


def compare_rates(guardrail: CanaryGuardrail, stable: Counted, canary: Counted, alphas: Alphas) -> GuardrailView:
    """Whether something happens more often to the canary's requests than the guardrail lets it."""
    allowed = guardrail.value
    if guardrail.kind == "margin" and not guardrail.absolute:
        allowed = guardrail.value * (stable.rate or 0.0)
    if canary.rate is None or stable.rate is None:
        return view(guardrail, canary.rate, None, "unknown")
    differs = canary.rate - stable.rate
    low, _ = _difference(stable, canary, alphas.breach)
    surely_more = low > (0.0 if guardrail.kind == "max" else allowed) or (
        allowed == 0 and guardrail.kind == "margin" and _is_more(stable, canary, alphas.breach)
    )
    own = rate_bounds(canary.found / canary.effect, canary.requests / canary.effect, alphas.breach)
    if guardrail.kind == "max":
        state = _state(breached=surely_more and own[0] > allowed, fine=_high(canary, alphas.fine) < allowed)
        return view(guardrail, canary.rate, own[0] if state == "breached" else own[1], state)
    _, most = _difference(stable, canary, alphas.fine)
    state = _state(breached=surely_more, fine=most < allowed or (allowed == 0 and not canary.found))
    return view(guardrail, differs, low if state == "breached" else most, state)


def compare_latency(
    guardrail: CanaryGuardrail, stable: Array, canary: Array, alphas: Alphas, effects: tuple[float, float] = (1.0, 1.0)
) -> GuardrailView:
    """Whether the canary's 95th percentile (`canary` and `stable` are durations in ms) is past the guardrail."""
    if not stable.size or not canary.size:
        return view(guardrail, None, None, "unknown")
    before, now = np.sort(stable), np.sort(canary)
    was, is_ = float(np.quantile(before, LEVEL)), float(np.quantile(now, LEVEL))
    sides = tuple(zip((before, now), effects, strict=True))
    ends = [quantile_bounds(one, LEVEL, alphas.breach / 2, effect) for one, effect in sides]
    fine = [quantile_bounds(one, LEVEL, alphas.fine / 2, effect) for one, effect in sides]
    if guardrail.kind == "max":
        breached = ends[1][0] > guardrail.value and ends[1][0] > ends[0][1]
        state = _state(breached=breached, fine=fine[1][1] < guardrail.value)
        return view(guardrail, is_, _finite(ends[1][0] if breached else fine[1][1]), state)
    if guardrail.absolute:
        low, high, value = ends[1][0] - ends[0][1], fine[1][1] - fine[0][0], is_ - was
    else:
        low, high, value = _ratio(ends[1][0], ends[0][1]), _ratio(fine[1][1], fine[0][0]), _ratio(is_, was)
    state = _state(breached=low > guardrail.value, fine=high < guardrail.value)
    return view(guardrail, _finite(value), _finite(low if state == "breached" else high), state)


def quantile_bounds(ordered: Array, level: float, alpha: float, effect: float = 1.0) -> tuple[float, float]:
    """A quantile's confidence sequence; `ordered` are values in ascending order. Infinite where nothing bounds it."""
    size = ordered.size

    def speaks_against(count: int) -> int:
        """-1 where the quantile lies above that many values, 1 where below, 0 where it may lie there."""
        low, high = rate_bounds(count / effect, size / effect, alpha)
        return -1 if high < level else 1 if low > level else 0

    first = _first(size, lambda count: speaks_against(count) >= 0)
    last = _first(size, lambda count: speaks_against(count) > 0)
    lower = -math.inf if first == 0 else float(ordered[min(first, size) - 1])
    upper = math.inf if last > size else float(ordered[min(last, size - 1)])
    return lower, upper


def design_effect(keys: Array, bad: Array) -> float:
    """How many requests count as one, where those of a key are alike: the variance of keys' totals beside that of
    independent requests, at least 1. Requests without a key are keys of their own.
    """
    named = np.array([key is not None for key in keys.tolist()], dtype=bool)
    if not named.any() or bad.size < 2:
        return 1.0
    rate = float(bad.mean())
    spread = rate * (1 - rate)
    if spread <= 0:
        return 1.0
    _, places = np.unique(keys[named].astype(str), return_inverse=True)
    totals = np.bincount(places, weights=bad[named] - rate)
    own = float(((bad[~named] - rate) ** 2).sum())
    return max(1.0, (float((totals**2).sum()) + own) / (bad.size * spread))


def view(guardrail: CanaryGuardrail, value: float | None, bound: float | None, state: GuardrailState) -> GuardrailView:
    """As people see it."""
    about = guardrail.kind, guardrail.dry_run, guardrail.absolute
    return GuardrailView(guardrail.name, CANARY, value, bound, guardrail.value, state, *about)


def _state(*, breached: bool, fine: bool) -> GuardrailState:
    return "breached" if breached else "ok" if fine else "undecided"


def _difference(stable: Counted, canary: Counted, alpha: float) -> tuple[float, float]:
    before = rate_bounds(stable.found / stable.effect, stable.requests / stable.effect, alpha / 2)
    now = rate_bounds(canary.found / canary.effect, canary.requests / canary.effect, alpha / 2)
    return now[0] - before[1], now[1] - before[0]


def _high(counted: Counted, alpha: float) -> float:
    return rate_bounds(counted.found / counted.effect, counted.requests / counted.effect, alpha)[1]


def _is_more(stable: Counted, canary: Counted, alpha: float) -> bool:
    """Of all that happened, more to the canary than its share of the requests is: stronger where it is rare.

    Given how often it happened in all, each was the canary's with the probability of its share, if the rates are equal.
    """
    effect = max(stable.effect, canary.effect)
    found, all_ = canary.found / effect, (canary.found + stable.found) / effect
    share = canary.requests / (canary.requests + stable.requests)
    return all_ > 0 and rate_bounds(found, all_, alpha)[0] > share


def _ratio(now: float, before: float) -> float:
    if math.isinf(before) and before > 0:
        return -math.inf
    return math.inf if before <= 0 else now / before - 1


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _end(out: float, inside: float, outside: Callable[[float], bool]) -> float:
    """Where what is outside becomes inside, to 1e-9, on the outer side."""
    a, b = out, inside
    for _ in range(60):
        middle = (a + b) / 2
        if middle in (0.0, 1.0) or outside(middle):
            a = middle
        else:
            b = middle
        if abs(a - b) < 1e-9:
            break
    return a


def _first(size: int, holds: Callable[[int], bool]) -> int:
    """The smallest count from 0 to `size` for which it holds, which goes on to hold; `size` + 1 where it never does."""
    low, high = 0, size + 1
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
