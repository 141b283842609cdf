"""The console in a real browser, on a platform with real models: no complaints, by keyboard alone, without scripts."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from support.console_pages import pages_of
from support.models import Models
from support.platform import Platform
from support.services.chromium import program
from support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]
WITHIN_MS = 30_000


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, models: Models) -> Iterator[Platform]:
    """A platform whose control plane tests may kill, with an endpoint `churn` of two versions."""
    own = Platform(tmp_path_factory.mktemp("console") / "data")
    try:
        own.start()
        for name in ("logistic", "small"):
            own.done("register", models.path(f"{name}.joblib"), "--name", "churn", "--allow-pickle", "--no-accelerate")
        own.done("deploy", "churn:1")
        yield own
    finally:
        own.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def session(running: Platform, chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cookies of a browser that has opened the link."""
    kept = tmp_path_factory.mktemp("session") / "state.json"
    context = chromium.new_context()
    page = context.new_page()
    page.goto(running.cli("console", "--print").out.strip())
    page.wait_for_url(f"{running.url}/")
    context.storage_state(path=kept)
    context.close()
    return kept


@pytest.fixture
def context(chromium: Browser, session: Path) -> Iterator[BrowserContext]:
    made = chromium.new_context(storage_state=session)
    made.set_default_timeout(WITHIN_MS)
    yield made
    made.close()


class Complaints(list[str]):
    """What the browser says went wrong on a page, and what it asked other servers for."""

    def __init__(self, page: Page, own: str) -> None:
        super().__init__()
        page.on("console", lambda said: self.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("request", lambda asked: None if asked.url.startswith(own + "/") else self.append(asked.url))


def is_live(page: Page) -> None:
    page.locator(".fresh.live").wait_for()


def replaced(running: Platform) -> dict[str, float]:
    """What was asked for last."""
    target: dict[str, float] = running.endpoint("churn")["target"]
    return target


@pytest.mark.parametrize("width", [1280, 360])
def test_no_page_complains_or_is_wider_than_its_screen(context: BrowserContext, running: Platform, width: int) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    complaints = Complaints(page, running.url)
    job = running.api("GET", "/api/v1/jobs").json()["jobs"][0]["id"]
    for path in pages_of("churn", job):
        page.goto(running.url + path)
        if page.evaluate("document.body.dataset.live !== undefined"):
            is_live(page)
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    # Chromium says so of pages that there are not, and of one that asks people to log in.
    own = [one for one in complaints if "404" not in one and "401" not in one]
    assert own == []


def test_sliders_add_up_to_a_hundred_and_rollback_is_one_click(context: BrowserContext, running: Platform) -> None:
    page = context.new_page()
    complaints = Complaints(page, running.url)
    page.goto(f"{running.url}/endpoints/churn")
    is_live(page)
    before = replaced(running)
    page.get_by_label("Version 2, percent, slider").fill("30")
    assert page.get_by_label("Version 1, percent", exact=True).input_value() == "70"
    page.get_by_role("button", name="Set traffic").click()
    expect(page.get_by_role("status").filter(has_text="The traffic is asked for")).to_be_visible()
    assert replaced(running) == {"1": 70, "2": 30}
    until(lambda: running.endpoint("churn")["status"] == "ready", timeout_s=60, what="both versions ready")
    expect(page.locator("#live_versions")).to_contain_text("30 %")  # it comes by itself
    page.get_by_role("button", name=re.compile("^Roll back to v1 100 %")).click()
    expect(page.get_by_role("status").filter(has_text="The rollback is asked for")).to_be_visible()
    assert replaced(running) == before
    assert complaints == []


def test_a_prediction_is_real(context: BrowserContext, running: Platform, models: Models) -> None:
    page = context.new_page()
    page.goto(f"{running.url}/endpoints/churn")
    row = models.rows[3].tolist()
    for place, value in enumerate(row):
        page.locator(f"input[name=f{place}]").fill(repr(value))
    page.get_by_role("button", name="Predict", exact=True).click()
    answer = page.locator("#answer .answer")
    expect(answer).to_contain_text(str(models.says("logistic", [row])[0]))
    page.locator("input[name=f0]").fill("much")
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator("#answer")).to_contain_text("is no number")


def test_the_main_job_by_keyboard_alone(context: BrowserContext, running: Platform) -> None:
    page = context.new_page()
    page.goto(running.url)
    is_live(page)
    _reach(page, lambda: page.evaluate("document.activeElement.textContent") == "churn")
    page.keyboard.press("Enter")
    page.wait_for_url("**/endpoints/churn")
    is_live(page)
    _reach(page, lambda: page.evaluate("document.activeElement.name") == "w.2")
    page.keyboard.press("Control+a")
    page.keyboard.type("20")
    page.keyboard.press("Enter")
    page.wait_for_url("**/endpoints/churn*")
    until(lambda: replaced(running) == {"1": 80, "2": 20}, what="the traffic")
    expect(page.get_by_role("status").filter(has_text="The traffic is asked for")).to_be_visible()
    _reach(page, lambda: page.evaluate("document.activeElement.id") == "rollback")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="The rollback is asked for")).to_be_visible()
    assert replaced(running) == {"1": 100}


