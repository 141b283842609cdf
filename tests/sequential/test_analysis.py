"""Looks at experiments: what is found, and what is decided from it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tidegate.sequential import means
from tidegate.sequential.analysis import Analysis, analyse
from tidegate.sequential.decision import DecisionFacts, ExperimentVerdict, decide
from tidegate.sequential.units import Exposed, Units
from tidegate.wire.experiments.experiments import ArmSpec, ExperimentSpec, Guardrail, Metric, OnBreach

CONVERSION = Metric("conversion", "increase", "proportion")
LATENCY = Metric("latency", "decrease", "mean", source="latency")
ARMS = (ArmSpec("control", "1", 50.0), ArmSpec("treatment", "2", 50.0))
SPEC = ExperimentSpec(ARMS, (CONVERSION,), (Guardrail(LATENCY, "margin", 0.1),), mde=0.2, auto=True)
DAY = 86400.0


def flips(rates: tuple[float, ...], n: int, seed: int = 1) -> Units:
    rng = np.random.default_rng(seed)
    arm = np.arange(n * len(rates)) % len(rates)
    return Units(arm, np.ones(arm.size, np.int64), (rng.random(arm.size) < np.asarray(rates)[arm]).astype(float))


def times(ms: tuple[float, ...], n: int, seed: int = 2) -> Units:
    rng = np.random.default_rng(seed)
    arm = np.arange(n * len(ms)) % len(ms)
    return Units(arm, np.ones(arm.size, np.int64), np.asarray(ms)[arm] * rng.lognormal(0, 0.3, arm.size))


def look(
    units: dict[str, Units], spec: ExperimentSpec = SPEC, days: float = 1.0, n: int = 5000
) -> tuple[Analysis, ExperimentVerdict]:
    found = analyse(spec, units, Exposed({1: [n] * len(spec.arms)}))
    return found, decide(spec, found, DecisionFacts(0.0, days * DAY))


def test_a_better_version_that_keeps_its_guardrails_is_promoted_in_words() -> None:
    found, verdict = look({"conversion": flips((0.2, 0.26), 8000), "guardrail:latency": times((30, 30), 8000)})
    assert verdict.decision == "promote"
    assert verdict.variant == "treatment"
    assert verdict.reason.startswith("treatment's conversion is ")
    assert verdict.reason.endswith(" better; ready to promote")
    (view,) = found.metrics
    assert view.winner == "b"
    assert view.lower is not None
    assert view.upper is not None
    assert 0 < view.lower < 0.3 < view.upper


def test_a_better_version_that_is_too_slow_is_rolled_back() -> None:
    found, verdict = look({"conversion": flips((0.2, 0.26), 8000), "guardrail:latency": times((30, 45), 8000)})
    assert verdict.decision == "rollback"
    assert "latency is worse by at least" in verdict.reason
    (guard,) = found.guardrails
    assert guard.state == "breached"
    assert guard.bound is not None
    assert guard.bound > guard.margin


@pytest.mark.parametrize(("on_breach", "decision"), [("hold", "hold"), ("alert", "continue")])
def test_a_breach_does_what_it_was_told_to_do(on_breach: OnBreach, decision: str) -> None:
    spec = replace(SPEC, on_breach=on_breach)
    _, verdict = look({"conversion": flips((0.2, 0.26), 8000), "guardrail:latency": times((30, 45), 8000)}, spec)
    assert verdict.decision == decision


def test_a_dry_run_decides_nothing() -> None:
    spec = replace(SPEC, guardrails=(Guardrail(LATENCY, "margin", 0.1, dry_run=True),))
    found, verdict = look({"conversion": flips((0.2, 0.26), 8000), "guardrail:latency": times((30, 45), 8000)}, spec)
    assert found.guardrails[0].state == "breached"
    assert verdict.decision == "promote"


def test_a_worse_version_is_rolled_back_without_any_guardrail() -> None:
    spec = replace(SPEC, guardrails=())
    _, verdict = look({"conversion": flips((0.26, 0.2), 8000)}, spec)
    assert verdict.decision == "rollback"
    assert "worse" in verdict.reason


def test_a_guardrail_that_is_not_reported_keeps_a_better_version_waiting() -> None:
    _, verdict = look({"conversion": flips((0.2, 0.26), 8000)})
    assert verdict.decision == "continue"
    assert "not yet known to keep its margin: latency" in verdict.reason


def test_too_few_units_say_nothing() -> None:
    found, verdict = look({"conversion": flips((0.0, 1.0), 60)}, replace(SPEC, guardrails=()))
    assert verdict.decision == "insufficient_data"
    assert found.metrics[0].p_value is None
    assert "60 units in the smaller arm of 100" in verdict.reason


def test_a_metric_that_nobody_reports_is_named() -> None:
    found = analyse(SPEC, {}, Exposed({1: [500, 500]}))
    verdict = decide(SPEC, found, DecisionFacts(0.0, DAY, unreported=["conversion"]))
    assert verdict.decision == "insufficient_data"
    assert "conversion" in verdict.reason


def test_equal_versions_go_on_and_then_end() -> None:
    units = {"conversion": flips((0.2, 0.2), 2000), "guardrail:latency": times((30, 30), 2000)}
    _, verdict = look(units)
    assert verdict.decision == "continue"
    assert verdict.days_left is not None
    assert "left at the present rate" in verdict.next
    _, verdict = look(units, days=31)
    assert verdict.decision == "inconclusive"


def test_a_wrong_ratio_holds() -> None:
    units = {"conversion": flips((0.2, 0.26), 8000), "guardrail:latency": times((30, 30), 8000)}
    found = analyse(SPEC, units, Exposed({1: [8000, 6500]}))
    assert not found.ratio.sound
    verdict = decide(SPEC, found, DecisionFacts(0.0, DAY))
    assert verdict.decision == "hold"
    assert "ratio" in verdict.reason
    mixed = analyse(SPEC, units, Exposed({1: [8000, 8000]}, several=400))
    assert "more than one arm" in decide(SPEC, mixed, DecisionFacts(0.0, DAY)).reason


def test_the_interval_of_the_improvement_leaves_out_zero_exactly_when_the_test_rejects() -> None:
    spec = replace(SPEC, guardrails=())
    for seed in range(40):
        found, _ = look({"conversion": flips((0.2, 0.225), 3000, seed)}, spec)
        (view,) = found.metrics
        assert view.lower is not None
        assert view.upper is not None
        assert view.p_value is not None
        assert (not view.lower <= 0 <= view.upper) == (view.p_value <= spec.alpha)


def complaints(control: float, treatment: float, n: int, shape: float = 1.0) -> dict[str, Units]:
    rng = np.random.default_rng(5)
    arm = np.arange(2 * n) % 2
    value = np.where(rng.random(arm.size) < np.asarray((control, treatment))[arm], shape, 0.0)
    return {"complaints": Units(arm, np.ones(arm.size, np.int64), value)}


COMPLAINTS = Metric("complaints", "decrease", "count")


def test_a_large_effect_on_few_units_has_a_lower_end_where_control_may_be_zero() -> None:
    spec = replace(SPEC, guardrails=(), mde=0.05, metrics=(replace(COMPLAINTS, direction="increase"),))
    found, verdict = look(complaints(0.02, 0.9, 150), spec)
    (view,) = found.metrics
    assert (view.significant, view.winner) == (True, "b")
    assert view.upper is None, "control may be 0"
    assert view.lower is not None
    assert 0 < view.lower < (view.improvement or 0.0)
    assert verdict.reason.startswith("treatment's complaints is at least ")
    for seed in range(200):  # and where it has one, it leaves out 0 exactly when the test rejects
        rng = np.random.default_rng(seed)
        rare = complaints(rng.uniform(0.005, 0.05), rng.uniform(0.05, 0.4), 150)
        (view,) = look(rare, spec)[0].metrics
        if view.improvement and view.improvement > 0:
            assert (view.lower is not None and view.lower > 0) == view.significant


def test_values_of_either_sign_have_no_end_where_control_may_be_zero() -> None:
    spec = replace(SPEC, guardrails=(), mde=0.05, metrics=(replace(COMPLAINTS, direction="increase"),))
    units = complaints(0.02, 0.9, 150)["complaints"]
    signed = replace(units, value=units.value - 0.001)
    (view,) = look({"complaints": signed}, spec)[0].metrics
    assert (view.significant, view.lower, view.upper) == (True, None, None)


@pytest.mark.parametrize("control", [0.0, 0.02])
def test_a_margin_of_what_control_has_next_to_none_of_is_breached(control: float) -> None:
    spec = replace(SPEC, guardrails=(Guardrail(COMPLAINTS, "margin", 0.1),), mde=0.05)
    units = {"conversion": flips((0.2, 0.26), 150)}
    units["guardrail:complaints"] = complaints(control, 0.9, 150, shape=100.0)["complaints"]
    found, verdict = look(units, spec)
    assert found.guardrails[0].state == "breached"
    assert verdict.decision == "rollback"
    assert "complaints is worse" in verdict.reason


@pytest.mark.parametrize("metric", [COMPLAINTS, replace(COMPLAINTS, type="mean"), replace(COMPLAINTS, type="ratio")])
def test_arms_that_are_each_all_alike_differ_all_the_same(metric: Metric) -> None:
    arm = np.arange(400) % 2
    per = np.ones(400) if metric.type == "ratio" else None
    units = Units(arm, np.ones(400, np.int64), np.where(arm == 1, 100.0, 1.0), per)
    spec = replace(SPEC, metrics=(metric,), guardrails=(), mde=0.05)
    found, verdict = look({"complaints": units}, spec)
    assert (verdict.decision, found.metrics[0].winner) == ("rollback", "a")
    few = units.where(np.arange(400) < 60)
    assert look({"complaints": few}, spec)[1].decision == "insufficient_data"
    alike = replace(units, value=np.ones(400))
    assert look({"complaints": alike}, spec)[0].metrics[0].significant is False


def test_an_effect_next_to_nothing_is_planned_for() -> None:
    spec = replace(SPEC, guardrails=(), mde=1e-300, mde_absolute=True)
    (view,) = look({"conversion": flips((0.2, 0.2), 200)}, spec)[0].metrics
    assert view.significant is False


def test_a_metric_that_is_not_known_is_not_passed_over_when_the_days_are_over() -> None:
    spec = replace(SPEC, guardrails=(), metrics=(CONVERSION, Metric("complaints", "decrease", "count")))
    units = {"conversion": flips((0.2, 0.26), 8000)}
    assert look(units, spec, days=29)[1].decision == "insufficient_data"
    ended = look(units, spec, days=31)[1]
    assert (ended.decision, "complaints has too few units" in ended.reason) == ("inconclusive", True)


def test_what_is_held_ends_all_the_same_when_its_days_are_over() -> None:
    units = {"conversion": flips((0.2, 0.26), 8000), "guardrail:latency": times((30, 45), 8000)}
    _, held = look(units, replace(SPEC, on_breach="hold"), days=29)
    assert (held.decision, "resume" in held.next) == ("hold", False)
    _, ended = look(units, replace(SPEC, on_breach="hold"), days=31)
    assert ended.decision == "inconclusive"
    assert "latency is worse" in ended.reason
    mismatched = analyse(SPEC, units | {"guardrail:latency": times((30, 30), 8000)}, Exposed({1: [8000, 6500]}))
    ended = decide(SPEC, mismatched, DecisionFacts(0.0, 31 * DAY))
    assert (ended.decision, "unhealthy: ratio" in ended.reason) == ("inconclusive", True)


def test_the_e_value_is_one_over_alpha_at_the_end_of_the_interval() -> None:
    half = means.factor(4000, 10_000, 0.05) * 0.1
    evidence = means.log_e(half, 0.01, 4000, means.rho(10_000, 0.05))
    assert evidence == pytest.approx(math.log(20), abs=1e-9)


def test_the_least_p_value_stays_and_so_does_the_plan() -> None:
    spec = replace(SPEC, guardrails=())
    first, _ = look({"conversion": flips((0.2, 0.26), 8000)}, spec)
    later = analyse(spec, {"conversion": flips((0.2, 0.2), 20_000)}, Exposed({1: [20_000, 20_000]}), first)
    assert later.plans == first.plans
    assert later.metrics[0].p_value == first.metrics[0].p_value
    assert not later.metrics[0].significant
    assert later.metrics[0].winner is None


def test_two_treatments_and_two_metrics_share_alpha() -> None:
    arms = (*ARMS, ArmSpec("treatment-2", "3", 50.0))
    spec = replace(SPEC, arms=arms, metrics=(CONVERSION, LATENCY), guardrails=())
    units = {"conversion": flips((0.2, 0.2, 0.26), 8000), "latency": times((30, 30, 30), 8000)}
    found, verdict = look(units, spec)
    assert [(view.name, view.variant) for view in found.metrics] == [
        ("conversion", "treatment"),
        ("conversion", "treatment-2"),
        ("latency", "treatment"),
        ("latency", "treatment-2"),
    ]
    assert verdict.decision == "promote"
    assert verdict.variant == "treatment-2"


def test_a_covariate_narrows_the_interval_and_leaves_the_difference() -> None:
    rng = np.random.default_rng(3)
    arm = np.arange(8000) % 2
    before = rng.normal(10, 2, arm.size)
    value = before + rng.normal(0, 1, arm.size) + 0.3 * arm
    spec = ExperimentSpec(ARMS, (Metric("spend", "increase"),), mde=0.02)
    phase = np.ones(arm.size, np.int64)
    plain, _ = look({"spend": Units(arm, phase, value)}, spec)
    adjusted, _ = look({"spend": Units(arm, phase, value, covariate=before)}, spec)
    assert adjusted.plans["spend"].planned < 0.5 * plain.plans["spend"].planned
    width = [
        view.upper - view.lower for each in (plain, adjusted) for view in each.metrics if view.lower and view.upper
    ]
    assert width[1] < 0.6 * width[0]


def test_values_that_are_no_numbers_are_left_out() -> None:
    units = flips((0.2, 0.26), 4000)
    broken = Units(units.arm, units.phase, np.where(np.arange(units.arm.size) % 7 == 0, np.nan, units.value))
    found, _ = look({"conversion": broken}, replace(SPEC, guardrails=()))
    (view,) = found.metrics
    assert view.p_value is not None
    assert math.isfinite(view.p_value)
    assert view.units_a + view.units_b < units.arm.size


def test_rare_events_get_the_exact_test_and_keep_it() -> None:
    spec = replace(SPEC, guardrails=())
    found, _ = look({"conversion": flips((0.01, 0.01), 4000)}, spec)
    assert found.metrics[0].method == "exact"
    later = analyse(spec, {"conversion": flips((0.2, 0.2), 4000)}, Exposed({1: [4000, 4000]}), found)
    assert later.metrics[0].method == "exact"


def test_a_version_that_fails_is_rolled_back_before_it_has_a_hundred_units() -> None:
    errors = Metric("errors", "decrease", "proportion", source="errors")
    spec = replace(SPEC, guardrails=(Guardrail(errors, "max", 0.05),))
    found, verdict = look({"guardrail:errors": flips((0.0, 1.0), 30)}, spec, n=30)
    assert found.guardrails[0].state == "breached"
    assert verdict.decision == "rollback"
    both, verdict = look({"guardrail:errors": flips((1.0, 1.0), 30)}, spec, n=30)
    assert both.guardrails[0].state == "undecided"
    assert verdict.decision == "insufficient_data"


def test_a_quantile_guardrail_lets_an_equal_version_pass_and_stops_a_slow_one() -> None:
    slow = Metric("latency", "decrease", "quantile", source="latency")
    spec = replace(SPEC, guardrails=(Guardrail(slow, "margin", 0.2), Guardrail(slow, "max", 60.0)))
    better = flips((0.2, 0.26), 8000)
    _, verdict = look({"conversion": better, "guardrail:latency": times((30, 30), 8000)}, spec)
    assert verdict.decision == "promote"
    found, verdict = look({"conversion": better, "guardrail:latency": times((30, 60), 8000)}, spec)
    assert [guard.state for guard in found.guardrails] == ["breached", "breached"]
    assert verdict.decision == "rollback"


def test_guardrails_alone_and_a_clock_that_went_back_are_no_trouble() -> None:
    spec = replace(SPEC, metrics=())
    found = analyse(spec, {"guardrail:latency": times((30, 45), 4000)}, Exposed({1: [4000, 4000]}))
    assert decide(spec, found, DecisionFacts(0.0, DAY)).decision == "rollback"
    equal = {"conversion": flips((0.2, 0.2), 2000), "guardrail:latency": times((30, 30), 2000)}
    verdict = decide(SPEC, analyse(SPEC, equal, Exposed({1: [2000, 2000]})), DecisionFacts(started_at=DAY, now=0.0))
    assert verdict.decision == "continue"
    assert verdict.days_left is None


def test_a_share_is_at_worst_all_lost() -> None:
    analysis, _ = look({"conversion": flips((0.12, 0.12), 200, 2)})
    (metric,) = analysis.metrics
    assert metric.lower is not None
    assert -1.0 <= metric.lower < 0.0
    assert metric.upper is None or metric.upper > 1.0
