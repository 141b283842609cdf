"""Rows of segments that are not compacted yet: open ones, and sealed ones that wait. Used by `store.py`."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from tidegate.capture.rows import NO_ENDPOINT, Partition, RowBuffer, batch_rows, failure_rows, feedback_rows
from tidegate.wire.journal import (
    BatchRecord,
    FailureRecord,
    FeedbackRecord,
    JournalEntry,
    Record,
    Segment,
    read_entries,
)
from tidegate.wire.journal.records import Sealed
from tidegate.wire.journal.segments import opened_at_us

WRITTEN_LATE_S_MAX = 86_400.0
"""A request is dated by its start and recorded at its end; no deadline is longer than this."""
CLOCK_S = 600.0
_Rows = BatchRecord | FailureRecord | FeedbackRecord
_FAILURES = ("failures", "shadow_failures")


def may_have(segment: Segment, table: str, since_s: float, until_s: float) -> bool:
    """Whether rows of this time can be in a segment, by its name and by when it was written last.

    Feedback may come as late as it likes. Raises `FileNotFoundError` for a segment that is gone.
    """
    if table != "feedback" and opened_at_us(segment) / 1e6 >= until_s + WRITTEN_LATE_S_MAX:
        return False
    return segment.is_open or segment.path.stat().st_mtime >= since_s - CLOCK_S


@dataclass(frozen=True)
class WantedRows:
    """Which rows are made of a segment: feedback of these endpoints, all else of the first. Tensors that are not among
    `columns` (None: all) are left out, and batches without any request of these `times`, so that a look at the last
    seconds does not make rows of all that a segment holds.
    """

    tables: frozenset[str]
    endpoints: tuple[str, ...]
    columns: Collection[str] | None
    times: tuple[float, float] = (-math.inf, math.inf)


def tables_of(
    segment: Segment,
    table: str,
    endpoint: str,
    wanted: Collection[str] | None,
    times: tuple[float, float] = (-math.inf, math.inf),
) -> Iterator[pa.Table]:
    """One table for each shape of the endpoint's rows. Raises `FileNotFoundError` for a segment that was dropped."""
    for _, made in rows_of(segment, WantedRows(frozenset((table,)), (endpoint,), wanted, times)):
        yield made


def rows_of(segment: Segment, asked: WantedRows) -> Iterator[tuple[Partition, pa.Table]]:
    """Tables in one pass, with what each is of. Raises `FileNotFoundError` for a segment that was dropped."""
    held: dict[Partition, RowBuffer] = {}
    for found in read_entries(segment):
        if not isinstance(found, JournalEntry):
            continue
        for record in _asked_of(found.record, asked):
            try:
                _add(record, held, asked.columns)
            except ValueError:
                continue  # the compactor counts it, once
    for place, rows in held.items():
        if place.table in asked.tables:
            yield place, rows.table(place)


def _asked_of(record: Record, asked: WantedRows) -> Iterator[_Rows]:
    """The record, or of feedback its part for each endpoint; nothing where it has no row that is asked for."""
    if isinstance(record, FeedbackRecord):
        if "feedback" in asked.tables:
            yield from (_of_endpoint(record, each) for each in asked.endpoints)
        return
    if isinstance(record, Sealed) or record.endpoint != asked.endpoints[0]:
        return
    tables = _tables_of(record) if isinstance(record, BatchRecord) else _FAILURES
    if asked.tables.isdisjoint(tables):
        return
    if isinstance(record, FailureRecord) or _may_be_of(record, asked.times):
        yield record


def _add(record: _Rows, held: dict[Partition, RowBuffer], columns: Collection[str] | None) -> None:
    """Raises `ValueError` for a record whose parts do not fit one another."""
    if isinstance(record, BatchRecord):
        batch_rows(record, held, columns)
    elif isinstance(record, FailureRecord):
        failure_rows(record, held)
    else:
        feedback_rows(record, held)


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
