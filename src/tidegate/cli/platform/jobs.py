"""`jobs`: list heavy work, show one piece of it with its log, cancel it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import click

from tidegate.cli.app import App, command, paging_options
from tidegate.cli.output import moment, table
from tidegate.wire.rest import Job, JobState

VERBS = ("show", "cancel")


@command(
    "jobs",
    "tidegate jobs",
    "tidegate jobs --state failed",
    "tidegate jobs 4f9c2d --json",
    "tidegate jobs cancel 4f9c2d",
)
@click.argument("words", nargs=-1, metavar="[[show|cancel] ID]")
@click.option("--state", type=click.Choice(get_args(JobState)), help="Only jobs like this.")
@click.option("--no-wait", is_flag=True, help="cancel: do not wait until the job has ended.")
@paging_options
def jobs(
    app: App, words: tuple[str, ...], state: str | None, no_wait: bool, limit: int | None, cursor: str | None
) -> None:
    """List jobs, newest first, show one with its log, or cancel one.

    A job that is cancelled ends before it is done, and what it made is undone. A version stays that was registered when
    only faster forms of it were still tried.
    """
    verb, job_id = _asked(words)
    if job_id is not None:
        found = app.client().jobs
        job = found.cancel(job_id, wait=not no_wait) if verb == "cancel" else found.get(job_id)
        return app.emit(job, lambda: _job(job))
    page = app.client().jobs.page(state=state, limit=limit, cursor=cursor)
    rows = [
        [job.id, job.kind, job.subject, job.state, f"{job.progress:.0%}", moment(job.created_at), _message(job)]
        for job in page.rows
    ]
    headers = ("job", "kind", "subject", "state", "done", "created", "message")
    return app.emit_page("jobs", page, lambda: table(headers, rows, "no jobs"))


def _asked(words: Sequence[str]) -> tuple[str, str | None]:
    """What to do with which job; none: they are listed."""
    verb, *rest = words if words and words[0] in VERBS else ("show", *words)
    if len(rest) > 1 or (words and not rest):
        raise click.UsageError(
            f"give the id of one job after {verb!r}: 'tidegate jobs' lists them", click.get_current_context()
        )
    return verb, rest[0] if rest else None


def _message(job: Job) -> str:
    return str((job.error or {}).get("error") or job.message or "-")


def _job(job: Job) -> str:
    lines = [f"job {job.id}: {job.kind} {job.subject} {job.state}, {job.progress:.0%}", f"  {_message(job)}"]
    asked = f" by {job.asked_by}" if job.asked_by else ""
    lines.append(
        f"  created {moment(job.created_at)}{asked}, started {moment(job.started_at)}, ended {moment(job.finished_at)}"
    )
    said = job.log[:-1] if job.log[-1:] == [_message(job)] else job.log  # a job's log ends with how it ended
    lines += [f"  {line}" for line in said]
    return "\n".join(lines)
