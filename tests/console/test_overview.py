"""What the overview says of endpoints and of what needs attention, over HTTP."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from support.control import ME, add_version
from tidegate.clock import monotonic
from tidegate.console.pages.overview import ITEMS
from tidegate.core.engines.placement import PlacementRequest
from tidegate.services.gateways.load import Load
from tidegate.services.gateways.load_series import LoadOverview
from tidegate.services.reading.lookup import endpoint_or_raise
from tidegate.store.fleet.fleet import set_placement
from tidegate.wire import rest
from tidegate.wire.gateways.load import LoadReport, VersionLoad
from tidegate.wiring import Container


def test_it_lists_endpoints_page_by_page(browser: httpx.Client, container: Container) -> None:
    add_version(container, "listed", "1")
    for number in range(3):
        container.endpoints.deploy(f"listed-{number}", rest.DeployRequest("listed", "1"), ME)
    seen, path = [], "/?rows=2"
    while path:
        page = browser.get(path)
        assert page.status_code == 200
        seen += re.findall(r'<th scope="row"><a href="/endpoints/([^"]+)"', page.text)
        found = re.search(r'href="([^"]+)">Next page', page.text)
        path = html.unescape(found[1]) if found else ""
    assert [name for name in seen if name.startswith("listed-")] == ["listed-0", "listed-1", "listed-2"]
    assert len(set(seen)) == len(seen)


def test_where_more_needs_attention_than_is_shown_it_says_so(browser: httpx.Client, container: Container) -> None:
    add_version(container, "crowd", "1")
    for number in range(ITEMS + 1):
        container.endpoints.deploy(f"crowd-{number:02}", rest.DeployRequest("crowd", "1"), ME)
    page = browser.get("/?rows=200").text
    section = page[page.index('id="live_attention"') :].partition("</section>")[0]
    assert section.count("<li>") == ITEMS
    assert f"These are the first {ITEMS}" in section


def test_how_many_instances_run_is_unknown_where_their_engine_alone_counts_them(
    browser: httpx.Client, container: Container
) -> None:
    add_version(container, "pooled", "1")
    container.endpoints.deploy("pooled", rest.DeployRequest("pooled", "1"), ME)
    with container.store.transaction() as tx:
        set_placement(endpoint_or_raise(tx, "pooled"), PlacementRequest("cloudrun"))
    view = container.endpoints.get("pooled")
    assert (view.variants[0].replicas, view.variants[0].managed_by) == (rest.ReplicaCount(1, 0), "cloudrun")
    assert container.scales.get("pooled").versions[0].managed_by == "cloudrun"
    page = browser.get("/?rows=200").text
    row = page[page.index('id="row-pooled"') :].partition("</tr>")[0]
    assert 'unknown <span class="sub">Google Cloud Run counts</span>' in row
    of_it = browser.get("/endpoints/pooled").text
    assert "0 of 1" not in of_it
    assert of_it.count("Google Cloud Run counts") == 1
    assert "instances on Google Cloud Run" in of_it


def test_what_is_not_known_is_not_nothing(browser: httpx.Client, container: Container) -> None:
    add_version(container, "quiet", "1")
    container.endpoints.deploy("quiet", rest.DeployRequest("quiet", "1"), ME)
    page = browser.get("/?rows=200").text
    row = page[page.index('id="row-quiet"') :].partition("</tr>")[0]
    assert row.count("\N{EN DASH}") == 3, "no gateway has told rate, errors and latency"
    assert "deploying" in row


def test_each_endpoint_that_was_asked_for_something_has_small_lines(
    browser: httpx.Client, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_version(container, "lined", "1")
    for name in ("lined", "lined-idle"):
        container.endpoints.deploy(name, rest.DeployRequest("lined", "1"), ME)
    load = VersionLoad("lined", "1", 0.5, 20, 0, [0, 20, *[0] * 15])
    at = monotonic()
    overview = Load(lambda: at, lambda: {"g-0"}, 10_000)
    for _ in range(60):
        at += 1.0
        overview.record(LoadReport("g-0", 1.0, [load]))
    monkeypatch.setattr(container, "load_overview", LoadOverview(overview))
    page = browser.get("/?rows=200").text
    row = page[page.index('id="row-lined"') :].partition("</tr>")[0]
    assert row.count("<svg") == 2, "rate and p95"
    assert "Requests a second, five minutes" in row
    idle = page[page.index('id="row-lined-idle"') :].partition("</tr>")[0]
    assert "five minutes" not in idle
