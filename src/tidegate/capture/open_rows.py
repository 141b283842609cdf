"""Rows of segments that are not compacted yet: open ones, and sealed ones that wait. Used by `store.py`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa

from tidegate.capture.rows import NO_ENDPOINT, Partition, RowBuffer, batch_rows, failure_rows, feedback_rows
from tidegate.wire.journal import BatchRecord, FailureRecord, FeedbackRecord, JournalEntry, Segment, read_entries
from tidegate.wire.journal.segments import opened_at_us

WRITTEN_LATE_S_MAX = 86_400.0
"""A request is dated by its start and recorded at its end; no deadline is longer than this."""
CLOCK_S = 600.0
_FAILURES = ("failures", "shadow_failures")


def may_have(segment: Segment, table: str, since_s: float, until_s: float) -> bool:
    """Whether rows of this time can be in a segment, by its name and by when it was written last.

    Feedback may come as late as it likes. Raises `FileNotFoundError` for a segment that is gone.
    """
    if table != "feedback" and opened_at_us(segment) / 1e6 >= until_s + WRITTEN_LATE_S_MAX:
        return False
    return segment.is_open or segment.path.stat().st_mtime >= since_s - CLOCK_S


def tables_of(
    segment: Segment,
    table: str,
    endpoint: str,
    wanted: Collection[str] | None,
    times: tuple[float, float] = (-math.inf, math.inf),
) -> Iterator[pa.Table]:
    """One table for each shape of the endpoint's rows; tensors that are not `wanted` are left out, and batches without
    any request of these `times`, so that a look at the last seconds does not make rows of all that a segment holds.

    Raises `FileNotFoundError` for a segment that was dropped.
    """
    held: dict[Partition, RowBuffer] = {}
    for found in read_entries(segment):
        if not isinstance(found, JournalEntry):
            continue
        record = found.record
        try:
            if isinstance(record, BatchRecord):
                if record.endpoint == endpoint and table in _tables_of(record) and _may_be_of(record, times):
                    batch_rows(record, held, wanted)
            elif isinstance(record, FailureRecord) and record.endpoint == endpoint and table in _FAILURES:
                failure_rows(record, held)
            elif isinstance(record, FeedbackRecord) and table == "feedback":
                feedback_rows(_of_endpoint(record, endpoint), held)
        except ValueError:
            continue  # the compactor counts it, once
    for place, rows in held.items():
        if place.table == table:
            yield rows.table(place)


def _may_be_of(record: BatchRecord, times: tuple[float, float]) -> bool:
    """Whether a request in it may be of these times; to a second, for times are rounded."""
    since_s, until_s = times
    return any(since_s - 1 <= one.at_s <= until_s + 1 for one in record.requests)


def _of_endpoint(record: FeedbackRecord, endpoint: str) -> FeedbackRecord:
    named = None if endpoint == NO_ENDPOINT else endpoint
    return FeedbackRecord([one for one in record.events if one.endpoint == named], record.received_at_us)


def _tables_of(record: BatchRecord) -> Sequence[str]:
    """Which tables its rows may be in, without a look at each request."""
    return ["shadow_predictions" if one.role == "shadow" else "predictions" for one in record.decisions]
