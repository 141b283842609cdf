"""Turns sealed segments of the journal into Parquet, each exactly once, whoever is killed at whichever step.

A segment's rows are in files that are named by it, and it never changes once it is sealed: doing it again, after a kill
or beside another compactor, writes the same files again. Only when all of them are there does the cursor say so, and
gateways may drop the segment.

    STORE/predictions/endpoint=churn/hour=2026-11-29T01/SEGMENT-0.parquet    (and shadow_predictions, failures)

Any reader of Hive-partitioned Parquet reads a table. Late rows are further files of their hour.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tidegate.atomic import replacing
from tidegate.capture.rows import Place, Rows, batch_rows, failure_rows
from tidegate.file_lock import open_lock, take
from tidegate.wire.journal import (
    BatchRecord,
    Damage,
    FailureRecord,
    Segment,
    list_segments,
    read_entries,
    seal_abandoned,
)
from tidegate.wire.journal.cursors import read_cursor, write_cursor

READER = "compactor"


@dataclass
class Compacted:
    """What one run did. `lost_bytes` were damaged, or of a kind of record that this release does not know."""

    segments: int = 0
    rows: int = 0
    lost_bytes: int = 0


def compact(journal: Path, store: Path) -> Compacted | None:
    """Write what was sealed since the last time; None where another compactor of this store is at work.

    Raises `OSError` where the store cannot be written; what is done by then stays done.
    """
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = open_lock(store / ".lock")
    try:
        return _compact(journal, store) if take(lock) else None
    finally:
        os.close(lock)


def _compact(journal: Path, store: Path) -> Compacted:
    for segment in list_segments(journal):
        if segment.is_open:
            with contextlib.suppress(OSError):  # the next run tries again
                seal_abandoned(segment)
    done, known = Compacted(), read_cursor(journal, READER)
    segments = [segment for segment in list_segments(journal) if not segment.is_open]
    offsets = {segment.name: known[segment.name] for segment in segments if segment.name in known}
    for segment in segments:
        if segment.name in offsets:
            continue
        with contextlib.suppress(FileNotFoundError):  # a gateway dropped it, and counted that
            offsets[segment.name] = _compact_segment(segment, store, done)
            write_cursor(journal, READER, offsets)
    return done


def _compact_segment(segment: Segment, store: Path, done: Compacted) -> int:
    """Write a segment's rows; returns its size."""
    size = segment.path.stat().st_size
    places: dict[Place, Rows] = {}
    for found in read_entries(segment):
        if isinstance(found, Damage):
            done.lost_bytes += found.size_bytes
        elif isinstance(found.record, BatchRecord):
            batch_rows(found.record, places)
        elif isinstance(found.record, FailureRecord):
            failure_rows(found.record, places)
    for number, (place, rows) in enumerate(places.items()):
        done.rows += _write(store, place, rows, f"{segment.name}-{number}.parquet")
    done.segments += 1
    return size


def _write(store: Path, place: Place, rows: Rows, name: str) -> int:
    folder = store / place.table / f"endpoint={place.endpoint}" / f"hour={place.hour}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for half_written in folder.glob(f".{name}-*"):  # by one that was killed: the lock is ours
        half_written.unlink()
    table = rows.table(place)
    with replacing(folder / name, mode=0o600) as file:
        pq.write_table(table, file, compression="zstd")
    return len(table)
