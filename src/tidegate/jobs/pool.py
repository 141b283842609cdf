"""The embedded job pool: claims job rows and runs them in the control plane, where there is no broker.

The row is the truth about a job. A dead process's jobs run again; one that kills its process thrice is given up.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Mapping

from tidegate.core.backoff import Backoff
from tidegate.jobs.report import LEASE_S, Claim, JobFunction, JobLost, JobReport, carry_out
from tidegate.services.uploads import Uploads
from tidegate.store import jobs as rows
from tidegate.store.engine import Store
from tidegate.store.leases import database_time
from tidegate.store.tables import JobRow

_log = logging.getLogger(__name__)

HEARTBEAT_S = 15.0
POLL_S = 1.0
TROUBLE = Backoff(first_s=1.0, longest_s=5.0)


class JobPool:
    """For as many loops as there are workers, each with an event of `wakes`, and one that keeps their leases."""

    def __init__(self, store: Store, functions: Mapping[str, JobFunction], uploads: Uploads, workers: int) -> None:
        self._store, self._functions, self._uploads = store, functions, uploads
        self._process = f"{os.uname().nodename[:32]}-{os.getpid()}-{secrets.token_hex(3)}"
        self.wakes = [threading.Event() for _ in range(workers)]
        self._running: dict[str, JobReport] = {}

    def take_over(self) -> None:
        """Queue again what a former leader left running: whatever it still does is refused."""
        with self._store.transaction() as tx:
            for job in rows.unfinished(tx):
                job.state, job.claimed_by, job.lease_until = "queued", None, None

    def notify(self) -> None:
        """A job was queued: look now."""
        for wake in self.wakes:
            wake.set()

    def work(self, number: int) -> float:
        """A step of one worker: claim a job and see it through; how long until the next look.

        Raises `StoreUnavailable`: the job stays claimed until its lease ends, then runs again.
        """
        worker = f"{self._process}-job-{number}"
        with self._store.transaction() as tx:
            job = rows.claim(tx, worker, database_time(tx), LEASE_S)
        if job is None:
            return POLL_S
        try:
            self._see_through(job, worker)
        except JobLost:
            _log.warning("another worker has taken a job over from %s", worker)
        return 0.0

    def _see_through(self, job: JobRow, worker: str) -> None:
        report = JobReport(self._store, Claim(job.id, worker, job.attempts))
        self._running[job.id] = report
        try:
            report.end(carry_out(job, self._functions[job.kind], report))
        finally:
            self._running.pop(job.id, None)
        self._uploads.release(job)

    def keep_leases(self) -> float:
        """Extend the leases of running jobs; how long until it is to be done again."""
        for report in list(self._running.values()):
            self._beat(report)
        return HEARTBEAT_S

    def _beat(self, report: JobReport) -> None:
        try:
            report.beat()
        except JobLost:
            _log.debug("job %s ended meanwhile", report.job_id)
