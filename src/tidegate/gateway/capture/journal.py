"""The capture journal's writer: what a gateway answers is in the file before the answer leaves.

Called by `observer.py` on the event loop's thread. It never raises and never fails a prediction: what cannot be written
is dropped and counted.

A record is written straight from the loop: handing it to a thread and waiting costs three times as much as the write
(29 against 8 microseconds). The price is that a disk which stalls is noticed by being waited for, once: a write that
took longer than `wait_ms_max` opens a circuit, records are dropped and counted, and only when a sync of the file, done
in a thread, has come back and a hold has passed is the disk written to again. A full disk is tried again every second.
Sealing a segment, and dropping old ones, are a thread's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from os import fdatasync
from typing import TYPE_CHECKING

import msgspec

from tidegate.gateway.capture.batches import batch_record
from tidegate.gateway.capture.circuit import Circuit
from tidegate.gateway.capture.failures import Failures, Group, failure_record
from tidegate.gateway.capture.privacy import Privacy
from tidegate.gateway.control.threads import start_thread

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import Batch
    from tidegate.dataplane.calls.failure import FailedRequest
    from tidegate.dataplane.calls.outputs import Outputs
    from tidegate.gateway.capture.segments import Segments, WrittenSegment
    from tidegate.wire.journal import BatchRecord, FeedbackRecord

PRESSURE_LOOK_S = 10.0
"""While a sample is taken, for there is no room for all: how often it is asked whether the readers have caught up."""

log = logging.getLogger(__name__)


@dataclass
class JournalCounts:
    """Records written, and dropped by reason: `unread`, `stalled`, `disk_full`, `too_large`, `unfit`, `pressure`.

    `unread`: deleted by rotation before every reader had read them. `pressure`: requests left out of a sample that is
    taken because readers are behind and the bound is near. The loop counts, and a thread that drops segments:
    under a lock, for neither may lose the other's.
    """

    written: int = 0
    _dropped: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count dropped records; from any thread."""
        with self._lock:
            self._dropped[reason] = self._dropped.get(reason, 0) + count

    @property
    def dropped(self) -> dict[str, int]:
        """How many were dropped for each reason, as of now."""
        with self._lock:
            return self._dropped.copy()


