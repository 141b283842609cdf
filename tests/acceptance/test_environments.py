"""Versions whose requirements do not fit the server run in an environment of their own, through a whole platform."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from support.http_bytes import Connection, post
from support.platform import TIDEGATE, Platform, clean_env
from support.wait import free_ports, until
from support.wheels import make_wheel, only_from

CLASS = """
import sys
from pathlib import Path

import tidewords


class Model:
    example = [1.0, 2.0]

    def predict(self, inputs):
        return [[Path(sys.prefix).name, tidewords.WORD, "%s"] for _ in inputs]
"""


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    make_wheel(folder, "tidewords", "1.0", "WORD = 'tide'\n")
    return folder


def folder_of(path: Path, word: str, requirement: str = "tidewords==1.0") -> str:
    path.mkdir()
    (path / "model.py").write_text(CLASS % word)
    (path / "requirements.txt").write_text(f"{requirement}\n")
    return str(path)


def built(platform: Platform) -> set[str]:
    return {marker.parent.name for marker in (platform.data_dir / "environments").glob("*/tidegate-environment.json")}


@pytest.mark.slow
def test_versions_share_an_environment_that_serves_without_an_index(
    own_platform: Platform, tmp_path: Path, index: Path
) -> None:
    platform = own_platform
    platform.env = only_from(index)
    platform.start()
    refused = platform.failed(
        "register", folder_of(tmp_path / "c", "x", "tidewords==9"), "--name", "w", "--allow-pickle"
    )
    assert refused["code"] == "environment_failed"
    assert "No matching distribution found for tidewords==9" in refused["error"]
    assert built(platform) == set()

    platform.done("deploy", folder_of(tmp_path / "a", "first"), "--name", "w", "--allow-pickle")
    platform.done("deploy", folder_of(tmp_path / "b", "second"), "--name", "w", "--allow-pickle")
    (key,) = built(platform)
    said = [platform.predict("w", [1, 2], model_version=version).json()["prediction"] for version in ("1", "2")]
    assert said == [[[key, "tide", "first"]], [[key, "tide", "second"]]]

    shutil.rmtree(index)  # what comes now needs nothing but what is there
    before = platform.replica_pids()
    assert all(Path(psutil.Process(pid).cmdline()[0]).is_relative_to(platform.data_dir) for pid in before)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    until(lambda: platform.predict("w", [1, 2]).status_code == 200 and not platform.replica_pids() & before, 60)
    assert platform.predict("w", [1, 2]).json()["prediction"] == [[key, "tide", "second"]]

    platform.done("delete", "w")
    until(lambda: platform.api("GET", "/api/v1/endpoints/w").status_code == 404, 30, "the end of the endpoint")
    platform.done("models", "delete", "w:1")
    assert built(platform) == {key}, "the other version has it still"
    platform.done("models", "delete", "w")
    assert built(platform) == set()


def test_serve_builds_it_too_and_tells_what_it_does(tmp_path: Path, index: Path) -> None:
    (port,) = free_ports(1)
    argv = [str(TIDEGATE), "serve", folder_of(tmp_path / "m", "alone"), "--allow-pickle", "--port", str(port)]
    env = clean_env(**only_from(index))
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [*argv, "--data-dir", str(tmp_path / "data")], env=env, stdout=subprocess.PIPE, stderr=log
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
    assert "installing tidewords==1.0" in (tmp_path / "log").read_text()
