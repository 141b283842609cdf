from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.system.file_lock import let_go, open_lock, take


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Two descriptors of the same lock, as two processes have them."""
    both = open_lock(tmp_path / "a.lock"), open_lock(tmp_path / "a.lock")
    yield both
    for descriptor in both:
        os.close(descriptor)


def test_one_at_a_time_and_many_that_share(two: tuple[int, int]) -> None:
    one, other = two
    assert take(one)
    assert not take(other)
    assert not take(other, 0.01, shared=True)
    let_go(one)
    assert take(one, shared=True)
    assert take(other, shared=True)
    assert not take(one)


def test_who_waits_has_it_when_it_is_let_go(two: tuple[int, int]) -> None:
    one, other = two
    for wait_s in (60.0, None):
        assert take(one)
        taken: list[bool] = []
        waiting = threading.Thread(target=lambda wait_s=wait_s, taken=taken: taken.append(take(other, wait_s)))
        waiting.start()
        let_go(one)
        waiting.join(60)
        assert taken == [True]
        let_go(other)


def test_it_is_free_when_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    program = f"""
import os, pathlib
from tidegate.system.file_lock import open_lock, take
assert take(open_lock(pathlib.Path({str(path)!r})))
print("held", flush=True)
os.read(0, 1)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        mine = open_lock(path)
        assert not take(mine)
        holder.kill()
        assert take(mine, 60.0)
        os.close(mine)
