"""Guardrails on what was gathered of a step: the quick answer is that of the whole judgement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tidegate.core.canary.grammar import CanaryGuardrail, guardrails
from tidegate.services.canaries.by_key import UnitKeys
from tidegate.services.canaries.evidence import ComparedSides, Side
from tidegate.services.canaries.judging import alphas_of, breached, judge
from tidegate.services.canaries.tallies import CanaryTally

SEVERAL = [
    guardrails([]),
    guardrails(["errors:margin=0.5", "latency:margin=abs:20"]),
    guardrails(["errors:max=0.05", "latency:max=80", "non_finite:off", "crashes:max=0"]),
    guardrails(["errors:margin=abs:0,dry_run", "latency:margin=0"]),
]


def found(seed: int) -> ComparedSides:
    """A step that is fine, or not: by chance."""
    rng = np.random.default_rng(seed)
    sides = []
    for worse in (1.0, float(rng.choice([1.0, 1.0, 1.6, 3.0]))):
        n = int(rng.integers(1, 300))
        errors = CanaryTally(int(rng.binomial(n, min(1.0, 0.02 * worse**2))), n)
        numbers = CanaryTally(int(rng.binomial(n, 0.01 * (worse > 2))), n)
        sides.append(Side(n, errors, numbers, rng.lognormal(3, 0.4, n) * worse))
    keys = UnitKeys((CanaryTally(0, 10), CanaryTally(int(rng.integers(0, 6)), 6))) if rng.random() < 0.5 else UnitKeys()
    return ComparedSides(sides[0], sides[1], error_effect=float(rng.choice([1.0, 2.5])), keys=keys)


@pytest.mark.parametrize("kept", SEVERAL, ids=["defaults", "margins", "limits", "no margin"])
def test_a_breach_is_found_without_bounds_exactly_where_the_whole_judgement_has_one(
    kept: tuple[CanaryGuardrail, ...],
) -> None:
    seen = set()
    for seed in range(8):
        step, crashes = found(seed), (0, seed % 3)
        alphas = alphas_of(kept, seed % 3, 4)
        views = judge(kept, step, crashes, alphas)
        whole = next((one.name for one in views if one.state == "breached" and not one.dry_run), None)
        assert breached(kept, step, crashes, alphas) == whole
        seen.add(whole)
    assert len(seen) > 1


def test_what_is_counted_or_is_a_dry_run_takes_no_share_of_the_stake() -> None:
    kept = guardrails(["drift:max=0.25,dry_run", "non_finite:off"])
    alphas = [alphas_of(kept, step, 5) for step in range(4)]
    assert sum(each[name].breach for each in alphas for name in ("errors", "latency")) == pytest.approx(0.05)
    assert alphas[0]["errors"].breach == pytest.approx(0.0125)
    only = alphas_of(guardrails(["latency:off", "non_finite:off", "drift:off"]), 0, 2)
    assert only["errors"].breach == pytest.approx(0.05)


def test_comparisons_of_answers_get_less_and_less_of_the_stake() -> None:
    rng = np.random.default_rng(1)
    side = Side(outputs={"y": rng.normal(size=400)}, datatypes={"y": "FP64"})
    moved = replace(side, outputs={"y": rng.normal(size=400) + 0.95})
    kept = guardrails(["drift:max=0.3"])
    alphas = alphas_of(kept, 0, 2)
    bounds = []
    for comparison in (0, 3, 30):
        views = judge(kept, ComparedSides(side, moved, comparison=comparison), (0, 0), alphas)
        bounds.append(next(one.bound for one in views if one.name == "drift"))
    assert bounds == sorted(bounds, reverse=True)  # type: ignore[type-var]
    assert bounds[0] > bounds[-1]  # type: ignore[operator]
