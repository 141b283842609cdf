"""Experiments, canaries and shadows as the API shows them, made by hand: for pages and reports."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from tidegate.wire.experiments.canary import CanaryStep, CanaryView
from tidegate.wire.experiments.experiments import (
    ArmView,
    ExperimentDecision,
    ExperimentView,
    GuardrailView,
    LookView,
    MetricView,
    PhaseView,
    RatioView,
)
from tidegate.wire.experiments.shadows import PairedView, ShadowView

NOON = 1_795_003_200.0  # 2026-11-18 12:00 UTC
HOUR_S = 3600.0


def metric(units: int, name: str = "conversion", variant: str = "treatment", effect: float = 0.08) -> MetricView:
    """After so many units an arm; with fewer than 100 nothing is known."""
    if units < 100:
        return MetricView(name, variant, None, None, None, None, None, None, False, None, "", units, units)
    width = 8.0 / math.sqrt(units)
    known = effect - width > 0
    p_value, winner = (0.004, "b") if known else (0.4, None)
    return MetricView(name, variant, 0.1, 0.1 * (1 + effect), effect, effect - width, effect + width, p_value, known,
                      winner, "asymptotic", units, units, 40)  # fmt: skip


def guardrail(units: int, name: str = "errors", state: str = "ok", **about: Any) -> GuardrailView:
    """A margin of 0.02 that is kept; with few units nothing is known."""
    if units < 100:
        return GuardrailView(name, "treatment", None, None, 0.02, "unknown")
    shown: Any = state if units > 4000 or state == "breached" else "undecided"
    return replace(GuardrailView(name, "treatment", 0.002, 0.002 + 1.2 / math.sqrt(units), 0.02, shown), **about)


def look(number: int, decision: ExperimentDecision | None = None, sound: bool = True) -> LookView:
    """The look after so many hours: 300 units an arm came in each."""
    units = 300 * number
    found = metric(units)
    said = decision or ("insufficient_data" if units < 100 else "promote" if found.significant else "continue")
    reason = {
        "insufficient_data": "conversion has 0 units in the smaller arm of 100 that are needed",
        "promote": "treatment's conversion is 0.2 % to 15.8 % better; ready to promote",
        "rollback": "treatment's errors is worse by at least 3.1 %, and may be by 2 %",
        "hold": "unhealthy: ratio. Units did not come as they were shared out",
    }.get(said, "treatment's conversion is between 3.1 % worse and 19.0 % better")
    arms = [
        ArmView("control", "1", 50.0, units, 40, units + 40),
        ArmView("treatment", "2", 50.0, units - 12 * (number > 0), 44, units + 32),
    ]
    rails = [guardrail(units), guardrail(units, "latency", kind="max", value=0.13, bound=0.16, margin=0.2)]
    ratio = RatioView(sound, 0.03 if sound else 240.0, 2)
    return LookView(NOON + HOUR_S * number, said, reason, [found], rails, ratio, arms)


def experiment(looks: int = 30, **about: Any) -> ExperimentView:
    """One of two arms that goes on, and was looked at every hour."""
    found = [look(number) for number in range(looks)]
    last = found[-1] if found else look(0)
    first = last.metrics[0]
    view = ExperimentView(
        "price-page", "churn", "1", "2", 0.5, "2026-11-18T12:00:00Z", True, "running",
        "insufficient_data" if last.decision == "insufficient_data" else "running", 2,
        last.arms, last.metrics, last.guardrails, last.ratio, last.decision, last.reason,
        "about 3 days left at the present rate", 3.0, first.model_a_mean, first.model_b_mean, first.improvement,
        first.lower, first.upper, first.p_value, first.significant, first.winner,
        created_at=NOON - HOUR_S, started_at=NOON, looked_at=last.at, expected_days=6.0,
        phases=[PhaseView(1, NOON, 0.1), PhaseView(2, NOON + 12 * HOUR_S, 1.0)], looks=found,
    )  # fmt: skip
    return replace(view, **about)


def draft(**about: Any) -> ExperimentView:
    """One that nobody has started."""
    arms = [ArmView("control", "1", 50.0, 0, 0), ArmView("treatment", "2", 50.0, 0, 0)]
    return experiment(0, **{
        "state": "draft", "status": "draft", "active": False, "phase": None, "start_time": None, "started_at": None,
        "looked_at": None, "phases": [], "metrics": [], "guardrails": [], "arms": arms, "ratio": RatioView(True, None),
        "reason": "", "next": "start it", "days_left": None, **about,
    })  # fmt: skip


def ended(decision: ExperimentDecision, **about: Any) -> ExperimentView:
    """One that has been decided."""
    view = experiment(100)
    return replace(view, **{
        "state": "decided", "active": False, "decision": decision, "ended_at": view.looked_at, "next": "",
        "days_left": None, **about,
    })  # fmt: skip


def canary(**about: Any) -> CanaryView:
    """One in its third step."""
    history = [
        CanaryStep(1.0, NOON, NOON + 600, 1204, 1190, "600 s and 1,204 requests without a breach"),
        CanaryStep(5.0, NOON + 600, NOON + 1300, 6020, 6101, "700 s and 6,020 requests without a breach"),
        CanaryStep(25.0, NOON + 1300, None, 8040, 8012, "it has its requests, and waits for its time"),
    ]
    rails = [
        guardrail(5000, "errors", kind="margin", variant="canary"),
        guardrail(5000, "latency_p95_ms", kind="max", value=130.0, bound=142.0, margin=200.0, variant="canary"),
        GuardrailView("drift", "canary", None, None, 0.1, "unknown", "max"),
    ]
    view = CanaryView(
        "churn", "canary", "2", {"1": 100.0}, "running", 2, [1.0, 5.0, 25.0, 50.0, 100.0], 25.0, 600.0, NOON,
        NOON + 1300, NOON + 1900, "no guardrail is breached", "the step to 50 % at 12:31 UTC", rails, history,
        NOON + 1500,
    )  # fmt: skip
    return replace(view, **about)


def shadow(**about: Any) -> ShadowView:
    """One with labels."""
    paired = PairedView(4000, 3300, 180, 240, 280, 0.015, 0.002, 0.028, 0.02, True, "b",
                        "the shadow is right more often")  # fmt: skip
    view = ShadowView("churn", "2", 20.0, NOON, "ready", "", 12_000, 0.94, 0.031, 8.1,
                      21.0, 7.9, 19.5, 12, 340, NOON, paired)  # fmt: skip
    return replace(view, **about)
