"""Files of pages: the authors' own, small, under names that change with their contents, and from this server alone."""

from __future__ import annotations

import gzip
import hashlib
import re
import tomllib
from pathlib import Path

import httpx
import pytest

from tidegate import console
from tidegate.console.assets import STATIC, asset, static

FOLDER = Path(console.__file__).parent
FIRST_LOAD_BYTES_MAX = 70_000
CSS_BYTES_MAX = 12_000


def test_vendored_files_are_the_authors_own() -> None:
    vendor = tomllib.loads((FOLDER / "vendor" / "VENDOR.toml").read_text())
    files = FOLDER / "vendor" / "files"
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files.iterdir()} == vendor["sha256"]
    assert vendor["source"].endswith("@" + vendor["version"])
    assert "Zero-Clause BSD" in (FOLDER / "vendor" / vendor["licence_file"]).read_text()
    assert f'version="{vendor["version"]}"' in (files / "htmx.min.js").read_text()


def test_own_files_are_small_and_name_no_other_server() -> None:
    style = asset(static("console.css").removeprefix(STATIC))
    assert style is not None
    assert len(style.content) <= CSS_BYTES_MAX, "with that of plots"
    for path in [*(FOLDER / "static").iterdir(), *(FOLDER / "templates").rglob("*.html")]:
        found = re.findall(r"https?://[^\s\"'<>)]+", path.read_text())
        assert [url for url in found if not url.startswith("http://www.w3.org/")] == [], path
        assert re.findall(r"<script(?! src=)|\sstyle=|\son\w+=|javascript:", path.read_text()) == [], path


def test_a_page_takes_its_files_from_here_and_may_keep_them_for_ever(browser: httpx.Client) -> None:
    page = browser.get("/")
    taken = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert len(taken) == 4
    packed = len(gzip.compress(page.content))
    for path in taken:
        assert re.search(r"\.[0-9a-f]{8}\.\w+$", path), path
        answer = browser.get(path)
        assert (answer.status_code, answer.headers["content-encoding"]) == (200, "gzip")
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        packed += int(answer.headers["content-length"])
    assert packed <= FIRST_LOAD_BYTES_MAX
    plain = browser.get(static("console.css"), headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers
    assert plain.content == browser.get(static("console.css")).content


@pytest.mark.parametrize("name", ["", "%2e%2e", "console.css", "%2e%2e%2fVENDOR.toml", "console.00000000.css"])
def test_other_files_are_not_served(name: str, browser: httpx.Client) -> None:
    assert asset(name) is None
    assert browser.get(f"/static/{name}").status_code == 404
