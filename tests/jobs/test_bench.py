"""A worker's bench on a real database of each kind: claims, leases, and what is refused to one that was replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import update

from support.control import NewDatabase, container_at
from support.wait import until
from tidegate.errors import NotAModel, StoreUnavailable
from tidegate.jobs.bench import Bench, Claimed, Stopping
from tidegate.jobs.report import ATTEMPTS_MAX, JobReport
from tidegate.jobs.spec import JobSpec
from tidegate.loops.metrics import LoopMetrics
from tidegate.loops.runner import Loop, Runner
from tidegate.store.database.engine import Store
from tidegate.store.jobs import jobs as rows
from tidegate.store.tables import JobRow, ModelRow
from tidegate.wiring import Container

LEASE_S = 0.4


class Doing:
    """A job function made of what a test wants to happen; it has the store that the job's changes go through."""

    def __init__(self, work: Callable[[JobReport, Store], dict[str, Any]]) -> None:
        self._work = work
        self.store: Store | None = None
        self.undone: list[str] = []

    def on(self, store: Store) -> Doing:
        self.store = store
        return self

    def run(self, payload: dict[str, Any], report: JobReport) -> dict[str, Any]:
        assert self.store is not None
        return self._work(report, self.store)

    def undo(self, payload: dict[str, Any], job_id: str) -> None:
        self.undone.append(job_id)


