"""The gateway's `Observer`: counts and records each batch before its answers leave, and each failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.dataplane.base.tensors import finite
from tidegate.dataplane.calls.batch import Batch
from tidegate.dataplane.calls.failure import FailedRequest
from tidegate.wire.gateways.decision import AssignmentContext
from tidegate.wire.journal import CACHED

if TYPE_CHECKING:
    from collections.abc import Callable

    from tidegate.dataplane.calls.call import Call
    from tidegate.dataplane.calls.outputs import Outputs
    from tidegate.dataplane.pipeline.metrics import Metrics, MetricState
    from tidegate.errors import TidegateError
    from tidegate.gateway.capture.journal import Journal

DROPPED = "tidegate_journal_dropped_records"


class GatewayObserver:
    """`journal` is None where it is turned off (`journal_bytes_max` 0).

    `shadows` is told of each batch that replicas computed, None while no version shadows any.
    """

    def __init__(self, metrics: Metrics, journal: Journal | None) -> None:
        self._metrics = metrics
        self._journal = journal
        self.shadows: Callable[[Batch], None] | None = None
        metrics.add_gauges(self._fill)

    def batch_done(self, batch: Batch, outputs: Outputs, now_s: float) -> None:
        """Write the batch's predictions to the journal, then count them."""
        if self._journal is not None:
            self._journal.write(batch, outputs, now_s)
        self._metrics.batch_done(batch, outputs, now_s)
        for array in outputs.tensors.values():
            if not finite(array):
                self._count_non_finite(batch, outputs)
                break
        if self.shadows is not None:
            self.shadows(batch)

    def cached(self, call: Call, outputs: Outputs, now_s: float) -> None:
        """An answer from the prediction cache is about to be given: record it as a batch of its own, and count."""
        if self._journal is not None:
            batch = Batch(call.destination, [call], call.rows)
            batch.released, batch.sent_s = CACHED, now_s
            self._journal.write(batch, outputs, now_s)
        self._metrics.cached(call, now_s)
        if not all(map(finite, outputs.tensors.values())):
            self._metrics.not_finite(call)

    def missed(self, call: Call) -> None:
        """The prediction cache was asked in vain: count."""
        self._metrics.cache_missed(call)

    def call_failed(self, call: Call, error: TidegateError, now_s: float) -> None:
        """Write the failed call to the journal, then count it."""
        if self._journal is not None:
            context = AssignmentContext(call.destination.identity.endpoint, call.request_id, call.unit)
            self._journal.failed(FailedRequest(context, call.decision, error, call.started_s, now_s))
        self._metrics.call_failed(call, error, now_s)

    def abandoned(self, call: Call, now_s: float) -> None:
        """Count the call; the journal has no record of it."""
        self._metrics.abandoned(call, now_s)

    def refused(self, failure: FailedRequest) -> None:
        """Write the refused request to the journal, then count it."""
        if self._journal is not None:
            self._journal.failed(failure)
        self._metrics.refused(failure)

    def _count_non_finite(self, batch: Batch, outputs: Outputs) -> None:
        """Of the batch's calls those that are answered with such a number."""
        first = 0
        for call in batch.calls:
            rows = slice(first, first + call.rows)
            first = rows.stop
            if call.completes and not call.done and not all(finite(array[rows]) for array in outputs.tensors.values()):
                self._metrics.not_finite(call)

    def _fill(self, state: MetricState) -> None:
        if self._journal is None:
            return
        written, dropped = self._journal.counts.written, self._journal.counts.dropped
        state.counters["tidegate_journal_records_written"] = written
        state.reasons[DROPPED] = {**dict.fromkeys(("unread", "disk_full", "stalled"), 0.0), **dropped}
