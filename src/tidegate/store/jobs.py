"""Queries on jobs: queued by services, claimed and written by the job pool."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from tidegate.store.tables import JobRow

UNFINISHED = ("queued", "running")


@dataclass(frozen=True)
class Figures:
    """Of the jobs of one kind and state; the last two are None where none has ended."""

    count: int = 0
    last_finished_at: float | None = None
    mean_s: float | None = None


def get_job(tx: Session, job_id: str) -> JobRow | None:
    """The job with this id."""
    return tx.get(JobRow, job_id)


def jobs(tx: Session, state: str | None, subject: str | None, rows_max: int) -> list[JobRow]:
    """Jobs, newest first, of one state or subject if given."""
    query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.id).limit(rows_max)
    if state:
        query = query.where(JobRow.state == state)
    if subject:
        query = query.where(JobRow.subject == subject)
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
    lost = (JobRow.state == "running") & (JobRow.lease_until < now)
    query = select(JobRow).where(or_(JobRow.state == "queued", lost)).order_by(JobRow.created_at, JobRow.id).limit(1)
    job = tx.scalar(query.with_for_update(skip_locked=True))
    if job is None:
        return None
    job.state, job.claimed_by, job.lease_until = "running", worker, now + lease_s
    job.started_at = job.started_at or now
    job.attempts += 1
    return job


def held(tx: Session, job_id: str, worker: str) -> JobRow | None:
    """The job if `worker` still holds it: a worker whose lease was taken over writes nothing."""
    query = select(JobRow).where(JobRow.id == job_id, JobRow.claimed_by == worker, JobRow.state == "running")
    return tx.scalar(query.with_for_update())


def prune(tx: Session, keep: int) -> None:
    """Forget all but the newest `keep` jobs that ended."""
    ended = select(JobRow.id).where(JobRow.state.not_in(UNFINISHED)).order_by(JobRow.created_at.desc()).offset(keep)
    tx.execute(delete(JobRow).where(JobRow.id.in_(ended.scalar_subquery())))
