"""Reading the capture journal: records with an identity of their own, and what damage has taken, counted.

    for segment in list_segments(folder):
        for found in read_entries(segment, offset=where_I_was.get(segment.name, 0)):
            ...  # an Entry, whose `end` is where to go on the next time, or a Damage

(segment name, offset) names a record for good, wherever it is read and however often: sealing changes neither.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from tidegate.wire.journal.frames import MAGIC, MAGIC_1, Frame, Gap, marker_of, scan, scan_1
from tidegate.wire.journal.records import BatchRecord, Record, decode_record, decode_record_1
from tidegate.wire.journal.segments import Segment, frames_of, is_written, open_segment

log = logging.getLogger(__name__)


class JournalEntry(msgspec.Struct, frozen=True):
    """A record, its identity (`segment`, `offset`), and the offset behind it."""

    segment: str
    offset: int
    end: int
    record: Record


class Damage(msgspec.Struct, frozen=True):
    """Bytes of a segment that could not be read: no sound record, or `unreadable`, a sound one of an unknown kind."""

    segment: str
    offset: int
    end: int
    kind: Literal["damaged", "unreadable"]

    @property
    def size_bytes(self) -> int:
        """How much was lost."""
        return self.end - self.offset


def read_entries(segment: Segment, offset: int = 0) -> Iterator[JournalEntry | Damage]:
    """What stands in a segment from an offset on, as far as it is written.

    The end of a segment that a living gateway writes may be half a record: that is not there yet, and no damage. Raises
    `FileNotFoundError` where the segment was dropped.
    """
    with open_segment(segment) as stream:
        ended = not (segment.is_open and is_written(stream))  # asked first: after it nothing is added
        decode = decode_record_1 if segment.marker is None else decode_record
        for found in frames_of(segment, stream, offset, ended=ended):
            yield _read(segment.name, found, decode)


def _read(name: str, found: Frame | Gap, decode: Callable[[bytes], Record]) -> JournalEntry | Damage:
    if isinstance(found, Gap):
        return Damage(name, found.offset, found.end, "damaged")
    try:
        return JournalEntry(name, found.offset, found.end, decode(found.payload))
    except msgspec.DecodeError:
        return Damage(name, found.offset, found.end, "unreadable")


def read_records(stream: BinaryIO, report: Callable[[str], None] = log.warning) -> Iterator[BatchRecord]:
    """The computed batches in a segment's file, of either version; what cannot be read is told to `report`.

    Raises `ValueError` for a file that is no segment.
    """
    magic, name = stream.read(len(MAGIC)), str(getattr(stream, "name", "a capture journal"))
    marker = None if magic == MAGIC_1 else marker_of(stream)
    if magic not in (MAGIC, MAGIC_1) and marker is None:
        raise ValueError("not a capture journal: the first bytes are not TGJ2 or TGJ1")
    found = scan_1(stream, 0) if marker is None else scan(stream, 0, marker, ended=True)
    for one in found:
        read = _read(Path(name).name, one, decode_record_1 if marker is None else decode_record)
        if isinstance(read, Damage):
            report(f"{name}: bytes {read.offset} to {read.end} are torn or damaged; no record is read there")
        elif isinstance(read.record, BatchRecord):
            yield read.record
