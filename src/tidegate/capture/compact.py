"""Turns sealed segments of the journal into Parquet, each exactly once, whoever is killed at whichever step.

A segment's rows are in files that are named by it, and it never changes once it is sealed: doing it again, after a kill
or beside another compactor, writes the same files again. Only when all of them are there does the cursor say so, and
gateways may drop the segment.

    STORE/predictions/endpoint=churn/hour=2026-11-29T01/SEGMENT-SHAPE.parquet
    (and shadow_predictions, failures, feedback)

Any reader of Hive-partitioned Parquet reads a table. Late rows are further files of their hour. A segment that cannot
be made into rows at all is set aside (`JOURNAL/quarantine`), with the reason beside it, and the next one is read.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidegate import clock as clocks
from tidegate.capture.files import Files, LocalFiles
from tidegate.capture.names_filter import footer_of
from tidegate.capture.rows import Partition, RowBuffer, batch_rows, failure_rows, feedback_rows
from tidegate.clock import Clock
from tidegate.system.atomic import write_whole
from tidegate.system.file_lock import open_lock, take
from tidegate.wire.journal import (
    BatchRecord,
    Damage,
    FailureRecord,
    FeedbackRecord,
    Record,
    Segment,
    list_segments,
    read_entries,
    seal_abandoned,
)
from tidegate.wire.journal.cursors import read_cursor, write_cursor

READER = "compactor"
QUARANTINE = "quarantine"
CHUNK_BYTES = 8 << 20
"""So much of a segment is held as records; what is read is held as Arrow's columns, which are as small as the file."""
GROUP_ROWS_MAX = 100_000
AHEAD_S_MAX = 300.0
"""Rows that were recorded later than now by more than this are set aside: a clock was wrong."""

log = logging.getLogger(__name__)


@dataclass
class Compacted:
    """What one run did.

    `lost_bytes` were damaged, or of a kind of record that this release does not know; `unfit` records were sound and
    made no sense; `ahead` rows came from the future and are in `quarantined`; `set_aside` segments could not be
    made into rows.
    """

    segments: int = 0
    rows: int = 0
    lost_bytes: int = 0
    unfit: int = 0
    ahead: int = 0
    set_aside: int = 0

    def add(self, more: Compacted) -> None:
        """What another run did, or one more segment."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(more, one.name))


class _Unreadable(OSError):
    """A segment that the disk does not give."""


@dataclass
class _Reading:
    """One segment's rows as they are found: records up to `CHUNK_BYTES`, then tables."""

    held: dict[Partition, RowBuffer] = field(default_factory=dict)
    held_bytes: int = 0
    tables: dict[Partition, list[pa.Table]] = field(default_factory=dict)

    def add(self, record: Record, size_bytes: int) -> None:
        """Raises `ValueError` for a record that makes no sense."""
        if isinstance(record, BatchRecord):
            batch_rows(record, self.held)
        elif isinstance(record, FailureRecord):
            failure_rows(record, self.held)
        elif isinstance(record, FeedbackRecord):
            feedback_rows(record, self.held)
        self.held_bytes += size_bytes

    def settle(self) -> None:
        """Make columns of the held records. What fails here is no one record's fault, and ends the reading."""
        for place, rows in self.held.items():
            self.tables.setdefault(place, []).append(rows.table(place))
        self.held, self.held_bytes = {}, 0


def compact(
    journal: Path,
    store: Path,
    clock: Clock = clocks.now,
    keep_going: Callable[[], bool] = lambda: True,
    on_segment: Callable[[Compacted], None] = lambda _: None,
    files: Files | None = None,
) -> Compacted | None:
    """Write what was sealed since the last time; None where another compactor of this store is at work.

    `store` has the lock, and the Parquet too where no other `files` are given.

    Ends early between two segments when it is not to `keep_going`; `on_segment` hears of each what was done. Raises
    `OSError` where the store cannot be written; what is done by then stays done.
    """
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = open_lock(store / ".lock")
    try:
        run = _Run(journal, files or LocalFiles(store), clock, keep_going, on_segment)
        return run.all_segments() if take(lock) else None
    finally:
        os.close(lock)


def backlog(journal: Path) -> list[Segment]:
    """Sealed segments that are yet to be compacted, from the oldest on."""
    known = read_cursor(journal, READER)
    return [segment for segment in list_segments(journal) if not segment.is_open and segment.name not in known]