def test_canary_shadow_notifier_and_monitors_by_keyboard_alone(context: BrowserContext, running: Platform) -> None:
    page = context.new_page()
    complaints = Complaints(page, running.url)

    def press(what: str, key: str = "Enter") -> None:
        """On the element of this id, name or text."""
        active = "[e => [e.id, e.name, e.textContent.trim()]].map(f => f(document.activeElement))[0]"
        _reach(page, lambda: what in page.evaluate(active))
        page.keyboard.press(key)

    page.goto(f"{running.url}/models/churn/versions/2")
    press("Step by step, as a canary")
    press("canary", "Space")
    press("deploy-button")
    page.wait_for_url("**/endpoints/churn/canary*")
    is_live(page)
    press("pause")
    expect(page.get_by_role("status").filter(has_text="It stays at this step")).to_be_visible()
    page.goto(running.url)
    is_live(page)
    press("Look at churn")  # the canary that waits
    page.wait_for_url("**/endpoints/churn/canary")
    is_live(page)
    press("abort")
    expect(page.get_by_role("status").filter(has_text="Stable gets all of the traffic again")).to_be_visible()
    assert replaced(running) == {"1": 100}

    page.goto(f"{running.url}/endpoints/churn/shadow")
    is_live(page)
    press("Start")
    expect(page.get_by_role("heading", name="Version 2")).to_be_visible()
    press("Switch it off")
    expect(page.get_by_role("button", name="Switch it off")).to_be_hidden()

    page.goto(f"{running.url}/alerts")
    is_live(page)
    press("Add a notifier")
    for name, text in (("name", "ops"), ("url", "http://127.0.0.1:9/hook")):
        _reach(page, lambda name=name: page.evaluate("document.activeElement.name") == name)  # type: ignore[misc]
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="secret")).to_be_visible()
    press("Remove ops")
    expect(page.get_by_role("status").filter(has_text="The notifier is removed")).to_be_visible()

    page.goto(f"{running.url}/endpoints/churn/monitoring")
    is_live(page)
    press("Run now")
    page.wait_for_url("**/monitoring?*")
    assert complaints == []


def _reach(page: Page, there: Callable[[], bool]) -> None:
    """Press Tab until the focus is where it should be."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if there():
            return
    raise AssertionError("Tab never came there")


def test_without_scripts_pages_are_read_and_forms_are_sent(chromium: Browser, session: Path, running: Platform) -> None:
    context = chromium.new_context(storage_state=session, java_script_enabled=False)
    page = context.new_page()
    page.goto(running.url)
    page.get_by_role("link", name="churn", exact=True).click()
    page.get_by_label("Version 1, percent").fill("60")
    page.get_by_label("Version 2, percent").fill("40")
    page.get_by_role("button", name="Set traffic").click()
    assert "The traffic is asked for" in page.content()
    assert replaced(running) == {"1": 60, "2": 40}
    page.get_by_role("button", name="Predict", exact=True).click()
    assert "answered in" in page.locator("#answer").inner_text()
    page.get_by_role("button", name=re.compile("^Roll back")).click()
    assert replaced(running) == {"1": 100}
    context.close()


def test_an_experiment_is_drafted_by_keyboard_and_discarded_without_scripts(
    context: BrowserContext, chromium: Browser, session: Path, running: Platform
) -> None:
    page = context.new_page()
    complaints = Complaints(page, running.url)
    page.goto(f"{running.url}/endpoints/churn/experiments")
    is_live(page)
    for name, text in (("name", "prices"), ("metric", "converted")):
        _reach(page, lambda name=name: page.evaluate("document.activeElement.name") == name)  # type: ignore[misc]
        page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_url("**/experiments/prices*")
    expect(page.get_by_role("status").filter(has_text="The draft is there")).to_be_visible()
    assert complaints == []
    plain = chromium.new_context(storage_state=session, java_script_enabled=False)
    page = plain.new_page()
    page.goto(f"{running.url}/endpoints/churn/experiments")
    page.get_by_role("link", name="prices", exact=True).click()
    page.get_by_role("button", name="Discard").click()
    assert "stopped" in page.locator("#live_status").inner_text()
    plain.close()


def test_a_control_plane_that_is_away_is_said_so_and_comes_back_by_itself(
    context: BrowserContext, running: Platform
) -> None:
    page = context.new_page()
    page.goto(f"{running.url}/endpoints/churn")
    is_live(page)
    os.kill(running.control_pid, signal.SIGKILL)
    lost = page.locator("#lost")
    expect(lost).to_contain_text("No answer from the control plane since", timeout=WITHIN_MS)
    expect(page.locator(".fresh.stale")).to_contain_text("s old")
    running.start()
    expect(lost).to_be_hidden(timeout=WITHIN_MS)
    is_live(page)