class Journal:
    """Writes batches and failures. `monotonic` measures the writes, `wall` dates the requests."""

    def __init__(
        self, segments: Segments, wait_s_max: float, *, monotonic: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._segments = segments
        self._circuit = Circuit(wait_s_max)
        self._failures = Failures()
        self._monotonic = monotonic
        self._wall = wall
        self._encode = msgspec.msgpack.Encoder().encode
        self._look_again_s = 0.0
        self.counts = JournalCounts()
        self.privacy = Privacy()

    def write(self, batch: Batch, outputs: Outputs, now_s: float) -> None:
        """Record a computed batch; `now_s` is monotonic."""
        endpoint = batch.destination.identity.endpoint
        self._failures.earn(endpoint, len(batch.calls))
        if self._circuit.is_open(now_s):
            self.counts.drop(self._circuit.reason or "stalled")
            return
        at_s = self._wall()
        try:
            record = batch_record(batch, outputs, now_s, at_s - now_s)
            if record is not None:
                record = self._allowed(record, endpoint)
            payload = None if record is None else self._encode(record)
        except Exception:
            # A model's own objects may refuse to be written down: that must not cost the prediction.
            log.exception("a batch of %s could not be recorded", endpoint)
            self.counts.drop("unfit")
            return
        if payload is not None and (lost := self._append(payload, at_s)) is not None:
            self.counts.drop(lost)

    def _allowed(self, record: BatchRecord, endpoint: str) -> BatchRecord | None:
        """What the endpoint's rules, and the room that is left, keep of a batch."""
        room = self._segments.recorded_share
        if room >= 1.0:
            privacy = self.privacy.of(endpoint)
            return record if privacy is None else privacy.batch(record)
        privacy = self.privacy.under_pressure(endpoint)
        self.counts.drop("pressure", privacy.without_room(record, room))
        return privacy.batch(record, room)

    def failed(self, failure: FailedRequest) -> None:
        """Record a request that gets no answer, or count it where there are too many, or the disk is not written to."""
        at_s = self._wall()
        if not self._circuit.is_open(failure.now_s) and self._failures.take(failure.endpoint, failure.now_s):
            privacy = self.privacy.of(failure.endpoint)
            record = failure_record(failure, at_s - failure.now_s)
            payload = self._encode(record if privacy is None else privacy.failure(record))
            if self._append(payload, at_s) is None:
                return
        self._failures.omit(failure, at_s)

    def count(self, endpoint: str, group: Group, calls: int) -> None:
        """Count failures that are never recorded one by one (a shadow's): they take nothing of what live ones may."""
        self._failures.count(endpoint, group, calls, self._wall())

    def feedback(self, record: FeedbackRecord) -> str | None:
        """Record feedback; why it was not, where it could not be. Whoever sent it is told, so it counts as no loss."""
        if self._circuit.is_open(self._monotonic()):
            return self._circuit.reason or "stalled"
        return self._append(self._encode(self.privacy.feedback(record)), self._wall())

    def start(self) -> None:
        """Seal what was left by gateways that died, and keep to the bound."""
        self._settle_in_thread(None)

    def tick(self) -> None:
        """Once a second: record what was counted, and seal a segment that has become old."""
        if not self._circuit.is_open(self._monotonic()):
            self._write_omitted()
        if self._segments.is_full(0, self._wall()):
            self._settle_in_thread(self._segments.end())
        elif self._segments.recorded_share < 1.0 and self._monotonic() >= self._look_again_s:
            self._look_again_s = self._monotonic() + PRESSURE_LOOK_S
            self._settle_in_thread(None)

    def close(self) -> None:
        """Seal the open segment."""
        if lost := self._write_omitted():
            self.counts.drop("disk_full", lost)
        ended = self._segments.end()
        if ended is not None:
            self._settle(ended)

    def _write_omitted(self) -> int:
        """Record what was counted; what finds no room is counted on. Returns how many records that is."""
        kept = 0
        for record in self._failures.take_omitted():
            lost = self._append(self._encode(record), self._wall())
            if lost == "disk_full":
                self._failures.keep(record)
                kept += 1
            elif lost is not None:
                self.counts.drop(lost)
        return kept

    def _append(self, payload: bytes, at_s: float) -> str | None:
        """Write one record; why it was not, where it could not be."""
        size = len(payload)
        if not self._segments.fits(size):
            return "too_large"
        started_s = self._monotonic()
        try:
            ended = self._segments.end() if self._segments.is_full(size, at_s) else None
            if not self._segments.is_open:
                self._settle_in_thread(ended, size)
            self._segments.append(payload, at_s)
        except OSError as error:
            self._failed(error)
            return "disk_full"
        self.counts.written += 1
        self._worked(started_s)
        return None

    def _worked(self, started_s: float) -> None:
        now_s = self._monotonic()
        if self._circuit.measured(now_s - started_s, now_s):
            log.warning("a journal write took %.0f ms: records are dropped for a while", (now_s - started_s) * 1000)
            self._sync_in_thread()
        elif self._circuit.reason is not None:
            was = self._circuit.worked()
            log.info("the journal is written again (it was %s)", was)

    def _failed(self, error: OSError) -> None:
        if self._circuit.reason is None:
            log.error("the journal cannot be written (%s): records are dropped until it can", error)
        self._circuit.failed(self._monotonic())

    def _settle_in_thread(self, ended: WrittenSegment | None, need_bytes: int = 0) -> None:
        work = partial(self._settle, ended, need_bytes)
        if start_thread(work, "journal rotation") is None:
            work()  # a few milliseconds of everybody's time, for what would else stay on the disk past its bound

    def _settle(self, ended: WrittenSegment | None, need_bytes: int = 0) -> None:
        for segment in self._segments.settle(ended, need_bytes):
            if segment.unread:
                log.warning("%d records of the journal that nobody had read went with %s", segment.unread, segment.name)
                self.counts.drop("unread", segment.unread)

    def _sync_in_thread(self) -> None:
        fd = self._segments.fd
        if fd is not None:
            self._circuit.syncing = True
            if start_thread(partial(self._sync, fd), "journal sync") is None:
                self._circuit.syncing = False  # then the hold alone says when the disk is written to again

    def _sync(self, fd: int) -> None:
        try:
            fdatasync(fd)
        except OSError as error:
            log.warning("the journal could not be synced: %s", error)
        finally:
            self._circuit.syncing = False
