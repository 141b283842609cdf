"""Who runs jobs: a pool in this process, or workers that are told of them over a broker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.adapters.celery_queue import CeleryQueue
from tidegate.job_wiring import JobParts
from tidegate.jobs import pool as pools
from tidegate.jobs.bench import Bench
from tidegate.jobs.pool import JobPool
from tidegate.jobs.report import LEASE_S
from tidegate.jobs.spec import Schedule
from tidegate.loops import dispatch
from tidegate.loops.dispatch import Dispatcher
from tidegate.loops.runner import Loop
from tidegate.services.jobs.uploads import Uploads
from tidegate.services.leadership import Leadership
from tidegate.settings import Settings
from tidegate.store.database.engine import Store
from tidegate.wire.parts import QueueView
from tidegate.wiring.container import JobRunner


@dataclass(frozen=True)
class RunningJobs:
    """Whoever runs jobs, with the loops that it takes; `view` is the broker as status shows it, None without one."""

    runner: JobRunner
    loops: tuple[Loop, ...]
    view: Callable[[], QueueView | None]
    bench: Bench | None = None


def running_jobs(
    settings: Settings, fenced: Store, leadership: Leadership, parts: JobParts, uploads: Uploads
) -> RunningJobs:
    """Workers where the settings name a broker, else a pool. Kinds that have a period are queued here either way."""
    if settings.celery_broker_url:
        queue = CeleryQueue(settings.celery_broker_url, settings.job_queue)
        dispatcher = Dispatcher(fenced, queue, leadership.leads)
        loop = Loop("dispatch", dispatcher.step, dispatcher.wake, backoff=dispatch.BACKOFF, close=dispatcher.close)
        return RunningJobs(dispatcher, (loop, _schedule(fenced, parts, dispatcher)), dispatcher.view)
    bench = Bench(fenced, parts.specs(), uploads, LEASE_S, letters=False)
    pool = JobPool(fenced, bench, settings.job_workers)
    return RunningJobs(pool, (*pool_loops(pool), _schedule(fenced, parts, pool)), lambda: None, bench)


def _schedule(fenced: Store, parts: JobParts, runner: JobRunner) -> Loop:
    return Loop("schedule", Schedule(fenced, parts.specs(), runner.notify).step, leader_only=True)


def pool_loops(pool: JobPool) -> list[Loop]:
    """One for each job that may run at a time, and one that keeps the jobs' leases."""
    workers = [
        Loop(f"job-{number}", pool.work, wake, leader_only=True, backoff=pools.TROUBLE)
        for number, wake in enumerate(pool.wakes)
    ]
    return [*workers, Loop("leases of jobs", pool.bench.keep_leases)]
