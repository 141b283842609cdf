"""What a confined process sees of the folders around its own, in each of the two ways."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.sandbox import confinement, job_users
from tidegate.adapters.sandbox.confinement import SandboxNeeds, Way, _argv, confined, take_back
from tidegate.adapters.sandbox.passage import closed_above
from tidegate.control.checks import prepare_data_dir
from tidegate.errors import OutOfResources
from tidegate.system import confine

LOOK = """
import json, os, sys
from pathlib import Path

import tidegate.errors

home, model = Path(sys.argv[1]), Path(sys.argv[2])


def attempt(act):
    try:
        return act()
    except OSError as error:
        return type(error).__name__


print(json.dumps({
    "uid": os.getuid(),
    "listed": sorted(os.listdir(home)),
    "model": attempt((model / "weights").read_text),
    "changed": attempt(lambda: (model / "weights").write_text("mine")),
    "token": attempt((home / "token").read_text),
    "other": attempt((home / "jobs" / "other" / "rows.csv").read_text),
    "parent": attempt(lambda: len(Path(f"/proc/{os.getppid()}/environ").read_bytes())),
    "left": attempt(lambda: (home / "jobs" / "mine" / "result").write_text("done")),
}))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data directory, closed as they are, with the files of a model that were copied closed."""
    return _home(tmp_path / "data")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that everybody may enter, as those above it; pytest's own are closed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _home(made: Path) -> Path:
    for folder in ("artifacts/m", "jobs/mine", "jobs/other"):
        (made / folder).mkdir(parents=True)
    for name in ("token", "artifacts/m/weights", "jobs/other/rows.csv"):
        (made / name).write_text("secret" if name == "token" else "numbers")
        (made / name).chmod(0o600)
    made.chmod(0o700)
    return made


def look(argv: list[str], env: dict[str, str], home: Path) -> dict[str, Any]:
    ran = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False, cwd="/")
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    assert (home / "jobs" / "mine" / "result").read_text() == "done"
    return found


def needs(home: Path) -> SandboxNeeds:
    return SandboxNeeds("mine", (home / "artifacts" / "m",), (home / "jobs" / "mine",))


def program(home: Path) -> list[str]:
    return [sys.executable, "-P", "-c", LOOK, str(home), str(home / "artifacts" / "m")]


def test_as_this_machine_allows(home: Path) -> None:
    found = look(*confined(program(home), os.environ, needs(home)), home)
    assert found["listed"] == ["artifacts", "jobs"]
    assert found["model"] == "numbers"
    assert found["changed"] in ("OSError", "PermissionError")
    assert (found["token"], found["other"]) == ("FileNotFoundError", "FileNotFoundError")
    if confinement.way() == "user":
        assert found["uid"] >= job_users.JOBS_FIRST
        assert found["parent"] == "PermissionError"
        assert (home / "jobs" / "mine").stat().st_uid == found["uid"]
        take_back(home / "jobs" / "mine")
        assert {path.stat().st_uid for path in (home / "jobs").rglob("*")} == {0}


def test_in_a_user_namespace_closed_folders_are_hidden_too(home: Path) -> None:
    found = look(_argv(program(home), needs(home), "namespace"), dict(os.environ), home)
    assert found["uid"] == os.getuid()
    assert found["listed"] == ["artifacts", "jobs"]
    assert (found["model"], found["changed"]) == ("numbers", "OSError")
    assert (found["token"], found["other"]) == ("FileNotFoundError", "FileNotFoundError")


def test_where_neither_works_the_command_stays_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "way", lambda: None)
    argv, env = confined(program(home), {"PATH": "/bin"}, needs(home))
    assert (argv, env) == (program(home), {"PATH": "/bin"})
    take_back(home / "nothing")


WITHOUT_MOUNTS = """
import os, subprocess, sys
from pathlib import Path

from tidegate.adapters.sandbox import confinement
from tidegate.adapters.sandbox.confinement import SandboxNeeds, confined
from tidegate.adapters.sandbox.passage import closed_above

home = Path(sys.argv[1])
confinement.hide(home)
interpreter = [Path(sys.prefix, "lib"), Path(sys.base_prefix, "lib"), confinement.SCRIPT]
expected = "user_alone" if closed_above(interpreter) is None else None
assert confinement.way() == expected, (confinement.way(), expected)
confinement._found[:] = ["user_alone"]  # what follows needs no Python
read = (home / "artifacts" / "m", home / "versions" / "mine.json")
needs = SandboxNeeds("mine", read, (home / "jobs" / "mine",), (home / "environments",))
confined(["true"], {}, SandboxNeeds("other", (home / "versions" / "other.json",), (home / "jobs" / "theirs",)))
argv, env = confined(["/bin/sh", "-c", sys.argv[2], "sh", str(home)], os.environ, needs)
print(subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=True).stdout)
confinement.take_back(home / "jobs" / "mine")
"""
TRIED = """
id -u
for file in artifacts/m/weights environments/e/python versions/mine.json versions/other.json token journal/seg \\
  jobs/other/rows.csv; do
  cat "$1/$file" 2>/dev/null || printf refused; echo
