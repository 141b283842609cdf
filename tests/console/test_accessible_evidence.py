"""axe-core finds nothing on pages that have evidence to show: an experiment's sequence, a canary's guardrails."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import pytest

from support.console import deploy_of_two, route_all_to
from support.control import ME
from support.decisions import look
from support.services import missing
from support.services.chromium import Chromium
from tidegate.clock import now
from tidegate.sequential.analysis import Analysis
from tidegate.services.experiments.evidence import ExperimentEvidence
from tidegate.store import canaries
from tidegate.store import experiments as rows
from tidegate.store.endpoints import get_endpoint
from tidegate.wire.canary import CanaryRequest
from tidegate.wire.experiments import ExperimentRequest, GuardrailView
from tidegate.wiring import Container

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
VIEWS = [
    GuardrailView("errors", "canary", 0.004, 0.02, 0.01, "undecided", absolute=True),
    GuardrailView("latency", "canary", 0.15, 0.3, 0.5, "ok"),
    GuardrailView("drift", "canary", 0.4, 0.31, 0.25, "breached", "max"),
]


@pytest.fixture(scope="module")
def evident(container: Container) -> list[str]:
    """The pages of an experiment after forty looks, and of a canary at its second step."""
    deploy_of_two(container, "sequence", guard=False)
    route_all_to(container, "sequence", "1")
    asked = ExperimentRequest("1", ["2"], ["conversion:increase:proportion"], "prices", max_days=7, start=True)
    container.experiments.create("sequence", asked, ME)
    deploy_of_two(container, "rising", guard=False)
    route_all_to(container, "rising", "1")
    container.canaries.begin("rising", CanaryRequest(version="2", steps=[10, 50, 100]), ME)
    with container.store.transaction() as tx:
        place, rising = get_endpoint(tx, "sequence"), get_endpoint(tx, "rising")
        assert place is not None
        assert rising is not None
        row = rows.get(tx, place.uid, "prices")
        assert row is not None
        for number in range(40):
            one = look(number)
            rows.add_look(tx, row, msgspec.to_builtins(one), one.at)
        analysis = Analysis(one.metrics, one.guardrails, one.ratio)
        row.evidence = msgspec.to_builtins(ExperimentEvidence(analysis, one.arms, ["a warning"]))
        row.decision, row.reason, row.looked_at, row.winner = "promote", "for a reason", now(), "treatment"
        (canary,) = canaries.active_of(tx, rising.uid)
        canary.views, canary.looked_at, canary.routed_at = [asdict(one) for one in VIEWS], now(), now()
        canary.requests = {"requests": 120, "requests_stable": 118, "answered": 120, "affected": 1}
    return ["/endpoints/sequence/experiments/prices", "/endpoints/rising/canary"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_where_there_is_evidence(
    chromium: Chromium, browser: httpx.Client, url: str, evident: list[str], scheme: Literal["light", "dark"]
) -> None:
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        missing("axe-core (axe-playwright-python)")
    axe = Path(spec.origin).with_name("axe.min.js").read_text()
    page = chromium.visit(f"{url}/login").page
    page.context.add_cookies([{"name": one.name, "value": one.value or "", "url": url} for one in browser.cookies.jar])
    page.emulate_media(color_scheme=scheme)
    found: list[tuple[str, str, list[str]]] = []
    for path in evident:
        page.goto(url + path)
        page.locator("main h1").wait_for()
        assert page.locator("figure svg").count() > 0, path
        page.evaluate(axe)
        result: dict[str, Any] = page.evaluate("rules => axe.run({ runOnly: rules })", RULES)
        assert result["passes"]
        found += [(path, one["id"], [node["html"][:200] for node in one["nodes"]]) for one in result["violations"]]
    page.close()
    assert found == []
