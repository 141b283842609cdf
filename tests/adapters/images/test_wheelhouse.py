"""Wheels are collected once, in the versions asked for, for the machine that the image is for. No network."""

from __future__ import annotations

import fcntl
import os
import platform
import sys
from pathlib import Path

import pytest

from support.wheels import make_wheel, only_from
from tidegate.adapters.images.wheelhouse import Pin, Wheelhouse, WheelTarget, lay_out
from tidegate.errors import WheelMissing

HERE = WheelTarget("{}.{}".format(*sys.version_info[:2]), platform.machine(), (2, 99))
ELSEWHERE = WheelTarget("3.12", "s390x", (2, 31))


def _silent(_line: str) -> None: ...


@pytest.fixture
def index(tmp_path: Path) -> Path:
    for name, version in (("tidewave", "1.0"), ("tidewave", "2.0"), ("sandbank", "0.3")):
        make_wheel(tmp_path / "index", name, version, "")
    return tmp_path / "index"


def _house(tmp_path: Path, index: Path) -> Wheelhouse:
    return Wheelhouse(tmp_path / "wheels", {**os.environ, **only_from(index)})


@pytest.mark.parametrize("target", [HERE, ELSEWHERE], ids=["here", "elsewhere"])
def test_wheels_come_in_the_versions_asked_for_and_only_once(tmp_path: Path, index: Path, target: WheelTarget) -> None:
    house, told = _house(tmp_path, index), list[str]()
    pins = [Pin("tidewave", "1.0"), Pin("sandbank", "0.3")]
    found = house.collect(pins, target, told.append)
    assert {path.name for path in found.values()} == {"tidewave-1.0-py3-none-any.whl", "sandbank-0.3-py3-none-any.whl"}
    for wheel in index.iterdir():
        wheel.unlink()
    told.clear()
    assert house.collect(pins, target, told.append) == found  # the index is gone, and nobody asked it
    assert told == []
    digests = lay_out(found, tmp_path / "context")
    assert {len(digest) for digest in digests.values()} == {64}
    assert len(list((tmp_path / "context").iterdir())) == 2


def test_a_wheel_that_cannot_be_had_is_named_and_nothing_half_fetched_stays(tmp_path: Path, index: Path) -> None:
    house = _house(tmp_path, index)
    with pytest.raises(WheelMissing, match=r"no wheel of nowhere==9\.9 .*TIDEGATE_WHEELS_DIR"):
        house.collect([Pin("tidewave", "2.0"), Pin("nowhere", "9.9")], HERE, _silent)
    assert list((tmp_path / "wheels").iterdir()) == []


def test_what_a_crash_left_is_removed_and_what_another_build_fetches_is_not(tmp_path: Path, index: Path) -> None:
    left, busy = tmp_path / "wheels" / ".part-left", tmp_path / "wheels" / ".part-busy"
    left.mkdir(parents=True)
    busy.mkdir()
    lock = os.open(busy, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        _house(tmp_path, index).collect([Pin("tidewave", "1.0")], HERE, _silent)
        assert (left.exists(), busy.exists()) == (False, True)
    finally:
        os.close(lock)


def test_wheels_that_were_not_used_longest_go_first(tmp_path: Path, index: Path) -> None:
    env = {**os.environ, **only_from(index)}
    first, second, third = Pin("tidewave", "1.0"), Pin("tidewave", "2.0"), Pin("sandbank", "0.3")
    house = Wheelhouse(tmp_path / "wheels", env)
    kept = house.collect([first], HERE, _silent) | house.collect([second], HERE, _silent)
    os.utime(kept[first], (1, 1))
    two_wheels = sum(path.stat().st_size for path in kept.values()) + 10
    Wheelhouse(tmp_path / "wheels", env, two_wheels).collect([third], HERE, _silent)
    assert {path.name.partition("-")[0] + path.name.split("-")[1] for path in (tmp_path / "wheels").iterdir()} == {
        "tidewave2.0",
        "sandbank0.3",
    }


def test_platform_tags_go_from_the_bases_glibc_down() -> None:
    platforms = WheelTarget("3.11", "x86_64", (2, 28)).platforms()
    assert platforms[0] == "manylinux_2_28_x86_64"
    assert platforms.index("manylinux_2_17_x86_64") < platforms.index("manylinux2014_x86_64")
    assert "manylinux_2_31_x86_64" not in platforms
    assert platforms[-1] == "linux_x86_64"


def test_a_wheel_of_another_python_is_not_taken(tmp_path: Path, index: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "tidewave-3.0-cp27-cp27mu-manylinux1_x86_64.whl").touch()
    with pytest.raises(WheelMissing, match=r"tidewave==3\.0"):
        _house(tmp_path, index).collect([Pin("tidewave", "3.0")], HERE, _silent)
