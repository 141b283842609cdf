"""What the overview says of endpoints and of what needs attention, over HTTP."""

from __future__ import annotations

import html
import re

import httpx

from support.control import ME, add_version
from tidegate.console.pages.overview import ITEMS
from tidegate.wire import rest
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


def test_what_is_not_known_is_not_nothing(browser: httpx.Client, container: Container) -> None:
    add_version(container, "quiet", "1")
    container.endpoints.deploy("quiet", rest.DeployRequest("quiet", "1"), ME)
    page = browser.get("/?rows=200").text
    row = page[page.index('id="row-quiet"') :].partition("</tr>")[0]
    assert row.count("\N{EN DASH}") == 3, "no gateway has told rate, errors and latency"
    assert "deploying" in row
