"""axe-core finds nothing on any page, light and dark: WCAG 2.2 A and AA, and its own best practices."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import pytest

from support.console_pages import pages_of
from support.models import Models
from support.platform import Platform
from support.services import missing
from support.services.chromium import Chromium

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def axe() -> str:
    """The script, which the package has beside its own code."""
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        missing("axe-core (axe-playwright-python)")
    return Path(found.origin).with_name("axe.min.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    chromium: Chromium, axe: str, platform: Platform, models: Models, scheme: Literal["light", "dark"]
) -> None:
    platform.done("deploy", models.path("small.joblib"), "--name", "axe", "--allow-pickle")
    arms = ("--control", "1", "--treatment", "1", "--metric", "bought:increase:proportion", "--max-days", "7")
    platform.cli("experiment", "create", "axe", "--name", "compare", *arms)  # there already for the second theme
    job = platform.api("GET", "/api/v1/jobs?subject=axe").json()["jobs"][0]["id"]
    code = platform.api("POST", "/api/v1/login-codes").json()["code"]
    page = chromium.visit(f"{platform.url}/login?code={code}").page
    page.wait_for_url(f"{platform.url}/")
    page.emulate_media(color_scheme=scheme)
    found: list[tuple[str, str, list[str]]] = []
    for path in pages_of("axe", job, "compare"):
        page.goto(platform.url + path)
        page.locator("main h1").wait_for()
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        page.evaluate(axe)
        result: dict[str, Any] = page.evaluate("rules => axe.run({ runOnly: rules })", RULES)
        assert result["passes"]
        found += [(path, one["id"], [node["html"][:200] for node in one["nodes"]]) for one in result["violations"]]
    page.close()
    assert found == []
