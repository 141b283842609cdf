"""A model that was granted to run code, and means ill: it answers what it could get hold of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.platform import Platform
from tidegate.adapters.sandbox import confinement, job_users

pytestmark = pytest.mark.slow

HOSTILE = """
import json
import os
import signal
import urllib.request
from pathlib import Path

PLATFORM = json.loads((Path(__file__).parent / "platform.json").read_text())


def read(path):
    try:
        return Path(path).read_bytes().decode("latin-1")
    except OSError as error:
        return type(error).__name__


def written(path):
    try:
        with open(path, "a") as file:
            file.write("x")
        return "written"
    except OSError as error:
        return type(error).__name__


def asked(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return type(error).__name__


def ended(pid):
    try:
        os.kill(pid, 0)
        return "could"
    except OSError as error:
        return type(error).__name__


def tried(folder):
    data = Path(PLATFORM["data_dir"])
    names = ("token", "node.key", "metrics.key", "tidegate.db", "mlflow.db", "control.json")
    return {
        "files": {name: read(data / name) for name in names},
        "listed": sorted(path.name for path in data.iterdir()),
        "environ": read(f"/proc/{PLATFORM['pid']}/environ"),
        "parent": read(f"/proc/{os.getppid()}/environ"),
        "root": read(f"/proc/{PLATFORM['pid']}/root{data}/token"),
        "memory": read(f"/proc/{PLATFORM['pid']}/mem"),
        "kill": ended(PLATFORM["pid"]),
        "api": asked(PLATFORM["url"] + "/api/v1/models"),
        "own": written(folder / "model.py"),
        "uid": os.getuid(),
    }


class Model:
    example = {"n": 1}
    batch = True

    def load(self, folder):
        self.found = tried(folder)

    def predict(self, inputs):
        return [json.dumps(self.found)] * len(inputs)
"""


@pytest.fixture(scope="module")
def hostile(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "model.py").write_text(HOSTILE)
    told = {"data_dir": str(platform.data_dir), "url": platform.url, "pid": platform.control_pid}
    (folder / "platform.json").write_text(json.dumps(told))
    platform.done("deploy", str(folder), "--name", "hostile", "--allow-pickle", "--no-accelerate")
    (answer,) = platform.predict("hostile", {"n": 1}).json()["prediction"]
    found: dict[str, object] = json.loads(answer)
    return found


def test_a_granted_model_gets_at_nothing_of_the_platform(platform: Platform, hostile: dict[str, object]) -> None:
    assert confinement.way() is not None, "as root, and on most machines of plain users, it can be confined"
    files = hostile["files"]
    assert isinstance(files, dict)
    assert set(files.values()) <= {"PermissionError", "FileNotFoundError"}, files
    listed = hostile["listed"]  # sockets lie elsewhere where the data directory's path is long
    assert isinstance(listed, list)
    assert {*listed, "run"} == {"artifacts", "run", "versions"}, "only what it needs is there"
    for name in ("environ", "parent", "root", "memory"):
        assert hostile[name] in ("PermissionError", "FileNotFoundError"), name
    assert hostile["api"] == 401
    assert hostile["own"] in ("PermissionError", "OSError"), "it cannot change what was checked"
    assert platform.token not in json.dumps(hostile)


def test_it_runs_as_a_user_of_its_own_where_the_platform_is_root(hostile: dict[str, object]) -> None:
    if confinement.way() == "user":
        assert isinstance(hostile["uid"], int)
        assert hostile["uid"] >= job_users.JOBS_FIRST
        assert hostile["kill"] == "PermissionError"


def test_what_the_platform_writes_is_its_owners_alone(platform: Platform, hostile: dict[str, object]) -> None:
    assert hostile
    open_to_others = [
        path.relative_to(platform.data_dir)
        for path in platform.data_dir.iterdir()
        if path.is_file() and path.stat().st_mode & 0o077
    ]
    assert open_to_others == []


def test_a_job_is_confined_too(platform: Platform, tmp_path: Path) -> None:
    """The gate loads the model before anything is kept: what it finds is told by its failure."""
    telling = HOSTILE.replace("self.found = tried(folder)", "raise ValueError(str(tried(folder)))")
    (tmp_path / "model.py").write_text(telling)
    told = {"data_dir": str(platform.data_dir), "url": platform.url, "pid": platform.control_pid}
    (tmp_path / "platform.json").write_text(json.dumps(told))
    failed = platform.failed("register", str(tmp_path), "--name", "peeping", "--allow-pickle")
    assert "ValueError" in failed["error"]
    assert platform.token not in json.dumps(failed)
