"""Jobs that are queued by themselves: one of a kind at a time, once a period, by the leader alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from support.control import NewDatabase, container_at
from tidegate.errors import NotLeader
from tidegate.jobs.bench import Bench
from tidegate.jobs.pool import JobPool
from tidegate.jobs.report import LEASE_S, JobReport
from tidegate.jobs.spec import IDLE_S, JobSpec, Schedule
from tidegate.store.jobs import jobs as rows
from tidegate.store.tables import JobRow, LeaseRow
from tidegate.wiring import Container

PERIOD_S = 300.0


class Sweeping:
    """A job function that only counts."""

    runs = 0

    def run(self, payload: dict[str, Any], report: JobReport) -> dict[str, Any]:
        self.runs += 1
        return {}

    def undo(self, payload: dict[str, Any], job_id: str) -> None:
        raise AssertionError("nothing to undo")


@pytest.fixture
def own(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    yield container
    container.close()


def _schedule(container: Container, queued: Callable[[], None] = lambda: None) -> tuple[Sweeping, Schedule, JobSpec]:
    work = Sweeping()
    spec = JobSpec("sweep", lambda _store: work, PERIOD_S)
    others = JobSpec("register", lambda _store: work)
    return work, Schedule(container.fenced, [others, spec], queued), spec


def _jobs(container: Container) -> list[JobRow]:
    with container.store.reading() as tx:
        return rows.jobs(tx, None, None, 10)


def _let_pass(container: Container, seconds: float) -> None:
    with container.store.transaction() as tx:
        tx.execute(update(JobRow).values(created_at=JobRow.created_at - seconds))


def test_one_is_queued_once_a_period_and_none_while_another_is_left(own: Container) -> None:
    told: list[str] = []
    work, schedule, spec = _schedule(own, lambda: told.append("queued"))
    bench = Bench(own.fenced, [spec], own.uploads, LEASE_S, letters=False)
    pool = JobPool(own.fenced, bench, 1)
    assert schedule.step() == PERIOD_S
    (job,) = _jobs(own)
    assert (job.kind, job.state, told) == ("sweep", "queued", ["queued"])
    assert (job.asked_by_kind, job.asked_by) == ("platform", "schedule")
    _let_pass(own, 2 * PERIOD_S)
    assert schedule.step() == rows.LOOK_AGAIN_S
    assert len(_jobs(own)) == 1, "the first has yet to run"
    assert pool.work() == 0.0
    schedule.step()
    assert [job.state for job in _jobs(own)] == ["queued", "succeeded"]
    pool.work()
    _let_pass(own, PERIOD_S / 2)
    assert PERIOD_S / 3 < schedule.step() <= PERIOD_S / 2
    assert (len(_jobs(own)), work.runs, told) == (2, 2, ["queued"] * 2)


def test_one_that_is_forgotten_among_many_others_is_not_queued_before_its_period_is_over(own: Container) -> None:
    _, schedule, _ = _schedule(own)
    schedule.step()
    with own.store.transaction() as tx:
        tx.execute(update(JobRow).values(state="succeeded", created_at=JobRow.created_at - PERIOD_S / 2))
        for number in range(3):
            tx.add(
                JobRow(
                    id=f"r{number}",
                    kind="register",
                    subject="",
                    payload={},
                    state="failed",
                    message="",
                    log=[],
                    created_at=2e9 + number,
                )
            )
        rows.prune(tx, keep=0)
    assert PERIOD_S / 3 < schedule.step() <= PERIOD_S / 2
    assert [job.kind for job in _jobs(own)] == ["register", "sweep"], "the newest of each kind"


def test_a_clock_that_was_set_back_delays_none(own: Container) -> None:
    _, schedule, _ = _schedule(own)
    schedule.step()
    with own.store.transaction() as tx:
        tx.execute(update(JobRow).values(state="succeeded", created_at=JobRow.created_at + 86_400))
    assert schedule.step() == PERIOD_S
    assert [job.state for job in _jobs(own)] == ["succeeded", "queued"]
    with own.store.transaction() as tx:
        tx.execute(update(JobRow).values(state="succeeded"))
    assert PERIOD_S / 2 < schedule.step() <= PERIOD_S, "and none is queued all the time"
    assert len(_jobs(own)) == 2


def test_of_two_that_find_it_due_one_queues_it(own: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, looks = rows.due_in, []

    def due_in(tx: Session, *args: Any) -> float:
        looks.append(looked(tx, *args))
        if len(looks) == 1:  # the other control plane is quicker between this look and the transaction
            _schedule(own)[1].step()
            return 0.0
        return looks[-1]

    monkeypatch.setattr("tidegate.jobs.spec.rows.due_in", due_in)
    assert _schedule(own)[1].step() == rows.LOOK_AGAIN_S
    assert len(_jobs(own)) == 1


def test_a_control_plane_that_was_replaced_queues_nothing(own: Container) -> None:
    _, schedule, _ = _schedule(own)
    with own.store.transaction() as tx:
        tx.execute(update(LeaseRow).values(token=LeaseRow.token + 1, holder="another"))
    with pytest.raises(NotLeader):
        schedule.step()
    assert _jobs(own) == []


def test_without_such_kinds_nothing_is_asked(own: Container) -> None:
    spec = JobSpec("register", lambda _store: Sweeping())
    assert Schedule(own.store, [spec], lambda: None).step() == IDLE_S
