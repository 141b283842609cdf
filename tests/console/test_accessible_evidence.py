"""axe-core finds nothing on pages that have evidence to show: an experiment's sequence, a canary's guardrails,
and a shadow beside what was answered, with labels.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import httpx
import msgspec
import numpy as np
import pytest

from support.capture_bed import Gateway, batch
from support.console import deploy_of_two, route_all_to
from support.control import ME
from support.decisions import look
from support.services import missing
from support.services.chromium import Chromium
from tidegate.clock import now
from tidegate.sequential.analysis import Analysis
from tidegate.services.experiments.evidence import ExperimentEvidence
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.store.experiments import canaries
from tidegate.store.experiments import experiments as rows
from tidegate.wire.experiments.canary import CanaryRequest
from tidegate.wire.experiments.experiments import ExperimentRequest, GuardrailView
from tidegate.wire.experiments.shadows import ShadowRequest
from tidegate.wire.journal import BatchRecord, FeedbackEvent, FeedbackRecord
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
    """The pages of an experiment after forty looks, of a canary at its second step, and of a shadow with labels."""
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
    deploy_of_two(container, "shaded", guard=False)
    route_all_to(container, "shaded", "1")
    with container.store.transaction() as tx:  # without a look, which would be kept
        container.shadows.begin(tx, "shaded", ShadowRequest("2", 20.0), ME)
    record_shadowed(container)
    assert container.shadows.get("shaded").paired is not None
    return ["/endpoints/sequence/experiments/prices", "/endpoints/rising/canary", "/endpoints/shaded/shadow"]


def record_shadowed(container: Container) -> None:
    """Requests of thirty units that both versions answered, each with its label, as a gateway records them."""
    gateway, at_s = Gateway(container.settings.data_dir / "journal"), now()
    for number in range(30):
        name, right = f"shaded-{number}", number % 2
        gateway.write(answered(name, at_s, right, "1", "live"), at_s)
        gateway.write(answered(name, at_s, right if number % 5 else 1 - right, "2", "shadow"), at_s)
        at_us = round(at_s * 1e6) + 1
        label = FeedbackEvent(name, None, None, None, at_us, "shaded", label=str(right))
        gateway.write(FeedbackRecord([label], at_us), at_s)


def answered(name: str, at_s: float, answer: int, version: str, role: str) -> BatchRecord:
    """A request of one row and of its own unit."""
    made = batch(name, at_s, version=version, role=role, endpoint="shaded")
    requests = [msgspec.structs.replace(one, unit=name) for one in made.requests]
    outputs: Any = {"prediction": ("INT64", (1,), np.array([answer]).tobytes())}
    return msgspec.structs.replace(made, requests=requests, outputs=outputs)


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
