"""The observer of shadows: their answers are recorded as shadow predictions, failures and what was shed are counted.

Apart from the live observer: nothing here is in the requests, errors, latency and load that live metrics tell of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidegate.dataplane.calls.failure import FailedRequest
from tidegate.errors import NoReadyReplica, Overloaded
from tidegate.wire.decision import AssignmentContext
from tidegate.wire.shadows import SHED

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import Batch
    from tidegate.dataplane.calls.call import Call
    from tidegate.dataplane.calls.outputs import Outputs
    from tidegate.dataplane.pipeline.metrics import MetricState
    from tidegate.errors import TidegateError
    from tidegate.gateway.capture.journal import Journal

ANSWERED, FAILED = "tidegate_shadow_answered_requests", "tidegate_shadow_failed_requests"
SHED_REQUESTS = "tidegate_shadow_shed_requests"
_AS_SHED = {NoReadyReplica.code: f"{SHED}_not_ready", Overloaded.code: f"{SHED}_rows"}
"""What a batcher says of a copy that it never sent to a replica."""


@dataclass
class ShadowCounts:
    """Requests of all shadows of this process; those that failed or were shed by reason."""

    answered: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    shed: dict[str, int] = field(default_factory=dict)


class ShadowObserver:
    """Of every shadow's batcher. `journal` is None where it is turned off."""

    def __init__(self, journal: Journal | None) -> None:
        self._journal = journal
        self.counts = ShadowCounts()

    def batch_done(self, batch: Batch, outputs: Outputs, now_s: float) -> None:
        """Record the answers of a shadow."""
        if self._journal is not None:
            self._journal.write(batch, outputs, now_s)
        self.counts.answered += sum(not call.done and bool(call.completes) for call in batch.calls)

    def call_failed(self, call: Call, error: TidegateError, now_s: float) -> None:
        """Count a copy that failed, or that was shed."""
        reason = _AS_SHED.get(error.code, error.code)
        counts = self.counts.shed if reason.startswith(SHED) else self.counts.failed
        counts[reason] = counts.get(reason, 0) + 1
        if self._journal is not None:
            context = AssignmentContext(call.destination.identity.endpoint, call.request_id, call.unit)
            self._journal.counted(FailedRequest(context, call.decision, error, call.started_s, now_s), reason)

    def abandoned(self, call: Call, now_s: float) -> None:
        """No client waits for a copy."""

    def refused(self, failure: FailedRequest) -> None:
        """No client sends a copy."""

    def fill_gauges(self, state: MetricState) -> None:
        """What was answered, failed and shed, where anything was ever copied."""
        counts = self.counts
        if counts.answered or counts.failed or counts.shed:
            state.counters[ANSWERED] = state.counters.get(ANSWERED, 0.0) + counts.answered
            state.add_reasons({FAILED: counts.failed, SHED_REQUESTS: _short(counts.shed)})


def _short(shed: dict[str, int]) -> dict[str, float]:
    return {reason.removeprefix(f"{SHED}_"): float(count) for reason, count in shed.items()}
