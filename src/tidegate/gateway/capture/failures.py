"""Which failures are recorded one by one, and how many others there were. Used by `journal.py` only; does no I/O.

Of each endpoint so many failures are recorded a second (`CALLS_PER_S`, with `CALLS_BURST` in reserve), and one more for
every ten requests that were computed: an endpoint whose errors are a tenth of its traffic has each of them with its
unit, and a flood of refused requests cannot fill the journal. What is past that is counted by assignment and code, and
the counts are recorded every second (`take_omitted`): error rates stay exact, only units are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import FailedCall, FailureRecord, Omitted
from tidegate.wire.journal.records import recorded_unit

if TYPE_CHECKING:
    from tidegate.dataplane.calls.failure import FailedRequest

Group = tuple[Decision | None, int, str]
"""What failures are counted by: decision, code and reason."""
CALLS_PER_S, CALLS_BURST = 20.0, 1000.0
SHARE_OF_COMPUTED = 0.1
ENDPOINTS_MAX = 4096
"""Of which allowances are remembered; all begin anew past that."""


class _Allowance:
    """How many failures of an endpoint may be recorded one by one."""

    __slots__ = ("at_s", "calls")

    def __init__(self, at_s: float) -> None:
        self.calls = CALLS_BURST
        self.at_s = at_s

    def take(self, now_s: float) -> bool:
        self.calls = min(CALLS_BURST, self.calls + (now_s - self.at_s) * CALLS_PER_S)
        self.at_s = now_s
        if self.calls < 1.0:
            return False
        self.calls -= 1.0
        return True


class _FailureCounts:
    """What was counted of an endpoint since the last record of counts; by decision, code and reason."""

    def __init__(self, at_s: float) -> None:
        self.since_s = self.until_s = at_s
        self.calls: dict[Group, int] = {}


class Failures:
    """Of all endpoints of a gateway. Times of `earn` and `take` are monotonic, others since the epoch."""

    def __init__(self) -> None:
        self._allowances: dict[str, _Allowance] = {}
        self._counts: dict[str, _FailureCounts] = {}

    def earn(self, endpoint: str, calls: int) -> None:
        """Count requests of the endpoint that were computed."""
        allowance = self._allowances.get(endpoint)
        if allowance is not None:
            allowance.calls += calls * SHARE_OF_COMPUTED  # cut to size when some are taken

    def take(self, endpoint: str, now_s: float) -> bool:
        """Whether one more may be recorded by itself."""
        allowance = self._allowances.get(endpoint)
        if allowance is None:
            if len(self._allowances) >= ENDPOINTS_MAX:
                self._allowances.clear()
            allowance = self._allowances[endpoint] = _Allowance(now_s)
        return allowance.take(now_s)

    def omit(self, failure: FailedRequest, at_s: float) -> None:
        """Count one that is not recorded by itself."""
        error = failure.error
        self.count(failure.endpoint, (failure.decision, error.http_status, error.code), 1, at_s)

    def count(self, endpoint: str, group: Group, calls: int, at_s: float) -> None:
        """Count requests that failed alike."""
        counts = self._counts.get(endpoint)
        if counts is None:
            counts = self._counts[endpoint] = _FailureCounts(at_s)
        counts.until_s = at_s
        counts.calls[group] = counts.calls.get(group, 0) + calls

    def keep(self, record: FailureRecord) -> None:
        """Take counts back that could not be written; they are recorded with what is counted next."""
        counts = self._counts.setdefault(record.endpoint, _FailureCounts(record.since_s))
        counts.since_s = min(counts.since_s, record.since_s)
        counts.until_s = max(counts.until_s, record.until_s)
        for one in record.omitted:
            decision = None if one.decision is None else record.decisions[one.decision]
            group = (decision, one.code, one.reason)
            counts.calls[group] = counts.calls.get(group, 0) + one.calls

    def take_omitted(self) -> list[FailureRecord]:
        """Records of what was counted since the last time."""
        counted, self._counts = self._counts, {}
        return [_counts_record(endpoint, counts) for endpoint, counts in counted.items()]


def failure_record(failure: FailedRequest, wall_offset_s: float) -> FailureRecord:
    """The record of one failure; `wall_offset_s` is what the wall clock is ahead of the monotonic one."""
    decision, context = failure.decision, failure.context
    call = FailedCall(
        context.request_id,
        recorded_unit(context.unit),
        None if decision is None else 0,
        failure.started_s + wall_offset_s,
        failure.now_s - failure.started_s,
        failure.error.http_status,
        failure.error.code,
    )
    return FailureRecord(context.endpoint, [] if decision is None else [decision], [call])


def _counts_record(endpoint: str, counts: _FailureCounts) -> FailureRecord:
    decisions = list(dict.fromkeys(decision for decision, _, _ in counts.calls if decision is not None))
    omitted = [
        Omitted(None if decision is None else decisions.index(decision), code, reason, calls)
        for (decision, code, reason), calls in counts.calls.items()
    ]
    return FailureRecord(endpoint, decisions, [], omitted, counts.since_s, counts.until_s)
