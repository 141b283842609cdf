"""Sends the broker a message for each job that waits, and a dead letter for each that is abandoned. Run by the leader.

Rows are the truth, so this is an outbox: what the broker has not confirmed is sent again, and twice does no harm. A
control plane that stands by only looks whether the broker is there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict

from tidegate.core.backoff import Backoff
from tidegate.core.ports import JobQueue, QueueState
from tidegate.errors import PartUnavailable
from tidegate.store.database.engine import Store
from tidegate.store.jobs import jobs as rows
from tidegate.store.leases import database_time
from tidegate.wire import parts

log = logging.getLogger(__name__)

POLL_S = 1.0
SENT_AT_ONCE_MAX = 100
LOST_AFTER_S = 5.0
"""A job waits and the queue is empty for so long: its message was lost."""
DOUBTFUL_AFTER_S = 600.0
"""Where messages wait, too, one more is sent so late, should one have been lost among them."""
BACKOFF = Backoff(1.0, 10.0)


class Dispatcher:
    """Looks at the broker, and sends while this control plane `leads`, one step at a time."""

    def __init__(self, store: Store, queue: JobQueue, leads: Callable[[], bool]) -> None:
        self._store, self._queue, self._leads = store, queue, leads
        self.wake = threading.Event()
        self._seen: QueueState | None = None
        self._reason = "it has not been asked yet"

    def take_over(self) -> None:
        """Jobs that run stay with their workers."""

    def notify(self) -> None:
        """A job was queued: send now."""
        self.wake.set()

    def close(self) -> None:
        """What is not sent yet is sent after the next start."""
        self._queue.close()

    def view(self) -> parts.QueueView:
        """The broker as it was seen last."""
        seen = self._seen
        if seen is None:
            return parts.QueueView(self._queue.where, "unavailable", self._reason)
        return parts.QueueView(self._queue.where, "ready", "", seen.messages, seen.idle_workers)

    def step(self) -> float:
        """One look at both sides; how long until the next. What it raises, jobs wait for."""
        try:
            self._seen = self._queue.look()
            if self._leads():
                self._send()
        except PartUnavailable as error:
            self._seen, self._reason = None, error.message
            raise
        return POLL_S

    def _send(self) -> None:
        """What is due. It is marked once the broker has it: a crash between the two sends it again."""
        empty = self._seen is not None and self._seen.messages == 0
        with self._store.reading() as tx:
            again_after_s = LOST_AFTER_S if empty else DOUBTFUL_AFTER_S
            waiting = rows.to_notify(tx, database_time(tx), again_after_s, SENT_AT_ONCE_MAX)
            letters = rows.dead_letters(tx, SENT_AT_ONCE_MAX)
        if waiting:
            for job_id in waiting:
                self._queue.notify(job_id)
            with self._store.transaction() as tx:
                rows.notified(tx, waiting, database_time(tx))
        for letter in letters:
            self._queue.dead_letter(asdict(letter))
            with self._store.transaction() as tx:
                rows.dead_lettered(tx, letter.job)
            log.warning(
                "job %s (%s %s) was given up: see the dead-letter queue", letter.job, letter.kind, letter.subject
            )