done
ls "$1" "$1/jobs" "$1/environments" 2>/dev/null | tr -d '\\n'; echo
cat "/proc/$PPID/environ" 2>/dev/null | wc -c
echo mine 2>/dev/null >"$1/artifacts/m/weights"; echo done >"$1/jobs/mine/result"
"""


def test_where_root_may_not_mount_a_user_of_its_own_is_kept_out_by_modes(public: Path) -> None:
    if os.getuid() != 0:
        return  # nobody else may become another user
    home = _home(public / "data")
    (home / "jobs" / "theirs").mkdir()
    for name in ("journal/seg", "environments/e/python", "versions/mine.json", "versions/other.json"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("open" if name.startswith("env") else "where" if "mine" in name else "secret")
        (home / name).chmod(0o644)
    dropped = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    argv = [*dropped, sys.executable, "-P", "-c", WITHOUT_MOUNTS, str(home), TRIED]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False, cwd="/")
    assert ran.returncode == 0, ran.stderr
    uid, weights, shared, manifest, another, token, journal, other, listed, parent, *_ = ran.stdout.split("\n")
    assert job_users.REPLICAS_FIRST <= int(uid) < job_users.REPLICAS_FIRST + job_users.REPLICAS
    assert (weights, shared, manifest) == ("numbers", "open", "where")
    assert (another, token, journal, other) == ("refused",) * 4, "another model's manifest says where its package is"
    assert (listed, parent) == ("", "0")
    assert (home / "artifacts/m/weights").read_text() == "numbers"
    assert (home / "jobs/mine/result").read_text() == "done\n"
    assert (home / "jobs/mine/result").stat().st_uid == 0, "taken back"
    prepare_data_dir(home)
    assert home.stat().st_mode & 0o777 == 0o710, "those that run go on when the control plane starts anew"


def test_a_data_directory_in_a_closed_folder_is_not_opened(public: Path) -> None:
    (public / "closed").mkdir(mode=0o700)
    (public / "closed" / "data").mkdir(mode=0o700)
    assert closed_above([public / "closed" / "data"]) == public / "closed"
    assert closed_above([public / "closed", public / "closed" / "data"]) is None


PEEK = """
import json, os, sys
print(json.dumps({
    "listed": {folder: sorted(os.listdir(folder)) for folder in sys.argv[1:]},
    "beside": os.path.exists("../other/rows.csv"),
    "here": os.path.samefile(".", os.getcwd()),
}))
"""


@pytest.mark.parametrize("how", ["user", "namespace"])
def test_the_platform_s_own_folders_are_hidden_whatever_their_modes(
    how: Way, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "user" and os.getuid() != 0:
        how = "namespace"
    home, files, run, link = _home(public / "data"), public / "files", public / "run", public / "link"
    for folder in (files, run):
        folder.mkdir()
        (folder / "there").write_text("to see")
    home.chmod(0o755)
    link.symlink_to(home)
    monkeypatch.setattr(confinement, "_hidden", [home, files, run, run / "inner", public / "nothing"])
    for way_there in (home, link):
        argv = [sys.executable, "-P", "-c", PEEK, str(home), str(files), str(run)]
        planned = SandboxNeeds("mine", (way_there / "artifacts" / "m",), (way_there / "jobs" / "mine",))
        for place in ("artifacts/m", "jobs/mine"):
            ran = subprocess.run(
                _argv(argv, planned, how), capture_output=True, text=True, timeout=60, check=False, cwd=home / place
            )
            assert ran.returncode == 0, ran.stderr
            assert json.loads(ran.stdout) == {
                "listed": {str(home): ["artifacts", "jobs"], str(files): [], str(run): []},
                "beside": False,
                "here": True,
            }


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.EMFILE, "Too many open files"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
        subprocess.TimeoutExpired("python", 20.0),
        subprocess.CompletedProcess([], confine.EXIT_NOT_NOW, b"", b"unshare: No space left on device"),
        subprocess.CompletedProcess([], -9, b"", b""),
        subprocess.CompletedProcess([], 1, b"", b"MemoryError"),
    ],
    ids=["descriptors", "processes", "time", "namespaces", "killed", "memory"],
)
def test_what_passes_is_no_answer_and_is_tried_again(fault: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "_found", [])
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", lambda *_args, **_options: _give(fault))
        with pytest.raises(OutOfResources):
            confined(program(home), os.environ, needs(home))
    assert confinement.way() is not None


def test_the_kernel_s_refusal_is_an_answer_and_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "_found", [])
    refused = subprocess.CompletedProcess([], confine.EXIT_NOT_CONFINED, b"", b"unshare: Operation not permitted")
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "run", lambda *_args, **_options: refused)
        assert confinement.way() is None
    assert confinement.way() is None


@pytest.mark.parametrize(
    ("number", "limit", "code"),
    [
        (errno.EPERM, "100", confine.EXIT_NOT_CONFINED),
        (errno.ENOSYS, "100", confine.EXIT_NOT_CONFINED),
        (errno.ENOMEM, "100", confine.EXIT_NOT_NOW),
        (errno.ENOSPC, "100", confine.EXIT_NOT_NOW),
        (errno.ENOSPC, "0", confine.EXIT_NOT_CONFINED),
    ],
)
def test_the_script_tells_what_passes_from_what_the_kernel_does_not_do(
    number: int, limit: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_plan: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(confine, "confine", fail)
    monkeypatch.setattr(Path, "read_text", lambda _path: f"{limit}\n")
    assert confine.main([json.dumps({"begun": None}), "/bin/true"]) == code


def _give(fault: Any) -> Any:
    if isinstance(fault, BaseException):
        raise fault
    return fault


def test_a_link_in_what_is_read_opens_nothing_else(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("closed")
    (tmp_path / "elsewhere").chmod(0o600)
    (home / "artifacts" / "m" / "link").symlink_to(tmp_path / "elsewhere")
    confined(program(home), os.environ, needs(home))
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o600
