"""The capture journal's writer: one record per batch, in the file before the batch's answers leave.

Called by `observer.py` on the event loop's thread. It never raises and never fails a prediction: what cannot be written
is dropped and counted.

A record is written straight from the loop: handing it to a thread and waiting costs three times as much as the write
(29 against 8 microseconds). The price is that a disk which stalls is noticed by being waited for, once: a write that
took longer than `wait_ms_max` opens a circuit, records are dropped and counted, and only when a sync of the file, done
in a thread, has come back and a hold has passed is the disk written to again. A full disk is tried again every second.
"""

from __future__ import annotations

import logging
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from os import fdatasync
from typing import TYPE_CHECKING

import msgspec

from tidegate.dataplane.base.tensors import described
from tidegate.gateway.capture.segments import Closed, Segments, drop
from tidegate.gateway.control.threads import start_thread
from tidegate.wire.journal import CACHED, BatchRecord, CapturedRequest

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import Batch
    from tidegate.dataplane.calls.call import Call
    from tidegate.dataplane.calls.outputs import Outputs

RETRY_FULL_S = 1.0
HOLD_FIRST_S, HOLD_MAX_S = 1.0, 60.0
HEALTHY_S = 60.0
GONE_CODE, LATE_CODE = 499, 504
_FRAME = struct.Struct("<II")

log = logging.getLogger(__name__)


@dataclass
class JournalCounts:
    """Records written, and dropped by reason: `rotated`, `stalled`, `disk_full`, `too_large`, `unfit`.

    The loop counts, and a thread that drops segments: under a lock, for neither may lose the other's.
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


class Circuit:
    """Open while the disk is not to be written to. Decides by measured stalls and by failures; does no I/O."""

    def __init__(self, wait_s_max: float) -> None:
        self._wait_s_max = wait_s_max
        self._hold_s = HOLD_FIRST_S
        self._closed_since_s = 0.0
        self._until_s: float | None = None
        self.reason: str | None = None
        self.syncing = False

    def is_open(self, now_s: float) -> bool:
        """Whether records are to be dropped now; closes when its time has come."""
        if self._until_s is None:
            return False
        if self.syncing or now_s < self._until_s:
            return True
        self._until_s = None
        self._closed_since_s = now_s
        return False

    def measured(self, took_s: float, now_s: float) -> bool:
        """Take note of a write's duration; True when it was a stall, which opens the circuit."""
        if took_s <= self._wait_s_max:
            return False
        if now_s - self._closed_since_s > HEALTHY_S:
            self._hold_s = HOLD_FIRST_S
        self._open("stalled", now_s + self._hold_s)
        self._hold_s = min(self._hold_s * 2, HOLD_MAX_S)
        return True

    def failed(self, now_s: float) -> None:
        """A write failed (a full disk, as a rule)."""
        self._open("disk_full", now_s + RETRY_FULL_S)

    def worked(self) -> str | None:
        """A write succeeded; returns what had been wrong until now, once."""
        reason, self.reason = self.reason, None
        return reason

    def _open(self, reason: str, until_s: float) -> None:
        self.reason = reason
        self._until_s = until_s


class Journal:
    """Writes batches. `monotonic` measures the writes, `wall` dates the requests."""

    def __init__(
        self, segments: Segments, wait_s_max: float, *, monotonic: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._segments = segments
        self._circuit = Circuit(wait_s_max)
        self._monotonic = monotonic
        self._wall = wall
        self._encode = msgspec.msgpack.Encoder().encode
        self.counts = JournalCounts()

    def write(self, batch: Batch, outputs: Outputs, now_s: float) -> None:
        """Record a computed batch; `now_s` is monotonic."""
        if self._circuit.is_open(now_s):
            self.counts.drop(self._circuit.reason or "stalled")
            return
        try:
            payload = self._encode(_record(batch, outputs, now_s, self._wall() - now_s))
        except Exception:
            # A model's own objects may refuse to be written down: that must not cost the prediction.
            log.exception("a batch of %s could not be recorded", batch.destination.identity.endpoint)
            self.counts.drop("unfit")
            return
        self._append(payload)

    def close(self) -> None:
        """End the open segment."""
        self._segments.close()

    def _append(self, payload: bytes) -> None:
        head = _FRAME.pack(len(payload), zlib.crc32(payload))
        length = len(head) + len(payload)
        if not self._segments.fits(length):
            self.counts.drop("too_large")
            return
        started_s = self._monotonic()
        try:
            if self._segments.needs_room(length):
                self._drop_in_thread(self._segments.rotate_for(length))
            self._segments.append(head, payload)
        except OSError as error:
            self._failed(error)
            return
        self.counts.written += 1
        self._worked(started_s)

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
        self.counts.drop("disk_full")

    def _drop_in_thread(self, surplus: list[Closed]) -> None:
        def work() -> None:
            for segment in surplus:
                self.counts.drop("rotated", drop(segment))

        if surplus and start_thread(work, "journal rotation") is None:
            work()  # a few milliseconds of everybody's time, for what would else stay on the disk past its bound

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


def _record(batch: Batch, outputs: Outputs, now_s: float, wall_offset_s: float) -> BatchRecord:
    identity = batch.destination.identity
    requests = [
        CapturedRequest(
            call.request_id,
            call.unit,
            identity.variant,
            call.decision is not None and call.decision.pinned,
            call.started_s + wall_offset_s,
            now_s - call.started_s,
            call.rows,
            200 if not call.done else _code_of(call, now_s),
            call.place,
        )
        for call in batch.calls
    ]
    inputs = {name: described(array) for name, array in batch.inputs.items()}
    answers = {name: described(array) for name, array in outputs.tensors.items()}
    cached = batch.released == CACHED
    return BatchRecord(identity.endpoint, identity.version, requests, inputs, answers, batch.params, cached)


def _code_of(call: Call, now_s: float) -> int:
    """Of a call that nobody waits for: its rows are in the batch, so it is in the record."""
    return LATE_CODE if call.deadline_s <= now_s else GONE_CODE
