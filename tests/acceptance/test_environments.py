"""Versions whose requirements do not fit the server run in an environment of their own, through a whole platform."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support.http_bytes import Connection, post
from support.platform import TIDEGATE, Platform, clean_env
from support.wait import free_ports, until
from support.wheels import make_wheel

pytestmark = pytest.mark.slow

CLASS = """
import sys
from pathlib import Path

import tidewords


class Model:
    example = [1.0, 2.0]

    def predict(self, inputs):
        return [[Path(sys.prefix).name, tidewords.WORD, "%s"] for _ in inputs]
"""


INDEX = "--no-index\n--find-links wheels\n"


def folder_of(path: Path, word: str, requirement: str = "tidewords==1.0") -> str:
    """A model whose requirements are in a wheel that it brings along."""
    make_wheel(path / "wheels", "tidewords", "1.0", "WORD = 'tide'\n")
    (path / "model.py").write_text(CLASS % word)
    (path / "requirements.txt").write_text(f"{INDEX}{requirement}\n")
    return str(path)


def built(platform: Platform) -> set[str]:
    return {marker.parent.name for marker in (platform.data_dir / "environments").glob("*/tidegate-environment.json")}


def test_versions_share_an_environment_that_a_restart_finds_again(platform: Platform, tmp_path: Path) -> None:
    bad = folder_of(tmp_path / "c", "x", "tidewords==9")
    refused = platform.failed("register", bad, "--name", "words", "--allow-pickle")
    assert refused["code"] == "environment_failed"
    assert "No matching distribution found for tidewords==9" in refused["error"]
    assert built(platform) == set()

    platform.done("register", folder_of(tmp_path / "a", "first"), "--name", "words", "--allow-pickle")
    platform.done("deploy", folder_of(tmp_path / "b", "second"), "--name", "words", "--allow-pickle")
    (key,) = built(platform)
    assert platform.predict("words", [1, 2]).json()["prediction"] == [[key, "tide", "second"]]

    (replica,) = [one for one in platform.processes("tidegate.server") if key in one.cmdline()[0]]
    replica.kill()
    until(lambda: not replica.is_running() and platform.predict("words", [1, 2]).status_code == 200, 60)
    assert platform.predict("words", [1, 2]).json()["prediction"] == [[key, "tide", "second"]]

    shutil.rmtree(platform.data_dir / "environments" / key)
    (replica,) = [one for one in platform.processes("tidegate.server") if key in one.cmdline()[0]]
    replica.kill()
    until(lambda: f"the environment {key}" in platform.endpoint("words")["reason"], 60, "the reason")
    assert "register the same file again" in platform.endpoint("words")["reason"]
    again = platform.done("register", str(tmp_path / "b"), "--name", "words", "--allow-pickle")
    assert again["version"] == "2"
    assert built(platform) == {key}
    until(lambda: platform.predict("words", [1, 2]).status_code == 200, 60, "the endpoint, by itself")

    platform.done("delete", "words", "--yes")
    until(lambda: platform.api("GET", "/api/v1/endpoints/words").status_code == 404, 30, "the end of the endpoint")
    platform.done("models", "delete", "words:2", "--yes")
    assert built(platform) == {key}, "the other version has it still"
    platform.done("models", "delete", "words", "--yes")
    assert built(platform) == set()


def test_serve_builds_it_too_and_tells_what_it_does(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    argv = [str(TIDEGATE), "serve", folder_of(tmp_path / "m", "alone"), "--allow-pickle", "--port", str(port)]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [*argv, "--data-dir", str(tmp_path / "data")], env=clean_env(), stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), (tmp_path / "log").read_text()
            connection = Connection(port)
            connection.send(post("/predict", {"features": [1, 2]}))
            (prediction,) = connection.read().json["prediction"]
            connection.close()
        finally:
            process.terminate()
            process.wait(15)
    assert prediction[1:] == ["tide", "alone"]
    assert "tidewords==1.0" in (tmp_path / "log").read_text()
