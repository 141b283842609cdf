"""Queries on jobs: queued by services, announced by loops/dispatch, claimed and written by the pool or a worker.

`now` is the database's own time (`leases.database_time`): workers on several machines go by one clock.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from tidegate.core.access import Principal
from tidegate.errors import JobCancelled
from tidegate.store.tables import JobRow
from tidegate.wire.audit import PrincipalKind

UNFINISHED = ("queued", "running")
LOOK_AGAIN_S = 5.0
"""How soon to look whether a job has ended, before another of its kind may be queued."""


@dataclass(frozen=True)
class Figures:
    """Of the jobs of one kind and state; the last two are None where none has ended."""

    count: int = 0
    last_finished_at: float | None = None
    mean_s: float | None = None


def get_job(tx: Session, job_id: str) -> JobRow | None:
    """The job with this id."""
    return tx.get(JobRow, job_id)


def locked_job(tx: Session, job_id: str) -> JobRow | None:
    """The same, which nobody claims or ends before this transaction does."""
    return tx.get(JobRow, job_id, with_for_update=True)


def asked_by(job: JobRow) -> Principal:
    """Who asked for a job, in whose name it makes its changes. Permissions were checked when it was queued."""
    return Principal(cast(PrincipalKind, job.asked_by_kind), job.asked_by, request_id=job.request_id)


def jobs(
    tx: Session, state: str | None, subject: str | None, rows_max: int, after: tuple[float, str] | None = None
) -> list[JobRow]:
    """Jobs, newest first, of one state or subject if given, from the one after `after` (created at, id) on."""
    query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id).limit(rows_max)
    if state:
        query = query.where(JobRow.state == state)
    if subject:
        query = query.where(JobRow.subject == subject)
    if after:
        created_at, job_id = after
        same_time = (JobRow.created_at == created_at) & (JobRow.id > job_id)
        query = query.where(or_(JobRow.created_at < created_at, same_time))
    return list(tx.scalars(query))


def count_by_state(tx: Session) -> dict[str, int]:
    """How many jobs are in each state."""
    counts = tx.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
    return {row[0]: row[1] for row in counts}


def figures(tx: Session) -> dict[tuple[str, str], Figures]:
    """How many jobs of each kind and state there are, when one ended last, and how long they took."""
    last, mean = func.max(JobRow.finished_at), func.avg(JobRow.finished_at - JobRow.started_at)
    found = tx.execute(select(JobRow.kind, JobRow.state, func.count(), last, mean).group_by(JobRow.kind, JobRow.state))
    return {(kind, state): Figures(count, last_at, mean_s) for kind, state, count, last_at, mean_s in found}


def oldest_queued_at(tx: Session) -> float | None:
    """When the job that waits longest was queued; None when none waits."""
    return tx.scalar(select(func.min(JobRow.created_at)).where(JobRow.state == "queued"))


def unfinished(tx: Session) -> list[JobRow]:
    """Jobs that are queued or running."""
    return list(tx.scalars(select(JobRow).where(JobRow.state.in_(UNFINISHED))))


def claim(tx: Session, worker: str, now: float, lease_s: float) -> JobRow | None:
    """Take the oldest job that is queued, or whose worker's lease ran out, for `worker`; None when there is none."""
    query = select(JobRow).where(_claimable(now)).order_by(JobRow.created_at, JobRow.id).limit(1)
    job = tx.scalar(query.with_for_update(skip_locked=True))
    return None if job is None else _taken(job, worker, now, lease_s)


def is_any_claimable(tx: Session, now: float) -> bool:
    """Whether `claim` would find a job: a look that locks nothing."""
    return tx.scalar(select(JobRow.id).where(_claimable(now)).limit(1)) is not None


def claim_one(tx: Session, job_id: str, worker: str, now: float, lease_s: float) -> JobRow | None:
    """Take this very job for `worker`; None when it ended, or another holds it, or there is none."""
    job = tx.scalar(select(JobRow).where(JobRow.id == job_id, _claimable(now)).with_for_update())
    return None if job is None else _taken(job, worker, now, lease_s)


def _claimable(now: float) -> ColumnElement[bool]:
    lost = (JobRow.state == "running") & (JobRow.lease_until < now)
    return or_(JobRow.state == "queued", lost)


