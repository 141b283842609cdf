"""Tells workers over the broker of jobs that wait, and its dead-letter queue of those given up; the leader's part.

Rows are the truth, so this is an outbox: what the broker has not confirmed is sent again, and twice does no harm. A
control plane that stands by only looks whether the broker is there.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict

from tidegate.clock import monotonic
from tidegate.core.backoff import Backoff
from tidegate.core.ports import JobQueue, QueueState
from tidegate.errors import NotLeader, PartUnavailable, StoreUnavailable
from tidegate.store import jobs as rows
from tidegate.store.engine import Store
from tidegate.store.leases import database_time
from tidegate.wire import parts

log = logging.getLogger(__name__)

POLL_S = 1.0
SWEEP_S = 60.0
SENT_AT_ONCE_MAX = 100
LOST_AFTER_S = 5.0
"""A job waits and the queue is empty for so long: its message was lost."""
DOUBTFUL_AFTER_S = 600.0
"""Where messages wait, too, one more is sent so late, should one have been lost among them."""
_BACKOFF = Backoff(1.0, 10.0)


class Dispatcher:
    """A thread. `keep_house` is called now and then while this control plane leads."""

    def __init__(self, store: Store, queue: JobQueue, keep_house: Callable[[], None]) -> None:
        self._store, self._queue, self._keep_house = store, queue, keep_house
        self._wake = threading.Condition()
        self._nudges, self._failures = 0, 0
        self._stopping, self._leading = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="dispatch", daemon=True)
        self._sweep_at = 0.0
        self._seen: QueueState | None = None
        self._reason = "it has not been asked yet"

    def start(self) -> None:
        """Begin to look at the broker; and to send, from `take_over` on."""
        self._thread.start()

    def take_over(self) -> None:
        """Lead from now on. Jobs that run stay with their workers."""
        self._leading.set()
        self.nudge()

    def pause(self) -> None:
        """Another leads, and sends."""
        self._leading.clear()

    def nudge(self) -> None:
        """A job was queued: send now."""
        with self._wake:
            self._nudges += 1
            self._wake.notify_all()

    def stop(self, timeout_s: float) -> None:
        """End within the time; what is not sent yet is sent after the next start."""
        self._stopping.set()
        self.nudge()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def view(self) -> parts.QueueView:
        """The broker as it was seen last."""
        seen = self._seen
        if seen is None:
            return parts.QueueView(self._queue.where, "unavailable", self._reason)
        return parts.QueueView(self._queue.where, "ready", "", seen.messages, seen.idle_workers)

    def _run(self) -> None:
        while not self._stopping.is_set():
            seen = self._nudges
            pause_s = self._pass()
            with self._wake:
                self._wake.wait_for(lambda seen=seen: self._nudges != seen, pause_s)  # type: ignore[misc]
        self._queue.close()

    def _pass(self) -> float:
        """One look at both sides; how long to wait before the next."""
        try:
            self._look()
            if self._leading.is_set():
                self._send()
                self._sweep()
        except PartUnavailable as error:
            return self._away(error)
        except (StoreUnavailable, NotLeader) as error:
            log.warning("jobs wait: %s", error)
        except Exception:
            log.exception("jobs could not be told to workers; trying again")
        return POLL_S

    def _look(self) -> None:
        self._seen = self._queue.look()
        if self._failures:
            log.info("%s answers again", self._queue.where)
        self._failures = 0

    def _away(self, error: PartUnavailable) -> float:
        if error.message != self._reason or not self._failures:
            log.warning("jobs wait: %s", error)
        self._seen, self._reason = None, error.message
        self._failures += 1
        return _BACKOFF.delay_s(self._failures, 0.0)

    def _send(self) -> None:
        """What is due. It is marked once the broker has it: a crash between the two sends it again."""
        empty = self._seen is not None and self._seen.messages == 0
        with self._store.reading() as tx:
            again_after_s = LOST_AFTER_S if empty else DOUBTFUL_AFTER_S
            waiting = rows.to_nudge(tx, database_time(tx), again_after_s, SENT_AT_ONCE_MAX)
            letters = rows.dead_letters(tx, SENT_AT_ONCE_MAX)
        if waiting:
            for job_id in waiting:
                self._queue.nudge(job_id)
            with self._store.transaction() as tx:
                rows.nudged(tx, waiting, database_time(tx))
        for letter in letters:
            self._queue.bury(asdict(letter))
            with self._store.transaction() as tx:
                rows.buried(tx, letter.job)
            log.warning(
                "job %s (%s %s) was given up: see the dead-letter queue", letter.job, letter.kind, letter.subject
            )

    def _sweep(self) -> None:
        if monotonic() >= self._sweep_at:
            self._sweep_at = monotonic() + SWEEP_S
            self._keep_house()
