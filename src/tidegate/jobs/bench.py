"""The job runner, in the control plane and on workers: claims jobs, runs them to their end, renews their leases.

Every change that a job makes goes through a store that first looks whether the claim still holds: of a worker that was
paused past its lease, and whose job another runs by then, nothing is written any more.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tidegate.errors import InvalidArgument, StoreUnavailable, TidegateError
from tidegate.jobs.report import Claim, JobLost, JobOutcome, JobReport, carry_out
from tidegate.jobs.scratch import sweep_scratch
from tidegate.jobs.spec import JobSpec
from tidegate.services.jobs.uploads import Uploads
from tidegate.store.database.engine import Store
from tidegate.store.jobs import jobs as rows
from tidegate.store.leases import database_time
from tidegate.store.tables import JobRow

_log = logging.getLogger(__name__)

BEATS_PER_LEASE = 4
RETRY_S = 1.0
T = TypeVar("T")


class Stopping(Exception):
    """This process stops, and could not say what it wanted to say."""


@dataclass(frozen=True)
class Claimed:
    """A job that is ours to run."""

    job: JobRow
    report: JobReport


class Bench:
    """For any number of threads, each with one job at a time.

    `letters`: each abandoned job gets a message in a broker's dead-letter queue.
    """

    def __init__(
        self,
        store: Store,
        specs: Iterable[JobSpec],
        uploads: Uploads,
        lease_s: float,
        *,
        letters: bool,
    ) -> None:
        self._store, self._uploads = store, uploads
        self._specs = {spec.kind: spec for spec in specs}
        self._lease_s, self._letters = lease_s, letters
        self._name = f"{os.uname().nodename[:32]}-{os.getpid()}"
        self._stopping = threading.Event()
        self._running: dict[JobReport, JobRow] = {}

    def sweep(self, scratch_root: Path) -> None:
        """Remove what killed workers left."""
        with self._store.reading() as tx:
            unfinished = {job.id for job in rows.unfinished(tx)}
        sweep_scratch(scratch_root, unfinished)

    def claim(self, job_id: str) -> Claimed | None:
        """The job, claimed; None when it needs no worker: it ended, another holds it, or there is none.

        Waits for a database that is away, and raises `Stopping` when the worker is stopped meanwhile.
        """
        return self._insist(lambda: self.try_claim(job_id))

    def run(self, claimed: Claimed) -> JobOutcome | None:
        """Run it to its end, and write that down; None when it was given back, or another has it by now."""
        job, report = claimed.job, claimed.report
        self._running[report] = job
        _log.info("job %s (%s %s) runs, attempt %d", job.id, job.kind, job.subject, job.attempts)
        try:
            outcome = self._carry_out(claimed)
            self._insist(lambda: report.end(outcome))
        except JobLost:
            _log.warning("another worker has taken over job %s (%s %s)", job.id, job.kind, job.subject)
            return None
        except StoreUnavailable as error:
            _log.warning("job %s (%s %s) has to run again: %s", job.id, job.kind, job.subject, error)
            self._insist(report.give_back)
            return None
        finally:
            self._running.pop(report, None)
        _log.info("job %s %s", job.id, "succeeded" if outcome.error is None else f"failed: {outcome.error.message}")
        self._release(job)
        return outcome

    def end(self) -> None:
        """Wait for the database no longer: what cannot be said now is left to whoever runs the job again."""
        self._stopping.set()

    def clear(self) -> None:
        """Give back what still runs: others may have it at once, and nothing of it is written here any more."""
        self.end()
        for report, job in list(self._running.items()):
            try:
                report.give_back()
                _log.warning("job %s (%s %s) is given back", job.id, job.kind, job.subject)
            except TidegateError as error:
                _log.warning("job %s waits for its lease to end: %s", job.id, error)

    def try_claim(self, job_id: str | None = None) -> Claimed | None:
        """This job, or the oldest that waits, as `claim`. Raises `StoreUnavailable`."""
        if job_id is None and not self._has_work():
            return None
        holder = f"{self._name}-{secrets.token_hex(6)}"
        with self._store.transaction() as tx:
            present = database_time(tx)
            if job_id is None:
                job = known = rows.claim(tx, holder, present, self._lease_s)
            else:
                job = rows.claim_one(tx, job_id, holder, present, self._lease_s)
                known = job or rows.get_job(tx, job_id)
        if known is None and job_id is not None:
            _log.warning(
                "a message names job %s, which the database does not have: do two platforms share a queue?", job_id
            )
        if job is None:
            return None
        claim = Claim(job.id, holder, job.attempts, self._lease_s, self._letters, rows.asked_by(job))
        return Claimed(job, JobReport(self._store, claim))

    def _has_work(self) -> bool:
        """Whether a job waits: asked in a read, for a worker without work would take the write lock every second."""
        with self._store.reading() as tx:
            return rows.is_any_claimable(tx, database_time(tx))

    def _carry_out(self, claimed: Claimed) -> JobOutcome:
        job, report = claimed.job, claimed.report
        spec = self._specs.get(job.kind)
        if spec is None:
            why = f"the worker's release has no jobs of kind {job.kind!r}: start one of the control plane's release"
            return JobOutcome(error=InvalidArgument(why))
        return carry_out(job, spec.function(self._store.fenced(report.fence)), report)

    def _release(self, job: JobRow) -> None:
        try:
            self._uploads.release(job)
        except StoreUnavailable as error:
            _log.warning("uploads of job %s stay until they expire: %s", job.id, error)

    def _insist(self, act: Callable[[], T]) -> T:
        """Until the database answers, or the worker is stopped (`Stopping`)."""
        while True:
            try:
                return act()
            except StoreUnavailable as error:
                _log.warning("a worker waits for the database: %s", error)
                if self._stopping.wait(RETRY_S):
                    raise Stopping from error

    def keep_leases(self) -> float:
        """Extend the leases of running jobs; how long until it is to be done again."""
        for report in list(self._running):
            try:
                report.beat()
            except JobLost:
                _log.debug("job %s ended meanwhile, or is another's", report.job_id)
            except TidegateError as error:
                _log.warning("the lease of job %s could not be extended: %s", report.job_id, error)
        return self._lease_s / BEATS_PER_LEASE