def _taken(job: JobRow, worker: str, now: float, lease_s: float) -> JobRow:
    job.state, job.claimed_by, job.lease_until = "running", worker, now + lease_s
    job.started_at = job.started_at or now
    job.attempts += 1
    job.notified_at = None  # the message did its part: should this worker die, another message is due at once
    return job


def give_back(tx: Session, job_id: str, worker: str) -> None:
    """Let others have a job that `worker` was kept from ending; that was no attempt."""
    job = held(tx, job_id, worker)
    if job is not None:
        job.state, job.claimed_by, job.lease_until, job.notified_at = "queued", None, None, None
        job.message = "given back by its worker, waits for another"
        job.attempts -= 1


def end_untouched(job: JobRow, now: float) -> None:
    """End a cancelled job that nothing has run yet, so that there is nothing to undo."""
    if job.state == "queued" and job.attempts == 0:
        error = cancelled(job)
        job.state, job.message, job.error, job.finished_at = "cancelled", error.message, error.body(), now


def cancelled(job: JobRow) -> JobCancelled:
    """What a cancelled job ends with."""
    return JobCancelled(f"cancelled by {job.cancelled_by}")


def held(tx: Session, job_id: str, worker: str) -> JobRow | None:
    """The job if `worker` still holds it: a worker whose lease was taken over writes nothing."""
    query = select(JobRow).where(JobRow.id == job_id, JobRow.claimed_by == worker, JobRow.state == "running")
    return tx.scalar(query.with_for_update())


def due_in(tx: Session, kind: str, period_s: float, now: float) -> float:
    """Seconds until another job of this kind may be queued, which is so once a period, and not while one is left.

    Jobs of the future, from before the clock was set back, do not count.
    """
    of_kind = select(JobRow).where(JobRow.kind == kind)
    if tx.scalar(of_kind.where(JobRow.state.in_(UNFINISHED)).limit(1)) is not None:
        return min(period_s, LOOK_AGAIN_S)
    newest = tx.scalar(select(func.max(JobRow.created_at)).where(JobRow.kind == kind, JobRow.created_at <= now))
    return 0.0 if newest is None else max(0.0, newest + period_s - now)


def prune(tx: Session, keep: int) -> None:
    """Forget all but the newest `keep` jobs that ended, those whose dead letter has yet to be sent, and the newest of
    each kind, which says when the next of it is due.
    """
    ended = select(JobRow.id).where(JobRow.state.not_in(UNFINISHED)).order_by(JobRow.created_at.desc()).offset(keep)
    sent = or_(JobRow.dead_letter.is_(None), JobRow.dead_letter != "due")
    newest = select(func.max(JobRow.created_at)).group_by(JobRow.kind)
    old = JobRow.created_at.not_in(newest.scalar_subquery())
    tx.execute(delete(JobRow).where(JobRow.id.in_(ended.scalar_subquery()), sent, old))


# -- messages to a broker ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DeadLetter:
    """An abandoned job, as the dead-letter queue gets it."""

    job: str
    kind: str
    subject: str
    attempts: int
    error: dict[str, object]


def to_notify(tx: Session, now: float, again_after_s: float, rows_max: int) -> list[str]:
    """Jobs that wait for a worker and were not announced for so long, oldest first."""
    silent = JobRow.notified_at.is_(None) | (JobRow.notified_at < now - again_after_s)
    query = select(JobRow.id).where(_claimable(now), silent).order_by(JobRow.created_at, JobRow.id).limit(rows_max)
    return list(tx.scalars(query))


def notified(tx: Session, job_ids: Collection[str], now: float) -> None:
    """The broker has a message for each; one that was claimed meanwhile needs none any more."""
    tx.execute(update(JobRow).where(JobRow.id.in_(job_ids), _claimable(now)).values(notified_at=now))


def dead_letters(tx: Session, rows_max: int) -> list[DeadLetter]:
    """Those that have yet to be sent."""
    query = select(JobRow).where(JobRow.dead_letter == "due").order_by(JobRow.created_at, JobRow.id).limit(rows_max)
    return [DeadLetter(row.id, row.kind, row.subject, row.attempts, row.error or {}) for row in tx.scalars(query)]


def dead_lettered(tx: Session, job_id: str) -> None:
    """The broker has its dead letter."""
    tx.execute(update(JobRow).where(JobRow.id == job_id).values(dead_letter="sent"))
