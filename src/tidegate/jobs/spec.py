"""The kinds of jobs: what runs each, and how often one is queued by itself. Listed once, in the composition root."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tidegate.core.access import part_of_platform
from tidegate.jobs.report import JobFunction
from tidegate.store.database.engine import Store
from tidegate.store.jobs import jobs as rows
from tidegate.store.leases import database_time
from tidegate.store.tables import JobRow

IDLE_S = 60.0
SCHEDULE = part_of_platform("schedule")
"""Who asks for jobs that are queued by themselves."""


@dataclass(frozen=True)
class JobSpec:
    """One kind of job.

    `function` makes its work, whose changes go through the (fenced) store that it is given. A job of a kind with a
    period is queued by the leader so often, without a payload.
    """

    kind: str
    function: Callable[[Store], JobFunction]
    period_s: float | None = None


class Schedule:
    """Queues jobs of the kinds that have a period, one step at a time; `queued` is called after each.

    While a job of a kind waits or runs, no other of it is queued: looked at in the transaction that queues it, and
    writing transactions take turns, so also of two control planes each kind has one.
    """

    def __init__(self, store: Store, specs: Iterable[JobSpec], queued: Callable[[], None]) -> None:
        self._store, self._queued = store, queued
        self._periods = {spec.kind: spec.period_s for spec in specs if spec.period_s is not None}

    def step(self) -> float:
        """Queue what is due; how long until the next look."""
        return min((self._see_to(kind, period_s) for kind, period_s in self._periods.items()), default=IDLE_S)

    def _see_to(self, kind: str, period_s: float) -> float:
        with self._store.reading() as tx:  # most looks find nothing due, and need not wait for writers
            wait_s = rows.due_in(tx, kind, period_s, database_time(tx))
        if wait_s > 0:
            return wait_s
        with self._store.transaction() as tx:
            present = database_time(tx)
            wait_s = rows.due_in(tx, kind, period_s, present)
            if wait_s > 0:
                return wait_s
            tx.add(_queued(kind, present))
        self._queued()
        return period_s


def _queued(kind: str, present: float) -> JobRow:
    return JobRow(
        id=secrets.token_hex(8),
        kind=kind,
        subject="",
        payload={},
        state="queued",
        message="waiting",
        log=[],
        created_at=present,
        asked_by_kind=SCHEDULE.kind,
        asked_by=SCHEDULE.name,
    )
