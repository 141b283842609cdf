"""A platform whose own disk is full while it collects wheels. Mounts a small disk, which takes root."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.docker_engine import engine_or_skip
from support.wheels import make_wheel, only_from
from tidegate.adapters.images.wheelhouse import Pin, Wheelhouse, WheelTarget
from tidegate.errors import DiskFull

DISK_BYTES = 256 << 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    engine_or_skip()
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tidegate-tests", str(folder)], check=True)  # noqa: S607
    yield folder
    subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


def test_wheels_that_do_not_fit_leave_the_disk_as_it_was(small_disk: Path, tmp_path: Path) -> None:
    code = f"DATA = {os.urandom(DISK_BYTES).hex()!r}\n"
    make_wheel(tmp_path / "index", "heavy", "1.0", code)
    target = WheelTarget("{}.{}".format(*sys.version_info[:2]), platform.machine(), (2, 99))
    house = Wheelhouse(small_disk / "wheels", {**os.environ, **only_from(tmp_path / "index")})
    with pytest.raises(DiskFull, match="wheels"):
        house.collect([Pin("heavy", "1.0")], target, lambda _line: None)
    assert list((small_disk / "wheels").iterdir()) == []
