"""The truth table of a canary's decision, a row a case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tidegate.core.canary.decide import REQUESTS_MIN, CanaryFacts, CanaryPlan, decide
from tidegate.wire.experiments.experiments import GuardrailState, GuardrailView

PLAN = CanaryPlan((1.0, 5.0, 100.0), 600.0, 0)
LAST = replace(PLAN, step=1)


def guardrail(name: str, state: GuardrailState, value: float = 0.0, *, dry_run: bool = False) -> GuardrailView:
    return GuardrailView(name, "canary", value, 0.4, 0.01, state, dry_run=dry_run)


SHARE = GuardrailView("errors", "canary", None, None, 0.1, "undecided")
FINE = [guardrail("errors", "ok"), guardrail("latency", "ok"), guardrail("drift", "unknown")]
FACTS = CanaryFacts(1000.0, 400.0, REQUESTS_MIN, REQUESTS_MIN, FINE)


@pytest.mark.parametrize(
    ("plan", "facts", "verdict", "words"),
    [
        (PLAN, replace(FACTS, broken="its replicas do not start: no such file"), "fail", "no such file"),
        (PLAN, replace(FACTS, guardrails=[guardrail("errors", "breached")]), "abort", "errors breached"),
        (PLAN, replace(FACTS, guardrails=[guardrail("errors", "breached", dry_run=True)]), "advance", "no breach"),
        (PLAN, replace(FACTS, unreadable="the disk is away"), "wait", "the disk is away"),
        (PLAN, replace(FACTS, routed_at=None), "wait", "replicas for 1 %"),
        (replace(PLAN, paused=True), FACTS, "wait", "paused"),
        (PLAN, replace(FACTS, requests=REQUESTS_MIN - 1), "wait", "waiting for traffic: 99 requests"),
        (PLAN, replace(FACTS, requests_stable=0, now=1e12), "wait", "waiting for traffic"),
        (PLAN, replace(FACTS, now=999.0), "wait", "no breach"),
        (PLAN, FACTS, "advance", "no breach"),
        (PLAN, replace(FACTS, guardrails=[guardrail("latency", "undecided", 0.5)]), "wait", "latency past what"),
        (PLAN, replace(FACTS, guardrails=[guardrail("latency", "undecided")]), "advance", "no breach"),
        (LAST, FACTS, "promote", "no worse"),
        (LAST, replace(FACTS, guardrails=[guardrail("errors", "undecided")]), "wait", "errors not shown"),
        (LAST, replace(FACTS, guardrails=[SHARE]), "wait", "errors may be 10% more than stable's, and stable has none"),
        (LAST, replace(FACTS, guardrails=[guardrail("drift", "undecided")]), "promote", "no worse"),
    ],
)
def test_each_row_of_the_table(plan: CanaryPlan, facts: CanaryFacts, verdict: str, words: str) -> None:
    found = decide(plan, facts)
    assert found.verdict == verdict
    assert words in found.reason


def test_a_paused_canary_is_still_taken_back() -> None:
    breach = replace(FACTS, guardrails=[guardrail("errors", "breached")], answered=40, affected=37)
    found = decide(replace(PLAN, paused=True), breach)
    assert found.verdict == "abort"
    assert "37 of the 40 requests" in found.reason


def test_one_request_is_singular() -> None:
    breach = replace(FACTS, guardrails=[guardrail("errors", "breached")], answered=1, affected=1)
    assert "The one request that it was given was affected" in decide(PLAN, breach).reason
    assert "1 request, 2 of stable" in decide(PLAN, replace(FACTS, requests=1, requests_stable=2)).reason


def test_a_breach_counts_also_while_the_next_steps_replicas_are_awaited() -> None:
    assert decide(PLAN, replace(FACTS, routed_at=None, guardrails=[guardrail("errors", "breached")])).verdict == "abort"


def test_what_is_waited_for_is_said_with_its_time() -> None:
    found = decide(PLAN, replace(FACTS, now=500.0))
    assert (found.verdict, found.next_at) == ("wait", 1000.0)
    assert found.next.startswith("5 %")