@pytest.fixture
def own(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    yield container
    container.close()


def _bench(container: Container, doing: Doing, lease_s: float = 60.0) -> Bench:
    return Bench(container.store, [JobSpec("register", doing.on)], container.uploads, lease_s, letters=True)


def _queue(container: Container, job_id: str, **fields: Any) -> None:
    values = {"kind": "register", "subject": "churn", "payload": {}, "state": "queued", "log": [], "created_at": 1.0}
    with container.store.transaction() as tx:
        tx.add(JobRow(id=job_id, **(values | fields)))


def _claimed(bench: Bench, job_id: str) -> Claimed:
    claimed = bench.claim(job_id)
    assert claimed is not None
    return claimed


def _row(container: Container, job_id: str) -> JobRow:
    with container.store.reading() as tx:
        row = rows.get_job(tx, job_id)
        assert row is not None
        return row


def test_a_job_is_claimed_by_one_and_ends_once(own: Container) -> None:
    bench = _bench(own, Doing(lambda report, store: {"answer": 42}))
    _queue(own, "a", notified_at=1.0)
    claimed = _claimed(bench, "a")
    assert bench.claim("a") is None, "a second message while it runs"
    assert bench.claim("unknown") is None
    assert _row(own, "a").notified_at is None
    outcome = bench.run(claimed)
    assert outcome is not None
    assert (outcome.result, outcome.error) == ({"answer": 42}, None)
    assert bench.claim("a") is None, "a message after its end"
    assert own.jobs.get("a").result == {"answer": 42}


def test_a_lease_lasts_while_the_job_does_and_ends_with_its_worker(own: Container) -> None:
    release = threading.Event()
    bench, other = (_bench(own, Doing(lambda report, store: {"ok": release.wait(20)}), LEASE_S) for _ in range(2))
    runner = Runner([Loop("leases", bench.keep_leases)], LoopMetrics(CollectorRegistry()))
    runner.start()
    _queue(own, "a")
    claimed = _claimed(bench, "a")
    running = threading.Thread(target=bench.run, args=(claimed,))
    running.start()
    first = _row(own, "a").lease_until or 0.0
    until(lambda: (_row(own, "a").lease_until or 0.0) > first + LEASE_S, what="a lease that was extended")
    assert other.claim("a") is None
    release.set()
    running.join(20)
    assert own.jobs.get("a").state == "succeeded"
    _queue(own, "b")
    _claimed(bench, "b")  # and never runs it, as if it had died there
    again = until(lambda: other.claim("b"), what="the end of the lease")
    assert again is not None
    assert again.job.attempts == 2
    runner.stop(20)
    bench.clear()


def test_of_a_worker_that_was_replaced_nothing_is_written_and_nothing_undone(own: Container) -> None:
    def work(report: JobReport, store: Store) -> dict[str, Any]:
        with own.store.transaction() as tx:
            tx.execute(update(JobRow).where(JobRow.id == report.job_id).values(claimed_by="another"))
        if report.job_id == "fails":
            raise NotAModel("it is a poem")
        with store.transaction() as tx:
            tx.add(ModelRow(name=report.job_id, created_at=1.0))
        return {}

    doing = Doing(work)
    bench = _bench(own, doing)
    for job_id in ("writes", "fails"):
        _queue(own, job_id)
        assert bench.run(_claimed(bench, job_id)) is None
        assert _row(own, job_id).state == "running"
        assert _row(own, job_id).claimed_by == "another"
    assert own.models.page(100)[0] == []
    assert doing.undone == []


def test_a_job_given_up_leaves_a_dead_letter_and_one_that_fails_does_not(own: Container) -> None:
    def fail(report: JobReport, store: Store) -> dict[str, Any]:
        raise NotAModel("it is a poem")

    doing = Doing(fail)
    bench = _bench(own, doing)
    _queue(own, "poem")
    _queue(own, "killer", attempts=ATTEMPTS_MAX)
    for job_id in ("poem", "killer"):
        bench.run(_claimed(bench, job_id))
    assert doing.undone == ["poem", "killer"]
    assert (_row(own, "poem").dead_letter, _row(own, "killer").dead_letter) == (None, "due")
    with own.store.transaction() as tx:
        (letter,) = rows.dead_letters(tx, 10)
        assert (letter.job, letter.attempts, letter.error["code"]) == ("killer", ATTEMPTS_MAX + 1, "job_abandoned")
        (poem, killer) = (tx.get_one(JobRow, one) for one in ("poem", "killer"))
        poem.created_at = killer.created_at + 1  # the newest of its kind, and kept as that
        rows.prune(tx, keep=0)
        rows.dead_lettered(tx, "killer")
        assert {job.id for job in rows.jobs(tx, None, None, 10)} == {"poem", "killer"}, "until its letter is sent"
        rows.prune(tx, keep=0)
        assert [job.id for job in rows.jobs(tx, None, None, 10)] == ["poem"]


def test_what_is_kept_from_ending_is_given_back_and_was_no_attempt(own: Container) -> None:
    begun, end = threading.Event(), threading.Event()

    def work(report: JobReport, store: Store) -> dict[str, Any]:
        if report.job_id == "away":
            raise StoreUnavailable("the database is away")
        begun.set()
        assert end.wait(20)
        return {}

    bench = _bench(own, Doing(work))
    _queue(own, "away")
    assert bench.run(_claimed(bench, "away")) is None
    _queue(own, "stopped")
    running = threading.Thread(target=bench.run, args=(_claimed(bench, "stopped"),))
    running.start()
    assert begun.wait(20)
    bench.clear()
    end.set()
    running.join(20)
    for job_id in ("away", "stopped"):
        row = _row(own, job_id)
        assert (row.state, row.attempts, row.claimed_by, row.notified_at) == ("queued", 0, None, None)


def test_a_claim_waits_for_the_database_until_the_worker_is_stopped(
    own: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.jobs.bench.RETRY_S", 0.01)
    bench = _bench(own, Doing(lambda report, store: {}))
    _queue(own, "a")
    tries: list[str] = []

    def away(*_: Any) -> None:
        tries.append("a")
        if len(tries) == 3:
            bench.clear()
        raise StoreUnavailable("the database is away")

    monkeypatch.setattr("tidegate.jobs.bench.rows.claim_one", away)
    with pytest.raises(Stopping):
        bench.claim("a")
    assert len(tries) == 3


def test_scratch_of_jobs_that_ended_is_removed_when_a_worker_starts(own: Container) -> None:
    scratch = own.settings.data_dir / "jobs"
    for name in ("runs-1", "ended-2", "unknown-1"):
        (scratch / name).mkdir(parents=True)
    _queue(own, "runs", state="running", claimed_by="another", lease_until=9e12)
    _queue(own, "ended", state="failed")
    bench = _bench(own, Doing(lambda report, store: {}))
    bench.sweep(scratch)
    assert [path.name for path in scratch.iterdir()] == ["runs-1"]
