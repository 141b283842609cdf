"""What processes of a platform are asked for on the operating system."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from support.wait import until
from tidegate.adapters.local import processes
from tidegate.adapters.local.processes import ProcessRef, cpu_seconds, spawn

BUSY = "while True: pass"
PARENT_OF_A_BUSY_ONE = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"


def test_cpu_is_that_of_a_process_with_all_that_it_started(tmp_path: Path) -> None:
    child, ref = spawn([sys.executable, "-c", PARENT_OF_A_BUSY_ONE], tmp_path / "log")
    gone = ProcessRef(ref.pid, ref.created_at - 1000)

    def used() -> float:
        (seconds, unknown) = cpu_seconds([ref, gone])
        assert unknown is None, "another process had this id"
        return seconds or 0.0

    try:
        until(lambda: used() > 0.5, what="half a second of CPU")
    finally:
        for process in psutil.Process(child.pid).children(recursive=True):
            process.kill()
        child.kill()
        child.wait()
    assert cpu_seconds([ref]) == [None]
    assert cpu_seconds([]) == []


def test_one_that_ends_during_the_look_or_cannot_be_looked_at_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child, ended = spawn([sys.executable, "-c", ""], tmp_path / "log")
    child.wait()
    own = ProcessRef(psutil.Process().pid, psutil.Process().create_time())
    unseen = ProcessRef(1, 0.0)

    def looked_at(ref: ProcessRef) -> bool:
        if ref == unseen:
            raise OSError("too many open files")
        return True

    monkeypatch.setattr(processes, "is_alive", looked_at)
    used, *others = cpu_seconds([own, ended, unseen])
    assert used is not None
    assert others == [None, None]

    def none_left() -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(psutil, "process_iter", none_left)
    assert cpu_seconds([own, ended]) == [None, None]
