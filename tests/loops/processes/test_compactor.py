"""The compactor beside its control plane: started, started again, ended; one of an earlier control plane goes first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from support.wait import until
from tidegate.adapters.local.processes import processes_of
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.processes.compactor import MODULE, CompactorSupervisor


class Bed:
    """A supervisor by whose clock time passes as the test says."""

    def __init__(self, folder: Path, *, wanted: bool = True) -> None:
        self.data_dir, self.now = folder, 0.0
        self.registry = CollectorRegistry()
        metrics = LoopMetrics(self.registry)
        self.supervisor = CompactorSupervisor(folder, dict(os.environ), metrics, wanted=wanted, clock=lambda: self.now)

    def pids(self) -> list[int]:
        return [found.ref.pid for found in processes_of(self.data_dir) if found.module == MODULE]

    def one(self) -> int:
        (pid,) = until(self.pids, what="a compactor")
        return pid


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path)
    yield made
    made.supervisor.stop()


def test_it_is_started_and_again_after_a_kill_and_ended_with_the_platform(bed: Bed) -> None:
    bed.supervisor.step()
    first = bed.one()
    os.kill(first, 9)
    until(lambda: not bed.pids(), what="its end")
    bed.supervisor.step()
    assert bed.registry.get_sample_value("tidegate_compactor_restarts_total") == 1
    assert bed.pids() == [], "not at once: one that dies at its start would be started without end"
    bed.now = 1.0
    bed.supervisor.step()
    assert bed.one() != first
    bed.supervisor.stop()
    assert bed.pids() == []


def test_one_that_an_earlier_control_plane_left_is_replaced(bed: Bed) -> None:
    left = subprocess.Popen([sys.executable, "-m", MODULE, "--data-dir", str(bed.data_dir)], stderr=subprocess.DEVNULL)
    until(bed.pids, what="the earlier one")
    bed.supervisor.step()
    assert left.wait(30) in (0, -15)
    assert bed.one() != left.pid


def test_none_is_started_where_somebody_else_does(tmp_path: Path) -> None:
    bed = Bed(tmp_path, wanted=False)
    bed.supervisor.step()
    assert bed.pids() == []
