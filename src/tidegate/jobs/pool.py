"""The embedded job pool: threads that claim job rows and run them; their only writer once claimed.

The row is the truth about a job. A dead process's jobs run again; one that kills its process thrice is given up.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Mapping
from typing import Any, Protocol

from tidegate.clock import Clock, monotonic
from tidegate.errors import Internal, JobAbandoned, NotLeader, StoreUnavailable, TidegateError
from tidegate.services.uploads import Uploads
from tidegate.store import jobs as rows
from tidegate.store.engine import Store
from tidegate.store.tables import JobRow

_log = logging.getLogger(__name__)

ATTEMPTS_MAX = 3
LEASE_S = 60.0
HEARTBEAT_S = 15.0
SWEEP_S = 60.0
POLL_S = 1.0
LOG_LINES_MAX = 200
JOBS_KEPT = 1000


class JobLost(Exception):
    """Another worker has taken this job over: whoever meets this stops without writing anything."""


class JobReport:
    """How a running job tells of itself; every call writes the row, or raises `JobLost`."""

    def __init__(self, store: Store, clock: Clock, job_id: str, worker: str) -> None:
        self._store, self._clock = store, clock
        self.job_id, self._worker = job_id, worker

    def progress(self, done: float, message: str) -> None:
        """`done` goes from 0 to 1. A new message is also a line of the log."""
        with self._store.transaction() as tx:
            job = self._held(rows.held(tx, self.job_id, self._worker))
            if message != job.message:
                job.log = [*job.log, message][-LOG_LINES_MAX:]
            job.progress, job.message = done, message
            job.lease_until = self._clock() + LEASE_S

    def beat(self) -> None:
        """Extend the lease."""
        with self._store.transaction() as tx:
            self._held(rows.held(tx, self.job_id, self._worker)).lease_until = self._clock() + LEASE_S

    def succeeded(self, result: dict[str, Any]) -> None:
        self._end("succeeded", "done", result=result)

    def failed(self, error: TidegateError) -> None:
        self._end("failed", error.message, error=error.body())

    def _end(
        self, state: str, message: str, result: dict[str, Any] | None = None, error: dict[str, Any] | None = None
    ) -> None:
        with self._store.transaction() as tx:
            job = self._held(rows.held(tx, self.job_id, self._worker))
            job.state, job.message, job.result, job.error = state, message, result, error
            job.progress = 1.0 if state == "succeeded" else job.progress
            job.log = [*job.log, message][-LOG_LINES_MAX:]
            job.finished_at, job.lease_until = self._clock(), None

    def _held(self, job: JobRow | None) -> JobRow:
        if job is None:
            raise JobLost(self.job_id)
        return job


class JobFunction(Protocol):
    """The work of one kind of job. It may be run again after any crash, so each step must bear repeating."""

    def run(self, payload: dict[str, Any], report: JobReport) -> dict[str, Any]:
        """The job's result; raises `TidegateError` for what is foreseen."""

    def undo(self, payload: dict[str, Any], job_id: str) -> None:
        """Remove whatever a failed (or thrice crashed) run left half-made."""


