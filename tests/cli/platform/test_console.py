"""`tidegate console`: opens the link where there is a browser, and prints it where there is none."""

from __future__ import annotations

import webbrowser

import pytest
from click.testing import CliRunner

from tidegate.cli.app import App
from tidegate.cli.platform.console import console
from tidegate.client import login

LINK = "http://127.0.0.1:8800/login?code=once"


@pytest.mark.parametrize(
    ("options", "opens", "out"),
    [([], True, ""), ([], False, f"{LINK}\n"), (["--print"], True, f"{LINK}\n")],
)
def test_the_link_is_opened_or_printed(
    monkeypatch: pytest.MonkeyPatch, options: list[str], opens: bool, out: str
) -> None:
    opened: list[str] = []

    def open_(url: str) -> bool:
        opened.append(url)
        return opens

    monkeypatch.setattr(App, "client", lambda _self: None)
    monkeypatch.setattr(login, "login_url", lambda _client: LINK)
    monkeypatch.setattr(webbrowser, "open", open_)
    ran = CliRunner().invoke(console, options)
    assert (ran.exit_code, ran.stdout) == (0, out)
    assert opened == ([] if options else [LINK])
