"""`tidegate logs --follow`: what is shown, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from tidegate.cli.app import App
from tidegate.cli.endpoints.logs import logs
from tidegate.client.following import NewLines
from tidegate.errors import UnknownEndpoint


def follows(monkeypatch: pytest.MonkeyPatch, *looks: list[NewLines]) -> None:
    """A control plane that shows this, and then has the endpoint no more."""

    def follow_logs(_endpoint: str, _lines: int, **_how: Any) -> Iterator[list[NewLines]]:
        yield from looks
        raise UnknownEndpoint("no endpoint is named 'churn': there is none")

    client = SimpleNamespace(endpoints=SimpleNamespace(follow_logs=follow_logs))
    monkeypatch.setattr(App, "client", lambda _self: client)


@pytest.mark.parametrize(
    ("options", "out"),
    [
        ([], "==> churn-1-a, version 1 <==\nready\n"),
        (["--json"], '{"replica":"churn-1-a","version":"1","lines":["ready"],"missed":false}\n'),
        (["--version", "2"], ""),
    ],
)
def test_an_endpoint_that_goes_while_it_is_followed_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, options: list[str], out: str
) -> None:
    follows(monkeypatch, [NewLines("churn-1-a", "1", ["ready"])])
    ran = CliRunner().invoke(logs, ["churn", "--follow", *options])
    assert (ran.exit_code, ran.stdout) == (0, out)
    assert "endpoint churn is gone" in ran.stderr


def test_an_endpoint_that_was_never_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    follows(monkeypatch)
    ran = CliRunner().invoke(logs, ["churn", "--follow"])
    assert isinstance(ran.exception, UnknownEndpoint)
