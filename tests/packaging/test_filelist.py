"""A stored folder is read only when it is as it was kept; what is not is named, with what was expected and found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.errors import ArtifactDamaged
from tidegate.packaging import digest_of, read_source
from tidegate.packaging.filelist import FILES, check_files, write_list


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "package"
    (made / "code").mkdir(parents=True)
    (made / "model.bin").write_bytes(b"weights" * 100)
    (made / "code" / "a.py").write_text("A = 1\n")
    write_list(made)
    check_files(made)
    return made


def _flipped(folder: Path) -> None:
    content = bytearray((folder / "model.bin").read_bytes())
    content[350] ^= 1
    (folder / "model.bin").write_bytes(content)


def _cut_off(folder: Path) -> None:
    (folder / "model.bin").write_bytes(b"weights" * 50)


def _missing(folder: Path) -> None:
    (folder / "code" / "a.py").unlink()


def _list_damaged(folder: Path) -> None:
    (folder / FILES).write_text("{")


def _all_gone(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("damage", "file", "expected", "found"),
    [
        (_flipped, "model.bin", "of SHA-256 ", "of SHA-256 "),
        (_cut_off, "model.bin", "700 bytes", "350 bytes"),
        (_missing, "code/a.py", "6 bytes", "missing"),
        (_list_damaged, FILES, "the list", "cannot be read"),
        (_all_gone, "package", "a folder", "nothing"),
    ],
)
def test_damage_is_named(folder: Path, damage: Callable[[Path], None], file: str, expected: str, found: str) -> None:
    damage(folder)
    with pytest.raises(ArtifactDamaged, match="Register the same file again") as refused:
        check_files(folder)
    details = refused.value.details
    assert details["file"] == file
    assert expected in details["expected"]
    assert found in details["found"]
    assert details["expected"] != details["found"]
    assert all(str(details[key]) in refused.value.message for key in ("file", "expected", "found", "folder"))


def test_what_python_writes_beside_a_models_code_is_no_damage(folder: Path) -> None:
    (folder / "code" / "__pycache__").mkdir()
    (folder / "code" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"1")
    check_files(folder)
    write_list(folder)
    (folder / "code" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"22")
    check_files(folder)


def test_a_folder_that_an_older_release_kept_without_a_list_passes(folder: Path) -> None:
    (folder / FILES).unlink()
    _flipped(folder)
    check_files(folder)


def test_the_list_is_no_part_of_what_a_digest_covers(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.py").write_text("class Model: ...\n")
    before = digest_of(read_source(model))
    write_list(model)
    assert digest_of(read_source(model)) == before