class JobPool:
    """N threads and a housekeeper. `nudge` after queueing; `stop` waits no longer than it is told."""

    def __init__(
        self, store: Store, functions: Mapping[str, JobFunction], uploads: Uploads, clock: Clock, workers: int
    ) -> None:
        self._store, self._functions, self._uploads, self._clock = store, functions, uploads, clock
        self._workers_wanted = workers
        self._process = f"{os.uname().nodename[:32]}-{os.getpid()}-{secrets.token_hex(3)}"
        self._wake = threading.Condition()
        self._nudges = 0
        self._stopping = threading.Event()
        self._leading = threading.Event()
        self._running: dict[str, JobReport] = {}
        self._threads: list[threading.Thread] = []

    def take_over(self) -> None:
        """Queue again what a former leader left running: whatever it still does is refused. Jobs are run from here."""
        with self._store.transaction() as tx:
            for job in rows.unfinished(tx):
                job.state, job.claimed_by, job.lease_until = "queued", None, None
        self._leading.set()
        self.nudge()

    def pause(self) -> None:
        """Another leads: take no more jobs. One that is under way ends at its next word to the database."""
        self._leading.clear()

    def start(self) -> None:
        """Begin to work, or to wait for `take_over`."""
        targets = [self._work] * self._workers_wanted + [self._keep_house]
        for number, target in enumerate(targets):
            thread = threading.Thread(target=target, name=f"job-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def nudge(self) -> None:
        """A job was queued: look now."""
        with self._wake:
            self._nudges += 1
            self._wake.notify_all()

    def stop(self, timeout_s: float) -> None:
        """Take no more jobs; jobs that run on past `timeout_s` are cut off with the process and run again."""
        self._stopping.set()
        self.nudge()
        deadline = monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    def _work(self) -> None:
        worker = f"{self._process}-{threading.current_thread().name}"
        while not self._stopping.is_set():
            seen = self._nudges
            if not self._leading.is_set() or not self._work_once(worker):
                with self._wake:
                    self._wake.wait_for(lambda seen=seen: self._nudges != seen, POLL_S)  # type: ignore[misc]

    def _work_once(self, worker: str) -> bool:
        """Claim a job and see it through; False when there was none."""
        try:
            with self._store.transaction() as tx:
                job = rows.claim(tx, worker, self._clock(), LEASE_S)
            if job is None:
                return False
            self._see_through(job, worker)
        except JobLost:
            _log.warning("another worker has taken a job over from %s", worker)
        except NotLeader as error:
            _log.warning("%s runs no more jobs: %s", worker, error)
            self._stopping.wait(POLL_S)
        except StoreUnavailable as error:
            # The job stays claimed until its lease ends, then runs again.
            _log.warning("a worker waits for the database: %s", error)
            self._stopping.wait(POLL_S)
        except Exception:
            _log.exception("a worker could not go on; it tries again")
            self._stopping.wait(POLL_S)
        return True

    def _see_through(self, job: JobRow, worker: str) -> None:
        report = JobReport(self._store, self._clock, job.id, worker)
        self._running[job.id] = report
        try:
            self._run(job, report)
        finally:
            self._running.pop(job.id, None)
        self._uploads.release(job)

    def _run(self, job: JobRow, report: JobReport) -> None:
        function = self._functions[job.kind]
        try:
            if job.attempts > ATTEMPTS_MAX:
                raise JobAbandoned(f"the process that ran this job died {ATTEMPTS_MAX} times: it is not run again")
            result = function.run(job.payload, report)
        except (JobLost, NotLeader):
            raise
        except Exception as error:
            function.undo(job.payload, job.id)
            report.failed(_expected(error, job))
        else:
            report.succeeded(result)

    def _keep_house(self) -> None:
        """Extend the leases of running jobs; remove expired uploads and old jobs."""
        sweep_at = 0.0
        while not self._stopping.is_set():
            try:
                for report in list(self._running.values()):
                    self._beat(report)
                if self._leading.is_set() and monotonic() >= sweep_at:
                    sweep_at = monotonic() + SWEEP_S
                    self._sweep()
            except TidegateError as error:
                _log.warning("housekeeping waits: %s", error)
            self._stopping.wait(HEARTBEAT_S)

    def _beat(self, report: JobReport) -> None:
        try:
            report.beat()
        except JobLost:
            _log.debug("job %s ended meanwhile", report.job_id)

    def _sweep(self) -> None:
        self._uploads.sweep()
        with self._store.transaction() as tx:
            rows.prune(tx, JOBS_KEPT)


def _expected(error: Exception, job: JobRow) -> TidegateError:
    if isinstance(error, TidegateError):
        return error
    failure_id = secrets.token_hex(8)
    _log.error("job %s (%s %s) failed, id %s", job.id, job.kind, job.subject, failure_id, exc_info=error)
    return Internal(f"the job failed; the control plane's log has the details under id {failure_id}", id=failure_id)
