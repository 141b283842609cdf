"""Chromium without a screen, driven by Playwright: pages as a person's browser shows them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, sync_playwright

from support.services import missing

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT_MS = 30_000


def program() -> str:
    """The browser's path; where there is none, the test is skipped, or fails in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        missing("Chromium")
    return found


class Chromium:
    """One browser with a profile of its own; `visit` opens a page of it."""

    def __init__(self) -> None:
        self._profile = Path(tempfile.mkdtemp(prefix="tidegate-chromium-"))
        self._playwright = sync_playwright().start()
        self._context = self._playwright.chromium.launch_persistent_context(
            self._profile, executable_path=program(), args=ARGS, viewport={"width": 1280, "height": 1000}
        )
        self._context.set_default_timeout(WAIT_MS)

    def visit(self, url: str, *, key: str | None = None) -> Visit:
        """The page at `url`, once its document is there; `key` goes with each of its requests."""
        return Visit(self._context.new_page(), url, key)

    def remove(self) -> None:
        """End the browser and its profile."""
        self._context.close()
        self._playwright.stop()
        shutil.rmtree(self._profile, ignore_errors=True)


class Visit:
    """A page of Swagger UI and what went wrong on it: console messages, exceptions, requests to other servers."""

    def __init__(self, page: Page, url: str, key: str | None) -> None:
        self.page = page
        self.complaints: list[str] = []
        self._origin = "/".join(url.split("/")[:3])
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._asked)
        if key is not None:
            page.set_extra_http_headers({"Authorization": f"Bearer {key}"})
        page.goto(url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._origin + "/", "data:")):
            self.complaints.append(f"it asked another server: {request.url}")

    def operations(self) -> list[str]:
        """Methods and paths of the operations that the page lists, such as "POST /predict"."""
        self.page.locator(".opblock").first.wait_for()
        blocks = self.page.locator(".opblock").all()
        return [f"{_text(one, '.opblock-summary-method')} {_text(one, '.opblock-summary-path')}" for one in blocks]

    def execute(self, operation: str) -> tuple[int, str]:
        """Open an operation, send what the page has filled in, and read status and body of the answer from the page."""
        block = self.page.locator(".opblock").nth(self.operations().index(operation))
        block.locator(".opblock-summary-control").click()
        block.get_by_role("button", name="Execute").click()
        answer = block.locator(".live-responses-table")
        answer.wait_for()
        status = answer.locator("tbody .response-col_status").first.inner_text()
        return int(status.split()[0]), answer.locator("tbody pre").first.inner_text()


def _text(block: Locator, selector: str) -> str:
    # Long paths have characters of no width in them, where lines may break.
    return block.locator(selector).inner_text().replace("\u200b", "").strip()
