"""Builds environments aside and keeps them by key: one build for each set of requirements, whoever else asks for it.

A lock file per key orders builders, users and removal, over processes too; the kernel drops it when its holder dies.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tidegate.environments.links import lend_to
from tidegate.environments.links import refresh as refresh_links
from tidegate.environments.requirements import Requirements
from tidegate.errors import EnvironmentFailed
from tidegate.system.child_env import installer_env
from tidegate.system.commands import Ran, Start, run
from tidegate.system.file_lock import let_go, open_lock, take

MARKER = "tidegate-environment.json"
"""Written last: what has none was cut off."""
BUILD_S_MAX = 1800.0
LINES_TOLD = 12
_STEP_CHARS_MAX = 160
_PROVE = "import tidegate.server.__main__, tidegate.runtimes.inspect"

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Environment:
    """A finished environment. `lock` is the descriptor that keeps it from being removed meanwhile."""

    key: str
    python: Path
    lock: int


class Environments:
    """`DATA/environments`: a folder for each key, and a lock beside it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def python(self, key: str) -> Path:
        """The interpreter of an environment; it need not exist."""
        return self._root / key / "bin" / "python"

    def has(self, key: str) -> bool:
        """Whether the environment is there, finished, with an interpreter that can be run."""
        return (self._root / key / MARKER).is_file() and self.python(key).exists()

    def of_version(self, key: str | None) -> Path:
        """The interpreter that a version runs on, this process's for None. Raises `EnvironmentFailed` if it is gone."""
        if key is None:
            return Path(sys.executable)
        python = self.python(key)
        if not python.exists():
            raise EnvironmentFailed(
                f"the environment {key} of this version is gone ({python}): register the same file again, which builds "
                "it anew; if this server's Python or libraries are others now, delete the version first "
                "('tidegate models delete NAME:VERSION')"
            )
        return python

    @contextmanager
    def lease(self, wanted: Requirements, on_step: OnStep) -> Iterator[Environment]:
        """The environment of these requirements, built if need be, and not removed before the block ends.

        Raises `EnvironmentFailed` with the installer's last lines.
        """
        key = wanted.key()
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open_lock(self._root / f"{key}.lock")
        try:
            self._hold(key, wanted, lock, on_step)
            yield Environment(key, self.python(key), lock)
        finally:
            os.close(lock)

    def _hold(self, key: str, wanted: Requirements, lock: int, on_step: OnStep) -> None:
        """End with the lock shared and the environment there. Between one lock and the other it may go: look again."""
        while True:
            _wait_lock(lock, on_step, shared=True)
            if self.has(key):
                return
            let_go(lock)
            _wait_lock(lock, on_step, shared=False)
            if not self.has(key):
                refresh_links(self._root)
                self._build(key, wanted, lock, on_step)

    def _build(self, key: str, wanted: Requirements, lock: int, on_step: OnStep) -> None:
        """Aside, then moved into place. What a crash left aside is removed: the lock says that nobody is at it."""
        aside = self._root / f"{key}.part"
        for left in (aside, self._root / key):
            shutil.rmtree(left, ignore_errors=True)
        try:
            for step, argv in _steps(aside, wanted):
                on_step(step)
                _run(argv, wanted, lock, on_step)
            lend_to(aside)
            on_step("checking that the environment can serve")
            _run([str(aside / "bin" / "python"), "-I", "-c", _PROVE], wanted, lock, on_step)
            content = {"requirements": wanted.lines, "python": platform.python_version()}
            (aside / MARKER).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            aside.rename(self._root / key)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def remove_unused(self, used: set[str]) -> None:
        """Remove environments that are not among `used` and that nobody holds just now."""
        for marker in self._root.glob(f"*/{MARKER}"):
            if marker.parent.name not in used:
                self._remove(marker.parent)

    def _remove(self, folder: Path) -> None:
        lock = open_lock(folder.with_name(f"{folder.name}.lock"))
        try:
            if take(lock):
                (folder / MARKER).unlink(missing_ok=True)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)

    def refresh(self) -> None:
        """Let the environments that are there follow this installation of Tidegate, which may be another one now."""
        if self._root.is_dir():
            refresh_links(self._root)


def _wait_lock(lock: int, on_step: OnStep, *, shared: bool) -> None:
    if not take(lock, shared=shared):
        on_step("waiting for another job that builds the same environment")
        take(lock, None, shared=shared)


def _steps(aside: Path, wanted: Requirements) -> Iterator[tuple[str, list[str]]]:
    """What to run, with uv where there is one, else with venv and pip."""
    python = str(aside / "bin" / "python")
    with tempfile.NamedTemporaryFile("w", suffix="-requirements.txt", encoding="utf-8") as file:
        file.write(wanted.written())
        file.flush()
        uv = shutil.which("uv")
        what = f"installing {', '.join(wanted.lines)}"[:_STEP_CHARS_MAX]
        if uv is not None:
            yield "making an environment (uv)", [uv, "venv", "--quiet", "--python", sys.executable, str(aside)]
            yield what, [uv, "pip", "install", "--python", python, "--requirement", file.name]
            return
        if find_spec("pip") is None:  # made by a tool that leaves pip out: then the environment gets one of its own
            yield "making an environment (venv)", [sys.executable, "-m", "venv", str(aside)]
            installer = [python, "-P", "-m", "pip"]
        else:
            yield "making an environment (venv)", [sys.executable, "-m", "venv", "--without-pip", str(aside)]
            installer = [sys.executable, "-P", "-m", "pip", "--python", python]
        options = ["--no-input", "--disable-pip-version-check", "--prefer-binary", "--progress-bar", "off"]
        yield what, [*installer, "install", *options, "--requirement", file.name]


def _run(argv: Sequence[str], wanted: Requirements, lock: int, on_step: OnStep) -> None:
    """Run one step and tell what it says. It inherits the lock: if this process dies, the next builder waits."""
    env = {**installer_env(), "PYTHONUNBUFFERED": "1"}
    start = Start(wanted.folder, umask=0o022, keep_open=(lock,))  # the umask: replicas of another user run on it
    ran = run(argv, env, BUILD_S_MAX, lambda line: on_step(line[:_STEP_CHARS_MAX]), start)
    if ran.code != 0:
        raise _failed(wanted, ran)


def _failed(wanted: Requirements, ran: Ran) -> EnvironmentFailed:
    asked = ", ".join(wanted.lines)
    how = f"took longer than {BUILD_S_MAX:g} s" if ran.timed_out else f"ended with code {ran.code}"
    last = list(ran.lines[-LINES_TOLD:])
    return EnvironmentFailed(
        f"the environment for its requirements ({asked[:300]}) could not be built: the installer {how}, and its last "
        f"lines were: {' | '.join(last[-4:]) or 'none'}",
        requirements=list(wanted.lines),
        log=last,
    )
