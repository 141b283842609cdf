"""Job pools whose jobs do what a test wants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry

from tidegate.jobs.bench import Bench
from tidegate.jobs.pool import JobPool
from tidegate.jobs.report import LEASE_S, JobReport
from tidegate.jobs.spec import JobSpec
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.runner import Runner
from tidegate.store.database.engine import Store
from tidegate.wiring import Container, pool_loops


class Doing:
    """A job function made of what a test wants to happen."""

    def __init__(self, work: Callable[[JobReport], dict[str, Any]]) -> None:
        self._work = work
        self.undone: list[str] = []

    def run(self, payload: dict[str, Any], report: JobReport) -> dict[str, Any]:
        return self._work(report)

    def undo(self, payload: dict[str, Any], job_id: str) -> None:
        self.undone.append(job_id)


def pool_on(store: Store, container: Container, function: Doing, workers: int = 1) -> JobPool:
    bench = Bench(store, [JobSpec("register", lambda _store: function)], container.uploads, LEASE_S, letters=False)
    return JobPool(store, bench, workers)


def run(pool: JobPool) -> Runner:
    """Its loops, running."""
    runner = Runner(pool_loops(pool), LoopMetrics(CollectorRegistry()))
    runner.start()
    return runner
