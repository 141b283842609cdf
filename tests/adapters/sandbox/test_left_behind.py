"""What a process that ran a model's code may leave, and what the platform does to it: never to anything else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.adapters.artifacts.store import DirectoryArtifacts
from tidegate.adapters.sandbox.confinement import take_back
from tidegate.adapters.sandbox.left_behind import DEPTH_MAX, own_tree
from tidegate.errors import ModelLoadFailed


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir(mode=0o700)
    (folder / "secret").write_text("closed")
    (folder / "secret").chmod(0o600)
    if os.getuid() == 0:
        os.chown(folder / "secret", 1234, 1234)
    return folder


@pytest.fixture
def form(tmp_path: Path) -> Path:
    folder = tmp_path / "form"
    (folder / "inner").mkdir(parents=True)
    (folder / "form.json").write_text("{}")
    return folder


def _state(folder: Path) -> list[tuple[int, int]]:
    return [(path.stat().st_mode, path.stat().st_uid) for path in (folder, folder / "secret")]


def _link(form: Path, elsewhere: Path) -> None:
    (form / "inner" / "link").symlink_to(elsewhere)


def _hard_link(form: Path, elsewhere: Path) -> None:
    (form / "inner" / "link").hardlink_to(elsewhere / "secret")


def _pipe(form: Path, _elsewhere: Path) -> None:
    os.mkfifo(form / "inner" / "pipe")


def _deep(form: Path, _elsewhere: Path) -> None:
    (form / "/".join("d" * (DEPTH_MAX + 1))).mkdir(parents=True)


def _top(form: Path, elsewhere: Path) -> None:
    form.rename(form.with_name("away"))
    form.symlink_to(elsewhere)


@pytest.mark.parametrize("plant", [_top, _link, _hard_link, _pipe, _deep])
def test_what_is_no_plain_file_or_folder_is_refused_and_nothing_else_touched(
    plant: object, form: Path, elsewhere: Path, tmp_path: Path
) -> None:
    assert callable(plant)
    plant(form, elsewhere)
    before = _state(elsewhere)
    for attempt in (
        lambda: take_back(form),
        lambda: DirectoryArtifacts(tmp_path / "kept").put_form("a" * 64, "f", form),
    ):
        with pytest.raises(ModelLoadFailed, match="neither a folder nor a plain file"):
            attempt()
    assert _state(elsewhere) == before
    assert not list(tmp_path.glob("kept/*"))


def test_a_form_of_plain_files_is_kept(form: Path, tmp_path: Path) -> None:
    own_tree(form, give=os.getuid() == 0)
    own_tree(form.with_name("nothing"), give=False)
    name = DirectoryArtifacts(tmp_path / "kept").put_form("a" * 64, "f", form)
    assert (tmp_path / "kept" / name / "form.json").read_text() == "{}"
    assert (tmp_path / "kept" / name).stat().st_mode & 0o777 == 0o755
