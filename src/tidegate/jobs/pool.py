"""The embedded job pool: runs the jobs that wait in the control plane, where there is no broker.

The row is the truth about a job. A dead process's jobs run again; one that kills its process thrice is abandoned
(`report.carry_out`).
"""

from __future__ import annotations

import threading

from tidegate.core.backoff import Backoff
from tidegate.jobs.bench import Bench, Stopping
from tidegate.store.database.engine import Store
from tidegate.store.jobs import jobs as rows

POLL_S = 1.0
TROUBLE = Backoff(first_s=1.0, longest_s=5.0)


class JobPool:
    """For as many loops as there are workers, each with an event of `wakes`."""

    def __init__(self, store: Store, bench: Bench, workers: int) -> None:
        self._store, self.bench = store, bench
        self.wakes = [threading.Event() for _ in range(workers)]

    def take_over(self) -> None:
        """Queue again what a former leader left running: whatever it still does is refused."""
        with self._store.transaction() as tx:
            for job in rows.unfinished(tx):
                job.state, job.claimed_by, job.lease_until = "queued", None, None

    def notify(self) -> None:
        """A job was queued: look now."""
        for wake in self.wakes:
            wake.set()

    def work(self) -> float:
        """A step of one worker: claim a job and see it through; how long until the next look.

        Raises `StoreUnavailable` where none could be claimed.
        """
        claimed = self.bench.try_claim()
        if claimed is None:
            return POLL_S
        try:
            self.bench.run(claimed)
        except Stopping:
            return POLL_S
        return 0.0
