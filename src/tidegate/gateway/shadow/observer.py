"""The observer of shadows: their answers are recorded as shadow predictions, failures and what was shed are counted.

Apart from the live observer: nothing here is in the requests, errors, latency and load that live metrics tell of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tidegate.errors import NoReadyReplica, Overloaded
from tidegate.wire.experiments.shadows import SHED

if TYPE_CHECKING:
    from tidegate.dataplane.calls.batch import Batch
    from tidegate.dataplane.calls.call import Call
    from tidegate.dataplane.calls.failure import FailedRequest
    from tidegate.dataplane.calls.outputs import Outputs
    from tidegate.dataplane.pipeline.metrics import MetricState
    from tidegate.errors import TidegateError
    from tidegate.gateway.capture.journal import Journal
    from tidegate.wire.gateways.decision import Decision

ANSWERED, FAILED = "tidegate_shadow_answered_requests", "tidegate_shadow_failed_requests"
SHED_REQUESTS = "tidegate_shadow_shed_requests"
SHED_CODE = 429
_AS_SHED = {NoReadyReplica.code: "not_ready", Overloaded.code: "rows"}
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

    def call_failed(self, call: Call, error: TidegateError, now_s: float) -> None:  # noqa: ARG002 (the port's shape)
        """Count a copy that failed, or that its batcher had no room for."""
        endpoint, decision = call.destination.identity.endpoint, call.decision
        if error.code in _AS_SHED:
            self.shed(endpoint, decision, _AS_SHED[error.code], 1)
            return
        self.counts.failed[error.code] = self.counts.failed.get(error.code, 0) + 1
        if self._journal is not None:
            self._journal.count(endpoint, (decision, error.http_status, error.code), 1)

    def shed(self, endpoint: str, decision: Decision | None, reason: str, calls: int) -> None:
        """Count requests that were not copied."""
        self.counts.shed[reason] = self.counts.shed.get(reason, 0) + calls
        if self._journal is not None:
            self._journal.count(endpoint, (decision, SHED_CODE, f"{SHED}_{reason}"), calls)

    def abandoned(self, call: Call, now_s: float) -> None:
        """No client waits for a copy."""

    def refused(self, failure: FailedRequest) -> None:
        """No client sends a copy."""

    def fill_gauges(self, state: MetricState) -> None:
        """What was answered, failed and shed, where anything was ever copied."""
        counts = self.counts
        if counts.answered or counts.failed or counts.shed:
            state.counters[ANSWERED] = state.counters.get(ANSWERED, 0.0) + counts.answered
            state.add_reasons({FAILED: counts.failed, SHED_REQUESTS: counts.shed})
