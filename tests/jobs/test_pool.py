import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from support.control import container_at
from support.pools import Doing, pool_on, run
from support.wait import until
from tidegate.errors import NotAModel
from tidegate.jobs.pool import JobPool
from tidegate.jobs.report import ATTEMPTS_MAX, Claim, JobLost, JobOutcome, JobReport
from tidegate.store.jobs import jobs as rows
from tidegate.store.leases import database_time
from tidegate.store.tables import JobRow, LeaseRow
from tidegate.wire.rest import Job
from tidegate.wiring import Container


def _pool(container: Container, function: Doing, workers: int = 2) -> JobPool:
    return pool_on(container.store, container, function, workers)


def _queue(container: Container, job_id: str, **fields: Any) -> None:
    values = {"kind": "register", "subject": "churn", "payload": {}, "state": "queued", "log": [], "created_at": 1.0}
    with container.store.transaction() as tx:
        tx.add(JobRow(id=job_id, **(values | fields)))


def _ended(container: Container, job_id: str) -> Job:
    until(lambda: container.jobs.get(job_id).finished_at is not None, what=f"the end of {job_id}")
    return container.jobs.get(job_id)


def test_a_pool_whose_control_plane_was_replaced_writes_nothing_and_undoes_nothing(own: Container) -> None:
    told = threading.Event()

    def work(report: JobReport) -> dict[str, Any]:
        told.set()
        assert replaced.wait(20)
        report.progress(0.9, "still at it")
        return {"answer": 42}

    replaced, doing = threading.Event(), Doing(work)
    pool = pool_on(own.fenced, own, doing)
    _queue(own, "a")
    pool.take_over()
    runner = run(pool)
    assert told.wait(20)
    before = own.jobs.get("a")
    with own.store.transaction() as tx:
        tx.execute(update(LeaseRow).values(token=LeaseRow.token + 1, holder="another"))
    replaced.set()
    until(lambda: own.leadership.term is None, what="the refusal")
    runner.stop(20)
    assert own.jobs.get("a") == before
    assert doing.undone == []


def test_a_job_tells_its_progress_log_and_result(own: Container) -> None:
    step = threading.Event()

    def work(report: JobReport) -> dict[str, Any]:
        report.progress(0.5, "half-way")
        assert step.wait(20)
        report.progress(0.6, "half-way")
        return {"answer": 42}

    pool = _pool(own, Doing(work))
    _queue(own, "a")
    pool.take_over()
    runner = run(pool)
    until(lambda: own.jobs.get("a").progress == 0.5, what="the progress")
    job = own.jobs.get("a")
    assert (job.state, job.message, job.attempts) == ("running", "half-way", 1)
    step.set()
    job = _ended(own, "a")
    assert (job.state, job.progress, job.result, job.error) == ("succeeded", 1.0, {"answer": 42}, None)
    assert job.log == ["half-way", "done"]
    runner.stop(5)


def test_a_jobs_times_are_all_of_the_databases_clock(own: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.jobs.report.database_time", lambda tx: database_time(tx) + 1000.0)
    monkeypatch.setattr("tidegate.jobs.bench.database_time", lambda tx: database_time(tx) + 1000.0)
    with own.store.transaction() as tx:
        before = database_time(tx)
    pool = _pool(own, Doing(lambda report: {}))
    _queue(own, "a")
    pool.take_over()
    runner = run(pool)
    job = _ended(own, "a")
    runner.stop(20)
    assert job.started_at is not None
    assert job.finished_at is not None
    assert before + 1000.0 <= job.started_at <= job.finished_at


def test_a_foreseen_failure_is_told_and_what_was_half_made_is_undone(own: Container) -> None:
    def work(report: JobReport) -> dict[str, Any]:
        raise NotAModel("it is a poem", line=1)

    function = Doing(work)
    pool = _pool(own, function)
    _queue(own, "a")
    pool.take_over()
    runner = run(pool)
    job = _ended(own, "a")
    assert job.state == "failed"
    assert job.error == {"error": "it is a poem", "code": "not_a_model", "details": {"line": 1}}
    assert function.undone == ["a"]
    runner.stop(5)


def test_an_unforeseen_failure_has_an_id_that_the_log_explains(
    own: Container, caplog: pytest.LogCaptureFixture
) -> None:
    def work(report: JobReport) -> dict[str, Any]:
        raise ZeroDivisionError("secret")

    pool = _pool(own, Doing(work))
    _queue(own, "a")
    pool.take_over()
    runner = run(pool)
    error = _ended(own, "a").error
    assert error is not None
    assert error["code"] == "internal"
    assert "secret" not in str(error)
    assert error["details"]["id"] in caplog.text
    runner.stop(5)


def test_notifying_starts_a_job_at_once_and_workers_work_side_by_side(own: Container) -> None:
    together = threading.Barrier(3)

    def work(report: JobReport) -> dict[str, Any]:
        together.wait(20)
        return {}

    pool = _pool(own, Doing(work), workers=2)
    pool.take_over()
    runner = run(pool)
    _queue(own, "a")
    _queue(own, "b")
    pool.notify()
    together.wait(20)  # only passes when both jobs run at the same time
    assert {_ended(own, job_id).state for job_id in ("a", "b")} == {"succeeded"}
    runner.stop(5)


def test_jobs_of_a_dead_process_run_again_until_they_were_tried_often_enough(own: Container) -> None:
    function = Doing(lambda report: {})
    _queue(own, "cut-off", state="running", claimed_by="dead", attempts=1, lease_until=9e12)
    _queue(own, "killer", state="running", claimed_by="dead", attempts=ATTEMPTS_MAX, lease_until=9e12)
    pool = _pool(own, function)
    pool.take_over()
    runner = run(pool)
    assert (_ended(own, "cut-off").state, _ended(own, "cut-off").attempts) == ("succeeded", 2)
    killer = _ended(own, "killer")
    assert killer.state == "failed"
    assert "died 3 times" in killer.message
    assert function.undone == ["killer"]
    runner.stop(5)


def test_a_worker_whose_job_was_taken_over_writes_nothing(own: Container) -> None:
    _queue(own, "a")
    with own.store.transaction() as tx:
        rows.claim(tx, "slow", 0.0, 1.0)
    with own.store.transaction() as tx:
        rows.claim(tx, "new", 2.0, 1e9)
    slow = JobReport(own.store, Claim("a", "slow"))
    writes: list[Callable[[], None]] = [
        lambda: slow.progress(0.9, "late"),
        lambda: slow.end(JobOutcome(result={})),
        slow.beat,
    ]
    for write in writes:
        with pytest.raises(JobLost):
            write()
    assert own.jobs.get("a").state == "running"


def test_a_worker_without_work_takes_no_lock(own: Container) -> None:
    pool = _pool(own, Doing(lambda report: {}))
    blocker = sqlite3.connect(own.settings.data_dir / "tidegate.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        assert pool.work() > 0
    finally:
        blocker.close()


def test_a_database_that_is_away_for_a_while_loses_no_job(
    own: Container, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tidegate.store.database.engine.BUSY_TIMEOUT_S", 0.05)
    hasty = container_at(own.settings.data_dir)
    pool = _pool(hasty, Doing(lambda report: {}))
    pool.take_over()
    _queue(own, "a")
    blocker = sqlite3.connect(own.settings.data_dir / "tidegate.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    runner = run(pool)
    until(lambda: "trying again" in caplog.text, what="a worker that meets the lock")
    blocker.execute("COMMIT")
    assert _ended(own, "a").state == "succeeded"
    runner.stop(5)
    blocker.close()
    hasty.close()
