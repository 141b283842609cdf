"""Folders of sockets in the temporary directory: those of killed platforms go, those of living ones stay."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tidegate.control.socket_folders import UNTOUCHED_S, sweep


@pytest.fixture
def shared(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for /tmp, by a path that is short enough for a socket."""
    folder = tmp_path_factory.mktemp("t")
    monkeypatch.setattr("tidegate.system.run_dir.SHORT_FOLDER", folder)
    monkeypatch.chdir(folder)
    return folder


def platform_folder(shared: Path, name: str, *, untouched_s: float = UNTOUCHED_S + 1) -> tuple[Path, socket.socket]:
    """With the socket of a replica, as one killed with -9 leaves it; and what would listen on it."""
    folder = shared / f"tidegate-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(folder / "r.sock", shared))
    then = folder.stat().st_mtime - untouched_s
    for path in (folder / "r.sock", folder):
        os.utime(path, (then, then))
    return folder, listener


def test_what_killed_platforms_left_is_removed(shared: Path) -> None:
    folder, listener = platform_folder(shared, "killed")
    listener.close()
    assert sweep(shared / "own") == 1
    assert not folder.exists()


def test_what_is_in_use_new_or_somebody_elses_stays(shared: Path) -> None:
    alive, listener = platform_folder(shared, "alive")
    listener.listen()
    fresh, other = platform_folder(shared, "fresh", untouched_s=0)
    own, mine = platform_folder(shared, "own")
    foreign = shared / f"tidegate-{os.getuid() + 1}-foreign"
    foreign.mkdir()
    link = shared / f"tidegate-{os.getuid()}-link"
    link.symlink_to(shared / "elsewhere")
    for unused in (other, mine):
        unused.close()
    assert sweep(own) == 0
    listener.close()
    assert all(path.exists() for path in (alive, fresh, own, foreign))
    assert link.is_symlink()
