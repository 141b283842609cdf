"""The files of Swagger UI are those of its authors, each with its sum, and the pages take nothing from elsewhere."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from tidegate import swagger_ui

FOLDER = Path(swagger_ui.__file__).parent


def test_vendored_files_are_the_authors_own() -> None:
    vendor = tomllib.loads((FOLDER / "VENDOR.toml").read_text())
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (FOLDER / "files").iterdir()}
    assert there == vendor["sha256"]
    assert vendor["source"].endswith("@" + vendor["version"])
    assert "Apache License" in (FOLDER / vendor["licence_file"]).read_text()
    bundle = (FOLDER / "files" / "swagger-ui-bundle.js").read_text()
    assert f'"{vendor["version"]}"' in bundle


def test_a_page_names_only_files_that_are_served_and_has_no_script_of_its_own() -> None:
    page = swagger_ui.page("a & b", description="/openapi.json", assets="/docs")
    assert "<title>a &amp; b</title>" in page
    assert re.findall(r"<script(?! src=)", page) == []
    named = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(named) == 4
    for path in named:
        assert path.startswith("/docs/")
        assert swagger_ui.asset(path.removeprefix("/docs/")) is not None


@pytest.mark.parametrize("name", ["", "..", "VENDOR.toml", "__init__.py", "files", "../start.js", "index.html"])
def test_other_files_are_not_served(name: str) -> None:
    assert swagger_ui.asset(name) is None
