"""Runs a claimed job and writes its state, progress and outcome: the only writer of such a job. Used by `bench`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy.orm import Session

from tidegate.core.access import Principal
from tidegate.errors import Internal, JobAbandoned, JobCancelled, NotLeader, StoreUnavailable, TidegateError
from tidegate.store.database.engine import Store
from tidegate.store.jobs import jobs as rows
from tidegate.store.leases import database_time
from tidegate.store.tables import JobRow
from tidegate.system.exhaustion import exhausted
from tidegate.telemetry import log_failure

_log = logging.getLogger(__name__)

ATTEMPTS_MAX = 3
LEASE_S = 60.0
LOG_LINES_MAX = 200


class JobLost(Exception):
    """Another worker has taken this job over: whoever meets this stops without writing anything."""


class CancelAsked(Exception):
    """Somebody wants this job to end: whoever meets this lets it through, so that what was made is undone."""

    def __init__(self, error: JobCancelled) -> None:
        super().__init__(error.message)
        self.error = error


@dataclass(frozen=True)
class Claim:
    """One taking of a job. `holder` is in its row for as long as the claim is good; `letter`: tell a broker of its end;
    `who` asked for it.

    `attempt` tells this claim's scratch folder from those of workers that were taken over and may not know it yet.
    """

    job_id: str
    holder: str
    attempt: int = 1
    lease_s: float = LEASE_S
    letter: bool = False
    who: Principal = Principal("unknown", "")


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended."""

    result: dict[str, Any] | None = None
    error: TidegateError | None = None


class JobReport:
    """How a running job tells of itself; every call writes the row, or raises `JobLost`.

    While the job does its work the calls also raise `CancelAsked`; from `undoing` on they do not.
    """

    def __init__(self, store: Store, claim: Claim) -> None:
        self._store, self._claim = store, claim
        self.job_id, self.who = claim.job_id, claim.who
        self.scratch = f"{claim.job_id}-{claim.attempt}"
        self._undoing = False

    def progress(self, done: float, message: str) -> None:
        """`done` goes from 0 to 1. A new message is also a line of the log."""
        with self._store.transaction() as tx:
            job = self._wanted(tx)
            if message != job.message:
                job.log = [*job.log, message][-LOG_LINES_MAX:]
            job.progress, job.message = done, message
            job.lease_until = database_time(tx) + self._claim.lease_s

    def beat(self) -> None:
        """Extend the lease."""
        with self._store.transaction() as tx:
            self._held(tx).lease_until = database_time(tx) + self._claim.lease_s

    def fence(self, tx: Session) -> None:
        """First in each transaction of the job's own changes: raises `JobLost` where the claim is no longer good."""
        self._wanted(tx)

    def check(self) -> None:
        """Before something outside the database is undone: raises as `fence`."""
        with self._store.transaction() as tx:
            self._held(tx)

    def look(self) -> None:
        """While something outside works for the job: raises as `fence`, and writes nothing."""
        with self._store.reading() as tx:
            self._wanted(tx)

    def undoing(self) -> None:
        """The work is over: what was made is removed, and nobody can cancel that."""
        self._undoing = True

    def end(self, outcome: JobOutcome) -> None:
        """How it ended. One that was cancelled when all was done has succeeded."""
        error = outcome.error
        with self._store.transaction() as tx:
            job = self._held(tx)
            job.state, job.message = _state_of(error), "done" if error is None else error.message
            job.result, job.error = outcome.result, None if error is None else error.body()
            job.progress = 1.0 if error is None else job.progress
            job.log = [*job.log, job.message][-LOG_LINES_MAX:]
            job.finished_at, job.lease_until = database_time(tx), None  # the clock that its start was taken from
            if self._claim.letter and isinstance(error, JobAbandoned):
                job.dead_letter = "due"

    def give_back(self) -> None:
        """It was kept from ending: others may have it, and this was no attempt."""
        with self._store.transaction() as tx:
            rows.give_back(tx, self.job_id, self._claim.holder)

    def _wanted(self, tx: Session) -> JobRow:
        job = self._held(tx)
        if job.cancelled_by is not None and not self._undoing:
            raise CancelAsked(rows.cancelled(job))
        return job

    def _held(self, tx: Session) -> JobRow:
        job = rows.held(tx, self.job_id, self._claim.holder)
        if job is None:
            raise JobLost(self.job_id)
        return job


class JobFunction(Protocol):
    """The work of one kind of job. It may be run again after any crash, so each step must bear repeating."""

    def run(self, payload: dict[str, Any], report: JobReport) -> dict[str, Any]:
        """The job's result; raises `TidegateError` for what is foreseen."""

    def undo(self, payload: dict[str, Any], job_id: str) -> None:
        """Remove whatever a failed (or thrice crashed) run left half-made."""


def carry_out(job: JobRow, function: JobFunction, report: JobReport) -> JobOutcome:
    """Run it, or undo what a failed run left half-made.

    Raises `JobLost` and `NotLeader` where it is another's now, and `StoreUnavailable`: then it has not ended.
    """
    try:
        if job.attempts > ATTEMPTS_MAX:
            raise JobAbandoned(f"the process that ran this job died {ATTEMPTS_MAX} times: it is not run again")
        report.look()  # it may have been cancelled while it waited to be run again
        return JobOutcome(result=function.run(job.payload, report))
    except (JobLost, NotLeader, StoreUnavailable):
        raise
    except Exception as error:
        report.undoing()
        report.check()  # what another made meanwhile is not ours to undo
        function.undo(job.payload, job.id)
        return JobOutcome(error=_expected(error, job))


def _state_of(error: TidegateError | None) -> str:
    if error is None:
        return "succeeded"
    return "cancelled" if isinstance(error, JobCancelled) else "failed"


def _expected(error: Exception, job: JobRow) -> TidegateError:
    if isinstance(error, CancelAsked):
        return error.error
    if isinstance(error, TidegateError):
        return error
    if (here := exhausted(error)) is not None:
        return here
    failure_id = log_failure(_log, f"job {job.id} ({job.kind} {job.subject})", error)
    return Internal(f"the job failed; the log of what ran it has the details under id {failure_id}", id=failure_id)
