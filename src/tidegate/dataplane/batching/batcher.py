"""The batcher: greedy, with no timer on the way. Dispatches at once when a target is idle, gathers while all are busy.

One per destination, on gateway and replica alike. A batch answers every call in it that is not done, whatever happened
to the others: neither a cancelled call nor an exception in a sink or the observer disturbs its neighbours.
`adaptive_batch_size.py` decides how many rows a batch may have, `fair.py` in which order clients are served, and
`isolation.py` what happens to calls whose target died (docs/decisions/0009-batching.md).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from tidegate.dataplane.base.incidents import internal
from tidegate.dataplane.batching.adaptive_batch_size import SMALL_ROWS, AdaptiveBatchSize
from tidegate.dataplane.batching.failures import died_twice, in_other_shapes, too_late
from tidegate.dataplane.batching.fair import FairQueue, Room
from tidegate.dataplane.batching.isolation import Isolation
from tidegate.dataplane.batching.parts import CallPart
from tidegate.dataplane.batching.reruns import Reruns
from tidegate.dataplane.calls.batch import Batch, BatchTarget, Observer
from tidegate.dataplane.calls.call import Call
from tidegate.dataplane.calls.guarded import Guarded
from tidegate.dataplane.calls.limits import DataplaneLimits
from tidegate.dataplane.calls.outputs import ModelFailed, Outputs, TargetHung, TargetLost, TargetUnreached, TargetUnread
from tidegate.errors import NoReadyReplica, Overloaded, TidegateError, UnfitInput

EXPIRY_TICK_S = 0.02
ATTEMPTS_MAX = 2
LOOKS_MAX = 4
RETRY_AFTER_S = 1.0
_GONE = (TargetLost, TargetUnreached)


class Batcher:
    """Queues calls for the targets of one version.

    `mergeable` False sends every call alone (registration did not show that the model answers a batch as it answers its
    rows). `splits` False never cuts a call that is larger than a batch: behind a gateway that was done already.
    Bounded by `limits.queue_rows_max` waiting rows: past it `submit` raises `Overloaded`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: DataplaneLimits,
        observer: Observer,
        *,
        mergeable: bool = True,
        splits: bool = True,
        clock: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._observer = Guarded(observer)
        self._clock = clock
        self._mergeable = mergeable
        self._queue = FairQueue(mergeable=mergeable, splits=splits)
        self._batch_size = AdaptiveBatchSize(limits.batch_rows_max, limits.batch_latency_s)
        self._reruns = Reruns()
        self._again_next = False
        self._isolation = Isolation()
        self._targets: dict[str, BatchTarget] = {}
        self._idle: deque[BatchTarget] = deque()
        self._in_flight: set[Batch] = set()
        self._dispatch_due = False
        self._looks = self._submitted = self._submitted_before = 0
        self._expiry_due = False

    # -- targets ---------------------------------------------------------------------------------------------------

    def add_target(self, target: BatchTarget) -> None:
        """A target became usable; one with the same id is replaced."""
        self.remove_target(target.id, replaced=True)
        self._targets[target.id] = target
        if self._isolation.calls and self._isolation.target is None:
            self._isolation.target = target
        else:
            self._idle.append(target)
        if self.outstanding and not self._dispatch_due:
            self._schedule()

    def remove_target(self, target_id: str, *, replaced: bool = False) -> None:
        """A target takes no further batch; the one it computes is still answered."""
        target = self._targets.pop(target_id, None)
        if target is not None and target in self._idle:
            self._idle.remove(target)
        self._isolation.lose(target_id)
        if not self._targets and not replaced:
            self._fail_queue(NoReadyReplica(retry_after_s=RETRY_AFTER_S))

    @property
    def accepts(self) -> bool:
        """Whether a call that is handed in now is answered, if there is room for it: there is a target."""
        return bool(self._targets)

    # -- what waits ------------------------------------------------------------------------------------------------

    @property
    def outstanding(self) -> bool:
        """Whether any call waits or is being computed."""
        return bool(self._queue.rows or self._in_flight or self._reruns or self._isolation.calls)

    @property
    def outstanding_calls(self) -> set[Call]:
        """Calls that wait or are being computed; a large one that is cut into parts is one."""
        return {_whole(call) for call in self._all_calls()}

    @property
    def queued_rows(self) -> int:
        """Rows that wait, and that somebody waits for."""
        return self._queue.wanted_rows + sum(call.rows for call in self._beside_queue() if not call.done)

    @property
    def limit_rows(self) -> int:
        """Most rows a batch may have now."""
        return self._batch_size.limit_rows

    @property
    def is_behind(self) -> bool:
        """Whether more rows wait than the next batch takes."""
        return self._queue.rows > self._batch_size.limit_rows

    def _all_calls(self) -> list[Call]:
        computed = [call for batch in self._in_flight for call in batch.calls]
        return [*self._queue, *self._beside_queue(), *computed]

    def _beside_queue(self) -> list[Call]:
        """Calls that have left the queue once and wait again."""
        return [*self._reruns.calls(), *self._isolation.calls]

    # -- calls -----------------------------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Queue a call; raises `NoReadyReplica` or `Overloaded` (both with `retry_after_s`)."""
        if not self._targets:
            raise NoReadyReplica(
                f"no replica of version {call.destination.identity.version} is ready", retry_after_s=RETRY_AFTER_S
            )
        rows = self._queue.rows
        if rows and rows + call.rows > self._limits.queue_rows_max:
            self._make_room(call)
        self._queue.push(call)
        self._submitted += 1
        if self._idle and not self._dispatch_due:
            self._schedule()
        if not self._expiry_due:
            self._expiry_due = True
            self._loop.call_later(EXPIRY_TICK_S, self._expire)

    def take_waiting(self) -> list[Call]:
        """Give away the requests that wait, in the order in which they came. One begun in parts is begun anew."""
        return [call for call in self._queue.clear() if not call.done]

    def close(self) -> None:
        """Fail what waits; what is being computed is still answered."""
        error = NoReadyReplica("this version is being stopped", retry_after_s=RETRY_AFTER_S)
        self._fail_queue(error)
        self._fail_calls(list(self._isolation.calls), error)
        self._isolation.calls.clear()

    def _make_room(self, call: Call) -> None:
        evicted = self._queue.evict_for(call, self._limits.queue_rows_max)
        retry_after_s = max(RETRY_AFTER_S, self._drain_s())
        full = Overloaded(f"{self._queue.rows} rows are waiting already: try again later", retry_after_s=retry_after_s)
        if evicted is None:
            raise full
        self._fail_calls(evicted, full)

    def _drain_s(self) -> float:
        """About how long what waits takes to compute."""
        limit = self._batch_size.limit_rows
        batches = self._queue.rows / limit / max(1, len(self._targets))
        return batches * self._batch_size.seconds_for(limit)

    # -- the way of a batch ----------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        self._dispatch_due = True
        self._looks = 0
        self._loop.call_soon(self._gather)

    def _gather(self) -> None:
        """Look at the sockets before a batch goes: what has come by then shares it. Waits for nothing that has not.

        A turn of the loop reads what is there and sends what was answered. As long as a turn brings calls there is
        another, up to `LOOKS_MAX`: the clients of a batch that was just answered come back while the last of its
        answers are sent, and would else make up a second group that takes turns with the first.
        """
        came = self._submitted != self._submitted_before
        if self._looks < LOOKS_MAX and (came or not self._looks) and self._may_grow:
            self._looks += 1
            self._submitted_before = self._submitted
            self._loop.call_soon(self._gather)
        else:
            self._dispatch()

    @property
    def _may_grow(self) -> bool:
        """Whether calls that are yet to come could join what waits."""
        reruns = self._reruns
        alone = reruns.again or reruns.unreached
        return self._mergeable and not alone and 0 < self._queue.rows < self._batch_size.limit_rows

    def _dispatch(self) -> None:
        self._dispatch_due = False
        now_s = self._clock()
        if self._isolation.calls or self._isolation.target is not None:
            self._serve_isolated(now_s)
        while self._idle and (batch := self._next_batch(now_s)) is not None:
            self._send(self._idle.popleft(), batch, now_s)

    def _send(self, target: BatchTarget, batch: Batch, now_s: float) -> None:
        batch.sent_s = now_s
        batch.hang_s = self._batch_size.hang_s(batch.rows)
        self._in_flight.add(batch)
        try:
            target.send(batch, self._finished)
        except Exception as error:
            self._loop.call_soon(self._finished, target, batch, internal(error))

    def _next_batch(self, now_s: float) -> Batch | None:
        """What goes next: first what was under way already. Calls that run once more take turns with the queue's."""
        reruns = self._reruns
        while reruns.unreached:
            batch = reruns.unreached.popleft()
            if self._still_wanted(batch.calls, now_s):
                return batch
        while reruns.again or self._queue.rows:
            if reruns.again and (self._again_next or not self._queue.rows):
                calls, released = [reruns.again.popleft()], "again"
            else:
                batch_size = self._batch_size
                calls, released = self._queue.take(Room(batch_size.limit_rows, batch_size.chunk_rows(now_s)))
            self._again_next = not self._again_next
            calls = self._still_wanted(calls, now_s)
            if calls and (made := self._made(calls)) is not None:
                if released == "rows" and self._batch_size.limit_rows < self._limits.batch_rows_max:
                    released = "latency"
                made.released = released
                for call in calls:
                    if call.rows <= SMALL_ROWS and not isinstance(call, CallPart):
                        self._batch_size.saw_small(now_s)
                        break
                return made
        return None

    def _still_wanted(self, calls: list[Call], now_s: float) -> list[Call]:
        """Without those that nobody waits for any more: they are not computed."""
        late = [call for call in calls if call.deadline_s <= now_s or call.done]
        if not late:
            return calls
        for call in late:
            self._fail_calls([call], too_late(call))  # which does nothing to those that are done
        return [call for call in calls if not call.done]

    def _made(self, calls: list[Call]) -> Batch | None:
        try:
            return Batch(calls[0].destination, calls, sum([call.rows for call in calls]))
        except (ValueError, TypeError, OverflowError) as error:
            self._fail_calls(calls, UnfitInput(f"the rows cannot be put together: {error}"))
        except Exception as error:
            self._fail_calls(calls, internal(error))
        return None

    def _finished(self, target: BatchTarget, batch: Batch, result: Outputs | TidegateError) -> None:
        """The batch leaves the set of those in flight last: until then the deadline of its every call is watched."""
        now_s = self._clock()
        self._take_back(target, result)
        try:
            if isinstance(result, TidegateError):
                self._batch_failed(batch, result, now_s)
            else:
                self._batch_size.measured(batch.rows, now_s - batch.sent_s)
                self._batch_answered(batch, result, now_s)
        except Exception as error:
            self._fail_calls(batch.calls, internal(error))
        self._in_flight.discard(batch)
        waiting = self._idle and (self._queue.rows or self._reruns)
        if self._dispatch_due:
            return
        if waiting and self._may_grow:
            self._schedule()
        elif waiting or self._isolation.calls or self._isolation.target is not None:
            self._dispatch()

    def _take_back(self, target: BatchTarget, result: Outputs | TidegateError) -> None:
        """The target is free for the next batch, unless it is lost or was removed meanwhile."""
        if self._targets.get(target.id) is not target:
            return
        if isinstance(result, _GONE):
            self.remove_target(target.id)
        elif self._isolation.target is target:
            self._isolation.busy = False
        else:
            self._idle.append(target)

    def _batch_answered(self, batch: Batch, outputs: Outputs, now_s: float) -> None:
        for call in batch.calls:
            if type(call) is CallPart and not call.joins(outputs):
                self._fail_calls([call], in_other_shapes())
        self._observer.batch_done(batch, outputs, now_s)
        first_row = 0
        for call in batch.calls:
            call.answer(outputs, first_row)
            first_row += call.rows

    # -- what went wrong -------------------------------------------------------------------------------------------

    def _hand_on(self, batch: Batch) -> None:
        """Give a batch whose target was gone before it had read it to the next one, as it is."""
        if batch.suspect:
            self._isolation.calls.extendleft(batch.calls)
        elif self._targets:
            self._reruns.unreached.append(batch)
        else:
            self._fail_calls(batch.calls, NoReadyReplica(retry_after_s=RETRY_AFTER_S))

    def _batch_failed(self, batch: Batch, error: TidegateError, now_s: float) -> None:
        """The calls of a lost target, and those of a batch the model refused, run once more, each alone."""
        unread = isinstance(error, TargetUnread)
        if isinstance(error, TargetUnreached) and not (unread and batch.had_last_attempt(ATTEMPTS_MAX)):
            self._hand_on(batch)
            return
        lost = isinstance(error, _GONE)
        shared = len(batch.calls) > 1 and isinstance(error, ModelFailed | UnfitInput)
        again: list[Call] = []
        for call in batch.calls:
            call.attempts += 1
            if call.done:
                continue
            if call.attempts < ATTEMPTS_MAX and (lost or shared):
                again.append(call)
            else:
                self._fail_calls([call], died_twice(unread=unread) if lost else error)
        if lost:
            self._isolation.take_in(again, now_s, wait=not isinstance(error, TargetHung))
        else:
            self._reruns.again.extend(again)

    def _serve_isolated(self, now_s: float) -> None:
        """Run what a dead target left behind, one call at a time, on one target."""
        isolation = self._isolation
        if self._idle and isolation.may_take(len(self._targets), now_s):
            isolation.target = self._idle.popleft()
        while (call := isolation.next_call()) is not None:
            calls = self._still_wanted([call], now_s)
            if calls and isolation.target is not None and (batch := self._made(calls)) is not None:
                batch.released = "again"
                batch.suspect = True
                self._send(isolation.target, batch, now_s)
            else:
                isolation.busy = False
        free = isolation.release()
        if free is not None:
            self._idle.append(free)

    # -- deadlines -------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        """Answer calls whose deadline passed, waiting or being computed. Runs only while there are calls."""
        try:
            self._sweep()
        finally:
            self._expiry_due = self.outstanding
            if self._expiry_due:
                self._loop.call_later(EXPIRY_TICK_S, self._expire)

    def _sweep(self) -> None:
        now_s = self._clock()
        for call in [call for call in self._all_calls() if call.deadline_s <= now_s and not call.done]:
            self._fail_calls([call], too_late(call))
        self._queue.purge()
        self._reruns.purge()
        self._isolation.purge()
        if self._isolation.calls or self._isolation.target is not None:
            self._dispatch()

    def _fail_queue(self, error: TidegateError) -> None:
        self._fail_calls([*self._queue.clear(), *self._reruns.clear()], error)

    def _fail_calls(self, calls: list[Call], error: TidegateError) -> None:
        now_s = self._clock()
        for call in calls:
            whole = _whole(call)
            if not whole.done:
                self._observer.call_failed(whole, error, now_s)
            call.fail(error)
            call.done = True


def _whole(call: Call) -> Call:
    """The request that a call stands for: itself, or what it is a part of."""
    return call.whole if isinstance(call, CallPart) else call
