"""Environments are built once, whole or not at all, shared, and removed when nobody needs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.services import missing
from support.wheels import make_wheel, only_from
from tidegate.environments import Environments, Requirements
from tidegate.environments.building import MARKER
from tidegate.errors import EnvironmentFailed

WORDS = Requirements.read("tidewords==1.0\n")


@pytest.fixture(scope="module", autouse=True)
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "tidewords", "1.0", "WORD = 'tide'\n")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in only_from(folder).items():
            patch.setenv(name, value)
        patch.setenv("PATH", _without_uv(os.environ["PATH"]))
        yield folder


def _without_uv(path: str) -> str:
    """pip is what these tests are about, but for the one that puts uv back."""
    return os.pathsep.join(part for part in path.split(os.pathsep) if shutil.which("uv", path=part) is None)


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(sys.executable).parent
    if shutil.which("uv", path=str(folder)) is None:
        missing("uv")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    return Environments(tmp_path_factory.mktemp("data") / "environments")


def quiet(_step: str) -> None:
    return


def says(python: Path, code: str) -> str:
    done = subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def test_two_at_once_are_one_build(environments: Environments) -> None:
    steps: list[str] = []
    pythons: list[Path] = []

    def take() -> None:
        with environments.lease(WORDS, steps.append) as found:
            pythons.append(found.python)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(set(pythons)) == 1
    assert len(pythons) == 3
    assert sum("making an environment" in step for step in steps) == 1
    assert any("tidewords" in step for step in steps)
    code = (
        "import tidewords, tidegate.server.__main__, importlib.util as u; print(tidewords.WORD, u.find_spec('mlflow'))"
    )
    assert says(pythons[0], code) == "tide None", "the data plane is lent, the rest of this environment is not"


def test_only_what_nobody_uses_is_removed(environments: Environments) -> None:
    with environments.lease(WORDS, quiet) as found:
        environments.remove_unused(set())
        assert found.python.exists(), "it is held"
    environments.remove_unused({found.key})
    assert found.python.exists(), "a version names it"
    environments.remove_unused(set())
    assert not (found.python.parents[1] / MARKER).exists()
    assert not found.python.exists()


def test_what_a_crash_left_is_built_anew_and_may_move(environments: Environments, tmp_path: Path) -> None:
    root = environments.python("x").parents[2]
    for left in (f"{WORDS.key()}.part", WORDS.key()):
        (root / left / "bin").mkdir(parents=True)
        (root / left / "bin" / "python").write_text("half")
    with environments.lease(WORDS, quiet) as found:
        moved = shutil.copytree(root, tmp_path / "moved", symlinks=True) / found.python.relative_to(root)
        assert says(moved, "import tidewords, tidegate.server; print(tidewords.WORD)") == "tide"
    assert not (root / f"{WORDS.key()}.part").exists()


def test_a_failure_shows_the_installers_last_lines_and_leaves_nothing(environments: Environments) -> None:
    wanted = Requirements.read("nowhere-to-be-found==3\n")
    with (
        pytest.raises(EnvironmentFailed, match=r"nowhere-to-be-found==3.*No matching distribution") as caught,
        environments.lease(wanted, quiet),
    ):
        pass
    assert caught.value.code == "environment_failed"
    root = environments.python("x").parents[2]
    assert not list(root.glob(f"{wanted.key()}*/"))


@pytest.mark.usefixtures("uv")
def test_uv_builds_the_same_where_it_is_installed(index: Path, tmp_path: Path) -> None:
    environments, steps = Environments(tmp_path / "environments"), list[str]()
    with environments.lease(WORDS, steps.append) as found:
        code = "import tidewords, tidegate.server.__main__, importlib.util as u; print(u.find_spec('mlflow'))"
        assert says(found.python, code) == "None"
        moved = shutil.copytree(tmp_path / "environments", tmp_path / "moved", symlinks=True)
        assert (
            says(moved / found.key / "bin" / "python", "import tidegate.server, tidewords as t; print(t.WORD)")
            == "tide"
        )
    assert "making an environment (uv)" in steps
    assert any("+ tidewords==1.0" in step for step in steps)

    make_wheel(tmp_path / "mine" / "links", "tidemarks", "1.0", "MARK = 'high'\n")
    (tmp_path / "mine" / "more.txt").write_text("tidewords\n")
    beside = Requirements.read("-f links\ntidemarks\n-r more.txt\n", tmp_path / "mine")
    with environments.lease(beside, quiet) as found:
        assert says(found.python, "import tidemarks, tidewords; print(tidemarks.MARK)") == "high"

    with (
        pytest.raises(EnvironmentFailed, match=r"nowhere-to-be-found was not found in the package registry"),
        environments.lease(Requirements.read("nowhere-to-be-found==3\n"), quiet),
    ):
        pass
    assert len(list((tmp_path / "environments").glob(f"*/{MARKER}"))) == 2


def test_requirements_that_break_the_server_itself_are_refused(environments: Environments, index: Path) -> None:
    make_wheel(index, "msgspec", "0.0.1", "raise ImportError('not the msgspec you know')\n")
    with (
        pytest.raises(EnvironmentFailed, match="not the msgspec you know"),
        environments.lease(Requirements.read("msgspec==0.0.1\n"), quiet),
    ):
        pass


def test_a_version_runs_on_this_interpreter_or_on_its_own_and_hears_when_that_is_gone(tmp_path: Path) -> None:
    environments = Environments(tmp_path)
    assert environments.of_version(None) == Path(sys.executable)
    with pytest.raises(EnvironmentFailed, match="environment 0123 of this version is gone"):
        environments.of_version("0123")
    environments.python("0123").parent.mkdir(parents=True)
    environments.python("0123").touch()
    assert environments.of_version("0123") == environments.python("0123")
