from collections.abc import Iterator
from pathlib import Path

import pytest

from support.control import NewDatabase
from tidegate.store.database.engine import Store, open_store, store_url
from tidegate.store.jobs import jobs
from tidegate.store.tables import JobRow


@pytest.fixture
def store(tmp_path: Path, new_database: NewDatabase) -> Iterator[Store]:
    store = open_store(store_url(tmp_path, new_database()))
    store.migrate()
    yield store
    store.close()


def _queue(store: Store, *ids: str, state: str = "queued") -> None:
    with store.transaction() as tx:
        for at, job_id in enumerate(ids):
            tx.add(JobRow(id=job_id, kind="register", subject="churn", payload={}, state=state, log=[], created_at=at))


def _claim(store: Store, worker: str, now: float) -> str | None:
    with store.transaction() as tx:
        job = jobs.claim(tx, worker, now, lease_s=60)
        return job.id if job else None


def test_jobs_are_claimed_once_and_oldest_first(store: Store) -> None:
    _queue(store, "a", "b")
    assert [_claim(store, worker, 0) for worker in ("w1", "w2", "w3")] == ["a", "b", None]


def test_a_lease_that_ran_out_can_be_taken_over_and_its_old_holder_writes_nothing(store: Store) -> None:
    _queue(store, "a")
    assert _claim(store, "dead", 0) == "a"
    assert _claim(store, "new", 59) is None
    assert _claim(store, "new", 61) == "a"
    with store.reading() as tx:
        assert jobs.held(tx, "a", "dead") is None
        job = jobs.held(tx, "a", "new")
        assert job is not None
        assert job.attempts == 2


def test_old_jobs_are_forgotten_and_unfinished_ones_never(store: Store) -> None:
    _queue(store, "waiting")
    _queue(store, "old", "older", "newest", state="succeeded")
    with store.transaction() as tx:
        jobs.prune(tx, keep=2)
    with store.reading() as tx:
        assert {job.id for job in jobs.jobs(tx, None, None, 10)} == {"waiting", "older", "newest"}