@dataclass(frozen=True)
class _Run:
    journal: Path
    files: Files
    clock: Clock
    keep_going: Callable[[], bool]
    on_segment: Callable[[Compacted], None]

    def all_segments(self) -> Compacted:
        self._seal_abandoned()
        total, known = Compacted(), read_cursor(self.journal, READER)
        unreadable: OSError | None = None
        segments = [segment for segment in list_segments(self.journal) if not segment.is_open]
        offsets = {segment.name: known[segment.name] for segment in segments if segment.name in known}
        for segment in segments:
            if segment.name in offsets:
                continue
            if not self.keep_going():
                break
            done = Compacted()
            try:
                size = segment.path.stat().st_size
                if self._segment(segment, done):
                    offsets[segment.name] = size
                    write_cursor(self.journal, READER, offsets)
            except FileNotFoundError:  # a gateway dropped it, and counted that
                continue
            except _Unreadable as error:
                unreadable = error  # the next run tries again; the segments behind it need not wait
            total.add(done)
            self.on_segment(done)
        if unreadable is not None:
            raise unreadable
        return total

    def _seal_abandoned(self) -> None:
        for segment in list_segments(self.journal):
            if segment.is_open:
                with contextlib.suppress(OSError):  # the next run tries again
                    seal_abandoned(segment)

    def _segment(self, segment: Segment, done: Compacted) -> bool:
        """Write a segment's rows. False where it was set aside instead: no row of it is in the store then."""
        try:
            tables = _read(segment, done)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _Unreadable(error.errno, f"{segment.path.name} cannot be read: {error.strerror}") from error
        except MemoryError as error:  # this machine's fault and not the segment's
            raise _Unreadable(errno.ENOMEM, f"{segment.path.name} needs more memory than there is") from error
        except Exception as error:  # whatever is wrong with one segment must not stop the next
            log.exception("the segment %s cannot be compacted, and is set aside", segment.name)
            _set_aside(segment, error)
            done.set_aside += 1
            return False
        for place, parts in tables.items():
            _publish(self.files, place, pa.concat_tables(parts), segment.name, self.clock(), done)
        done.segments += 1
        return True


def _read(segment: Segment, done: Compacted) -> dict[Partition, list[pa.Table]]:
    reading = _Reading()
    for found in read_entries(segment):
        if isinstance(found, Damage):
            done.lost_bytes += found.size_bytes
            log.warning("%s: bytes %d to %d are %s", segment.name, found.offset, found.end, found.kind)
            continue
        try:
            reading.add(found.record, found.end - found.offset)
        except ValueError as error:
            done.unfit += 1
            log.warning("%s: the record at %d is not taken: %s", segment.name, found.offset, error)
        if reading.held_bytes >= CHUNK_BYTES:
            reading.settle()
    reading.settle()
    return reading.tables


def _set_aside(segment: Segment, error: Exception) -> None:
    folder = segment.path.parent / QUARANTINE
    folder.mkdir(exist_ok=True, mode=0o700)
    write_whole(folder / f"{segment.name}.reason", f"{type(error).__name__}: {error}\n".encode(), mode=0o600)
    segment.path.replace(folder / segment.path.name)


def _publish(files: Files, place: Partition, table: pa.Table, segment: str, now_s: float, done: Compacted) -> None:
    ahead = pc.greater(table["at"], pa.scalar(round((now_s + AHEAD_S_MAX) * 1e6), table["at"].type))
    count = pc.sum(ahead).as_py() or 0
    if count:
        log.warning("%d rows of %s are more than %.0f s ahead of now", count, segment, AHEAD_S_MAX)
        done.ahead += count
        _write(files, f"quarantined/{place.table}", place, table.filter(ahead), segment)
        table = table.filter(pc.invert(ahead))
    if len(table):
        done.rows += len(table)
        _write(files, place.table, place, table, segment)


def _write(files: Files, kind: str, place: Partition, table: pa.Table, segment: str) -> None:
    folder = f"{kind}/endpoint={place.endpoint}/hour={place.hour}"
    name = f"{folder}/{segment}-{zlib.crc32(msgspec.json.encode(place.shape)):08x}.parquet"
    if isinstance(files, LocalFiles):
        files.sweep(name)  # the lock is ours: who left something was killed
    write_parquet(files, name, table)


def write_parquet(files: Files, name: str, table: pa.Table, written_s: float | None = None) -> None:
    """A file of rows, as if written then where a time is given, with a filter of its names. Raises `OSError`."""

    def fill(file: Any) -> None:
        plain = table.replace_schema_metadata(None)
        with pq.ParquetWriter(file, plain.schema, compression="zstd") as writer:
            writer.write_table(plain, row_group_size=GROUP_ROWS_MAX)
            writer.add_key_value_metadata(footer_of(plain))

    files.write(name, fill, written_s)


def segment_of_file(name: str) -> str:
    """The name of the segment whose rows a file of the store has."""
    return name.rpartition("/")[2].removesuffix(".parquet").rpartition("-")[0]
