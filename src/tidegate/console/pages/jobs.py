"""`/jobs` and `/jobs/{id}`: heavy work as it goes on, what came of it, and a button that ends it."""

from __future__ import annotations

import re
from typing import Any, get_args

from tidegate.client.waiting import has_ended
from tidegate.console.asking import Ask, Moved, PageRoute, Shown
from tidegate.errors import Conflict, TidegateError, UnknownModel, UnknownVersion
from tidegate.wire.rest import Job, JobState, Version

ROWS = 50
_GRANT = re.compile(r"[.:] if you trust [^.]*? with --allow-pickle.*$", re.IGNORECASE | re.DOTALL)
STATES = get_args(JobState)


def _jobs(ask: Ask) -> Shown | Moved:
    state = ask.query.get("state")
    page = ask.client.jobs.page(state if state in STATES else None, None, ROWS, ask.query.get("after"))
    return Shown(
        "jobs.html",
        {
            "jobs": [_row(one) for one in page.rows],
            "state": state if state in STATES else None,
            "states": STATES,
            "first": ask.with_query(after=None) if ask.query.get("after") else None,
            "next": None if page.next is None else ask.with_query(after=page.next),
        },
    )


def _job(ask: Ask) -> Shown | Moved:
    return _page(ask)


def _page(ask: Ask, problem: TidegateError | None = None) -> Shown:
    job = ask.client.jobs.get(ask.of["id"])
    context = {**_row(job), "version": _version(ask, job), "problem": problem}
    return Shown("job.html", context, problem.http_status if problem else 200)


def _row(job: Job) -> dict[str, Any]:
    error, said = job.error or {}, _said(job)
    return {
        "job": job,
        "said": said,
        "log": [line for line in map(_on_a_page, job.log) if not job.error or line != said],  # which is said above
        "code": str(error.get("code") or ""),
        "ended": has_ended(job),
        "ending": not has_ended(job) and bool(job.cancelled_by),
    }


def _said(job: Job) -> str:
    return _on_a_page(str((job.error or {}).get("error") or job.message))


def _on_a_page(text: str) -> str:
    """Without the options of the command line that grant a pickle: the page says what to tick instead."""
    return _GRANT.sub(".", text)


def _version(ask: Ask, job: Job) -> tuple[str, Version] | None:
    """The version that a registration took in, by the name of its model; None while it has none, or once it is gone."""
    result = job.result or {}
    if job.kind != "register" or "version" not in result:
        return None
    try:
        return str(result["model"]), ask.client.models.registered(job)
    except (UnknownModel, UnknownVersion):
        return None


def _cancel(ask: Ask) -> Shown | Moved:
    try:
        ask.client.jobs.cancel(ask.of["id"], wait=False)
    except Conflict as error:  # it ended meanwhile
        return _page(ask, error)
    return Moved(f"/jobs/{ask.of['id']}")


ROUTES = (
    PageRoute("GET", "/jobs", _jobs, live=True),
    PageRoute("GET", "/jobs/{id}", _job, live=True),
    PageRoute("POST", "/jobs/{id}/cancel", _cancel),
)
