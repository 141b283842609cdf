"""A job that is cancelled ends before it is done, wherever it is by then, and what it made is undone."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest

from support.control import served
from support.pools import Doing, pool_on, run
from support.wait import until
from tidegate.client import Client
from tidegate.core.access import Principal
from tidegate.errors import Conflict, JobCancelled, UnknownJob
from tidegate.jobs.report import JobReport
from tidegate.store.jobs import jobs as rows
from tidegate.store.tables import AuditRow, JobRow
from tidegate.wire.rest import Job
from tidegate.wiring import Container

ANNA = Principal("token", "anna")


def queue(container: Container, **fields: Any) -> None:
    values = {"kind": "register", "subject": "churn", "payload": {}, "state": "queued", "log": [], "created_at": 1.0}
    with container.store.transaction() as tx:
        tx.add(JobRow(id="a", **(values | fields)))


def ended(container: Container) -> Job:
    until(lambda: container.jobs.get("a").finished_at is not None, what="the end of the job")
    return container.jobs.get("a")


def test_a_job_that_waits_ends_at_once(own: Container) -> None:
    queue(own)
    job = own.jobs.cancel("a", ANNA)
    assert (job.state, job.message, job.cancelled_by) == ("cancelled", "cancelled by anna", "anna")
    assert job.finished_at is not None
    with own.store.transaction() as tx:
        assert rows.claim(tx, "worker", 0.0, 60.0) is None
        (entry,) = tx.query(AuditRow).all()
    assert (entry.who, entry.action, entry.subject) == ("anna", "cancel", "a")
    with pytest.raises(Conflict, match="cancelled already"):
        own.jobs.cancel("a", ANNA)


def test_a_job_that_runs_ends_when_it_next_tells_of_itself_and_is_undone(own: Container) -> None:
    began, go_on = threading.Event(), threading.Event()

    def work(report: JobReport) -> dict[str, Any]:
        report.progress(0.5, "half-way")
        began.set()
        assert go_on.wait(20)
        report.progress(0.6, "going on")
        return {}

    doing = Doing(work)
    queue(own)
    runner = run(pool_on(own.store, own, doing))
    assert began.wait(20)
    asked = own.jobs.cancel("a", ANNA)
    assert (asked.state, asked.cancelled_by) == ("running", "anna")
    assert own.jobs.cancel("a", Principal("token", "ben")) == asked
    go_on.set()
    job = ended(own)
    assert (job.state, job.progress, job.log[-1]) == ("cancelled", 0.5, "cancelled by anna")
    assert (job.error or {})["code"] == "job_cancelled"
    assert doing.undone == ["a"]
    runner.stop(5)


def test_a_job_whose_work_is_done_succeeds(own: Container) -> None:
    def work(report: JobReport) -> dict[str, Any]:
        own.jobs.cancel("a", ANNA)
        return {"answer": 42}

    doing = Doing(work)
    queue(own)
    runner = run(pool_on(own.store, own, doing))
    assert (ended(own).state, doing.undone) == ("succeeded", [])
    runner.stop(5)


def test_a_job_that_was_given_back_is_undone_by_whoever_takes_it(own: Container) -> None:
    doing = Doing(lambda report: {"answer": 42})
    queue(own, attempts=1)
    assert own.jobs.cancel("a", ANNA).state == "queued"
    runner = run(pool_on(own.store, own, doing))
    assert (ended(own).state, doing.undone) == ("cancelled", ["a"])
    runner.stop(5)


def test_over_http_the_client_waits_and_tells_those_that_wait(own: Container) -> None:
    queue(own)
    with served(own) as api, _client(own, api) as client:
        with pytest.raises(UnknownJob):
            client.jobs.cancel("none")
        assert client.jobs.cancel("a").state == "cancelled"
        with pytest.raises(JobCancelled, match="cancelled by token"):
            client.jobs.wait("a")
        assert [job.id for job in client.jobs.list(state="cancelled")] == ["a"]


def _client(container: Container, api: httpx.Client) -> Client:
    return Client(url=str(api.base_url), token=container.keys.token)
