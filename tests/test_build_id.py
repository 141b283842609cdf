"""Which program this is: the same for the same modules, another one when any of them changes."""

from __future__ import annotations

import shutil
from pathlib import Path

from tidegate.build_id import PACKAGE, build_id


def test_another_program_of_the_same_release_is_told_apart(tmp_path: Path) -> None:
    copy = tmp_path / "tidegate"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert build_id(copy) == build_id()
    shutil.move(copy / "clock.py", copy / "time.py")
    assert build_id(tmp_path / "tidegate" / ".." / "tidegate") != build_id()
