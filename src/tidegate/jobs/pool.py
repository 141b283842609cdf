"""The embedded job pool: threads of the control plane that claim job rows and run them, where there is no broker.

The row is the truth about a job. A dead process's jobs run again; one that kills its process thrice is given up.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Mapping

from tidegate.clock import monotonic
from tidegate.errors import NotLeader, StoreUnavailable, TidegateError
from tidegate.jobs.report import LEASE_S, Claim, JobFunction, JobLost, JobReport, carry_out
from tidegate.services.jobs import forget_old
from tidegate.services.uploads import Uploads
from tidegate.store import jobs as rows
from tidegate.store.engine import Store
from tidegate.store.leases import database_time
from tidegate.store.tables import JobRow

_log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
SWEEP_S = 60.0
POLL_S = 1.0


class JobPool:
    """N threads and a housekeeper. `nudge` after queueing; `stop` waits no longer than it is told."""

    def __init__(self, store: Store, functions: Mapping[str, JobFunction], uploads: Uploads, workers: int) -> None:
        self._store, self._functions, self._uploads = store, functions, uploads
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
                job = rows.claim(tx, worker, database_time(tx), LEASE_S)
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
        report = JobReport(self._store, Claim(job.id, worker, job.attempts))
        self._running[job.id] = report
        try:
            report.end(carry_out(job, self._functions[job.kind], report))
        finally:
            self._running.pop(job.id, None)
        self._uploads.release(job)

    def _keep_house(self) -> None:
        """Extend the leases of running jobs; remove expired uploads and old jobs."""
        sweep_at = 0.0
        while not self._stopping.is_set():
            try:
                for report in list(self._running.values()):
                    self._beat(report)
                if self._leading.is_set() and monotonic() >= sweep_at:
                    sweep_at = monotonic() + SWEEP_S
                    forget_old(self._store, self._uploads)
            except TidegateError as error:
                _log.warning("housekeeping waits: %s", error)
            self._stopping.wait(HEARTBEAT_S)

    def _beat(self, report: JobReport) -> None:
        try:
            report.beat()
        except JobLost:
            _log.debug("job %s ended meanwhile", report.job_id)
