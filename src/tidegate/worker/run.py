"""A worker from its first check to its last log line. Called by `python -m tidegate.worker`.

It waits for what it needs (database, schema, broker), says what it waits for, and goes on by itself.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from prometheus_client import REGISTRY

from tidegate import job_wiring
from tidegate.adapters.celery_queue import CeleryQueue, make_app
from tidegate.adapters.local.processes import kill_children
from tidegate.control.checks import prepare_data_dir
from tidegate.core.backoff import Backoff
from tidegate.errors import InvalidArgument, PartUnavailable, StoreUnavailable, TidegateError
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.runner import Loop, Runner
from tidegate.settings import Settings
from tidegate.store.database.engine import Store, open_store, store_url
from tidegate.system.ending import StopSignals
from tidegate.system.private_memory import keep_memory_private
from tidegate.telemetry import configure_logging

log = logging.getLogger(__name__)

AGAIN_S = 1.0
_BACKOFF = Backoff(1.0, 10.0)


class Stopped(Exception):
    """Asked to stop before it began."""


def run(argv: list[str] | None = None) -> int:
    """Exit code: 0 stopped as asked, 1 failed, 2 wrong use; an error is one line on standard error."""
    given = _parser().parse_args(argv)
    try:
        settings = Settings.from_env(data_dir=given.data_dir, job_workers=given.jobs)
        url = _broker_url(settings)
        prepare_data_dir(settings.data_dir)
        keep_memory_private()
        configure_logging("worker", settings.log_level)
        signals = StopSignals()
        signals.install()
        return _work(settings, url, signals)
    except Stopped:
        return 0
    except TidegateError as error:
        sys.stderr.write(f"error: {' '.join(error.message.split())}\n")
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tidegate worker", description="Run jobs that come over the broker.")
    parser.add_argument("--data-dir", type=Path, help="scratch, and the platform's files where it is the platform's")
    parser.add_argument("--jobs", type=int, help="how many jobs to run at the same time")
    return parser


def _broker_url(settings: Settings) -> str:
    if settings.celery_broker_url is None:
        raise InvalidArgument(
            "CELERY_BROKER_URL is not set, and without a broker the control plane runs jobs itself: give workers and "
            "control plane the same, such as amqp://user:password@host:5672/vhost",
            field="CELERY_BROKER_URL",
        )
    return settings.celery_broker_url


def _work(settings: Settings, url: str, signals: StopSignals) -> int:
    store = open_store(store_url(settings.data_dir, settings.database_url))
    queue = CeleryQueue(url, settings.job_queue)
    _wait(lambda: _check_schema(store), signals)
    _wait(queue.look, signals)
    queue.close()
    bench = job_wiring.build_bench(settings, store)
    Runner([Loop("leases of jobs", bench.keep_leases)], LoopMetrics(REGISTRY)).start()
    from tidegate.worker.consumer import Hub, Slots, WorkerParts, make_worker, stop_soon  # Celery: a second of imports

    hub = Hub()
    parts = WorkerParts(bench, hub, Slots(settings.job_workers, hub), settings.worker_stop_s, signals.at_once)
    name = f"{settings.job_queue}-{os.getpid()}@{os.uname().nodename}"
    worker = make_worker(make_app(url, settings.job_queue), parts, name, settings.job_workers)
    signals.then = lambda: stop_soon(parts)
    if signals.stop.is_set():
        raise Stopped
    log.info("%s takes up to %d jobs at a time from %s", name, settings.job_workers, queue.where)
    worker.start()
    bench.clear()
    kill_children()
    if worker.exitcode and not signals.stop.wait(AGAIN_S):
        _again(settings)
    log.info("stopped")
    return 0


def _check_schema(store: Store) -> None:
    """Raises `StoreUnavailable` while the control plane has yet to bring it up to date; exits on a newer one."""
    schema = store.schema()
    if schema.newer:
        raise InvalidArgument(
            f"the database was written by a newer release of Tidegate (schema {schema.found}): install that release"
        )
    if schema.found is None or schema.pending:
        raise StoreUnavailable(f"{store.where} has no tables of this release yet: 'tidegate up' makes them")


def _wait(ready: Callable[[], object], signals: StopSignals) -> None:
    """Until it does not raise; each reason is told once. Raises `Stopped`."""
    failures, last = 0, ""
    while True:
        try:
            ready()
        except (PartUnavailable, StoreUnavailable) as error:
            failures += 1
            if error.message != last:
                last = error.message
                log.warning("waiting: %s", last)
            if signals.stop.wait(_BACKOFF.delay_s(failures, 0.0)):
                raise Stopped from None
        else:
            return


def _again(settings: Settings) -> NoReturn:
    """Celery ended because of something that may pass, such as a refused password: begin anew, and wait as above."""
    log.warning("the connection to the broker ended for good: starting anew")
    arguments = ["--data-dir", str(settings.data_dir), "--jobs", str(settings.job_workers)]
    os.execv(sys.executable, [sys.executable, "-m", "tidegate.worker", *arguments])  # noqa: S606 - ourselves
