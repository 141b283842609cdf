"""What removes something asks first; where nobody can be asked, it wants `--yes`."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator

import pytest

from support.models import Models
from support.platform import TIDEGATE, Platform, clean_env, tidegate
from support.wait import until

pytestmark = pytest.mark.slow


@pytest.fixture
def doomed(platform: Platform, models: Models) -> Iterator[str]:
    platform.done("deploy", models.path("logistic.joblib"), "--name", "doomed", "--allow-pickle", "--no-accelerate")
    yield "doomed"
    for command in (("delete", "doomed"), ("models", "delete", "doomed")):
        platform.cli(*command, "--yes")
        until(lambda: platform.api("GET", "/api/v1/endpoints/doomed").status_code == 404, 30, "the endpoint gone")


@pytest.mark.parametrize(
    "command", [("delete", "churn"), ("models", "delete", "churn"), ("models", "delete", "churn:2")]
)
def test_without_a_terminal_it_wants_to_be_told(command: tuple[str, ...]) -> None:
    """Before it looks for a platform, and so before anything is gone."""
    ran = tidegate(*command, env={"TIDEGATE_URL": "http://127.0.0.1:9"})
    assert ran.code == 2
    assert "--yes" in ran.err
    assert "churn" in ran.err


def test_on_a_terminal_it_asks_and_no_is_no(platform: Platform, doomed: str) -> None:
    for command in (("delete", doomed), ("models", "delete", doomed), ("models", "delete", f"{doomed}:1")):
        code, said = _answered(platform, command, b"n\n")
        assert code == 130, said
        assert f"{doomed}" in said
        assert "[y/N]" in said
    assert platform.endpoint(doomed)["status"] == "ready"
    code, said = _answered(platform, ("delete", doomed), b"y\n")
    assert code == 0, said
    until(lambda: platform.api("GET", f"/api/v1/endpoints/{doomed}").status_code == 404, 30, "the endpoint gone")
    assert platform.done("models", "delete", doomed, "--yes") == {"deleted": doomed}


def _answered(platform: Platform, command: tuple[str, ...], answer: bytes) -> tuple[int, str]:
    """How a command ended whose question was answered on a terminal, and what it said."""
    mine, its = pty.openpty()
    argv = [str(TIDEGATE), *command, "--data-dir", str(platform.data_dir), "--url", platform.url]
    try:
        os.write(mine, answer)
        ran = subprocess.run(argv, stdin=its, capture_output=True, text=True, timeout=60, env=clean_env(), check=False)
    finally:
        os.close(mine)
        os.close(its)
    return ran.returncode, ran.stdout + ran.stderr
