"""The batcher: greedy, with no timer on the way. Dispatches at once when a target is idle, gathers while all are busy.

One per destination, on gateway and replica alike. A batch answers every call in it that is not done, whatever happened
to the others: a cancelled call never disturbs its neighbours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidegate.dataplane.call import Batch, Limits, ModelFailed, TargetLost
from tidegate.errors import DeadlineExceeded, NoReadyReplica, Overloaded, TidegateError, UnfitInput

if TYPE_CHECKING:
    from tidegate.dataplane.call import Call, Observer, Outputs, Target

EXPIRY_TICK_S = 0.02
ATTEMPTS_MAX = 3
RETRY_AFTER_S = 1.0


class Batcher:
    """Queues calls for the targets of one version.

    `mergeable` False sends every call alone (registration did not show that the model answers a batch as it answers its
    rows). Bounded by `limits.queue_rows_max` waiting rows: past it `submit` raises `Overloaded`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        observer: Observer,
        *,
        mergeable: bool = True,
        clock: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._limits = limits
        self._observer = observer
        self._mergeable = mergeable
        self._clock = clock
        self._queue: deque[Call] = deque()
        self._targets: dict[str, Target] = {}
        self._idle: deque[Target] = deque()
        self._in_flight: set[Batch] = set()
        self._dispatch_due = False
        self._expiry_due = False
        self.queued_rows = 0

    # -- targets ---------------------------------------------------------------------------------------------------

    def add_target(self, target: Target) -> None:
        """A target became usable; one with the same id is replaced."""
        self.remove_target(target.id)
        self._targets[target.id] = target
        self._idle.append(target)
        if self._queue:
            self._schedule()

    def remove_target(self, target_id: str) -> None:
        """A target takes no further batch; the one it computes is still answered."""
        target = self._targets.pop(target_id, None)
        if target is not None and target in self._idle:
            self._idle.remove(target)
        if not self._targets:
            self._fail_queue(NoReadyReplica(retry_after_s=RETRY_AFTER_S))

    @property
    def target_ids(self) -> set[str]:
        """Targets that may get batches."""
        return set(self._targets)

    @property
    def outstanding(self) -> bool:
        """Whether any call waits or is being computed."""
        return bool(self._queue or self._in_flight)

    @property
    def outstanding_calls(self) -> int:
        """Calls that wait or are being computed."""
        return len(self._queue) + sum(len(batch.calls) for batch in self._in_flight)

    # -- calls -----------------------------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Queue a call; raises `NoReadyReplica` or `Overloaded` (both with `retry_after_s`)."""
        if not self._targets:
            raise NoReadyReplica(
                f"no replica of version {call.destination.identity.version} is ready", retry_after_s=RETRY_AFTER_S
            )
        if self.queued_rows + call.rows > self._limits.queue_rows_max and self._queue:
            raise Overloaded(
                f"{self.queued_rows} rows are waiting already: try again later", retry_after_s=RETRY_AFTER_S
            )
        self._queue.append(call)
        self.queued_rows += call.rows
        if self._idle and not self._dispatch_due:
            self._schedule()
        if not self._expiry_due:
            self._expiry_due = True
            self._loop.call_later(EXPIRY_TICK_S, self._expire)

    def close(self) -> None:
        """Fail what waits; what is being computed is still answered."""
        self._fail_queue(NoReadyReplica("this version is being stopped", retry_after_s=RETRY_AFTER_S))

    # -- the way of a batch ----------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        # One turn of the loop later, so that all requests that arrived in this turn share the batch.
        self._dispatch_due = True
        self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatch_due = False
        while self._idle and (batch := self._next_batch()) is not None:
            target = self._idle.popleft()
            batch.sent_s = self._clock()
            self._in_flight.add(batch)
            target.send(batch, self._finished)

    def _next_batch(self) -> Batch | None:
        queue, limit = self._queue, self._limits.batch_rows_max
        calls: list[Call] = []
        rows = 0
        released = "drained"
        while queue:
            call = queue[0]
            if call.done:
                self._drop_head()
                continue
            if calls and (released := self._reason_to_stop(calls[0], call, rows, limit)):
                break
            self._drop_head()
            calls.append(call)
            rows += call.rows
            released = "drained"
        if not calls:
            return None
        try:
            batch = Batch(calls[0].destination, calls, rows)
        except (ValueError, TypeError, OverflowError) as error:
            self._fail_calls(calls, UnfitInput(f"the rows cannot be put together: {error}"))
            return self._next_batch()
        batch.released = released
        return batch

    def _reason_to_stop(self, first: Call, call: Call, rows: int, limit: int) -> str:
        if rows + call.rows > limit:
            return "full"
        if not self._mergeable or first.alone or call.alone:
            return "alone"
        return "" if _compatible(first, call) else "shape"

    def _drop_head(self) -> None:
        self.queued_rows -= self._queue.popleft().rows

    def _finished(self, target: Target, batch: Batch, result: Outputs | TidegateError) -> None:
        self._in_flight.discard(batch)
        if self._targets.get(target.id) is target:
            if isinstance(result, TargetLost):
                self.remove_target(target.id)
            else:
                self._idle.append(target)
        if isinstance(result, TidegateError):
            self._batch_failed(batch, result)
        else:
            self._batch_answered(batch, result)
        if self._queue and self._idle and not self._dispatch_due:
            self._dispatch()

    def _batch_answered(self, batch: Batch, outputs: Outputs) -> None:
        self._observer.batch_done(batch, outputs, self._clock())
        first_row = 0
        for call in batch.calls:
            call.answer(outputs, first_row)
            first_row += call.rows

    def _batch_failed(self, batch: Batch, error: TidegateError) -> None:
        """A lost target's calls move to another one; the calls of a batch the model refused run once more alone."""
        again = isinstance(error, TargetLost) or (len(batch.calls) > 1 and isinstance(error, ModelFailed | UnfitInput))
        for call in batch.calls:
            call.attempts += 1
            if call.done:
                continue
            if again and self._targets and call.attempts < ATTEMPTS_MAX:
                call.alone = True
                self._queue.append(call)
                self.queued_rows += call.rows
            else:
                self._fail_calls([call], NoReadyReplica(retry_after_s=1.0) if isinstance(error, TargetLost) else error)

    # -- deadlines -------------------------------------------------------------------------------------------------

    def _expire(self) -> None:
        """Answer calls whose deadline passed, waiting or being computed. Runs only while there are calls."""
        now = self._clock()
        for call in [call for call in self._queue if call.deadline_s <= now]:
            self._fail_calls([call], _too_late(call))
        for batch in self._in_flight:
            self._fail_calls([call for call in batch.calls if call.deadline_s <= now], DeadlineExceeded())
        self._expiry_due = self.outstanding
        if self._expiry_due:
            self._loop.call_later(EXPIRY_TICK_S, self._expire)

    def _fail_queue(self, error: TidegateError) -> None:
        calls = list(self._queue)
        self._queue.clear()
        self.queued_rows = 0
        self._fail_calls(calls, error)

    def _fail_calls(self, calls: list[Call], error: TidegateError) -> None:
        now = self._clock()
        for call in calls:
            if not call.done:
                self._observer.call_failed(call, error, now)
                call.fail(error)


def _compatible(first: Call, call: Call) -> bool:
    """Whether two calls' rows can stand in one batch: the same params and tensors, of the same types and row shapes."""
    if first.params != call.params:
        return False
    if first.packed is not None or call.packed is not None:
        return first.packed is not None and call.packed is not None
    ours, theirs = first.tensors or {}, call.tensors or {}
    return ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and ours[name].shape[1:] == theirs[name].shape[1:] for name in ours
    )


def _too_late(call: Call) -> DeadlineExceeded:
    waited_ms = (call.deadline_s - call.started_s) * 1000
    return DeadlineExceeded(f"the request waited {waited_ms:.0f} ms, its whole deadline, before a replica was free")
