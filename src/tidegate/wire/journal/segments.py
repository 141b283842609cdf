"""The files of the capture journal: names that sort by time, who still writes one, and sealing what a dead writer left.

`20261129T013015.123456Z-gateway-0-9f2c1ab3d4e5f607.tgj` was begun at that time by `gateway-0`, with that marker. While
it is written `.open` stands behind, and the writer holds a lock (`flock`) on it, which the kernel drops with the
process. The name without suffixes is the segment's identity for good. `gateway-0-0000000001.tgj` is one of version 1.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from tidegate.wire.journal.frames import FRAME, MAGIC_1, Frame, Gap, frame_head, marker_of, scan, scan_1
from tidegate.wire.journal.records import FailureRecord, FeedbackRecord, Record, Sealed, decode_record

SUFFIX, OPEN_SUFFIX = ".tgj", ".tgj.open"
SEAL_BYTES_MAX = 256
_NAME = re.compile(r"(?P<at>\d{8}T\d{6}\.\d{6}Z)-(?P<writer>.+)-(?P<marker>[0-9a-f]{16})")
_NAME_1 = re.compile(r"(?P<writer>.+)-\d{10}")
_encode = msgspec.msgpack.Encoder().encode


class Segment(msgspec.Struct, frozen=True):
    """One file of the journal. `marker` is None for one of version 1."""

    name: str
    writer: str
    path: Path
    marker: bytes | None
    is_open: bool

    @property
    def sealed_path(self) -> Path:
        """Where it is once it is sealed."""
        return self.path.with_name(self.name + SUFFIX)


def segment_name(opened_at_us: int, writer: str, marker: bytes) -> str:
    """The name of a segment; `opened_at_us` in microseconds since the epoch, of the same writer never twice."""
    at = datetime.fromtimestamp(opened_at_us // 1_000_000, UTC)
    return f"{at:%Y%m%dT%H%M%S}.{opened_at_us % 1_000_000:06d}Z-{writer}-{marker.hex()}"


def opened_at_us(segment: Segment) -> int:
    """When it was begun, as its name says; 0 where that says nothing of it (as one of version 1), or no time."""
    found = _NAME.fullmatch(segment.name)
    try:
        at = datetime.strptime(found["at"] if found else "", "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return 0
    return int(at.replace(microsecond=0).timestamp()) * 1_000_000 + at.microsecond


def segment_of(path: Path) -> Segment | None:
    """What a file's name says; None for one that is no segment."""
    is_open = path.name.endswith(OPEN_SUFFIX)
    name = path.name.removesuffix(OPEN_SUFFIX if is_open else SUFFIX)
    if name == path.name:
        return None
    if (found := _NAME.fullmatch(name)) is not None:
        return Segment(name, found["writer"], path, bytes.fromhex(found["marker"]), is_open)
    if not is_open and (found := _NAME_1.fullmatch(name)) is not None:
        return Segment(name, found["writer"], path, None, is_open=False)
    return None


def list_segments(folder: Path) -> list[Segment]:
    """All segments of a journal, of any gateway: those of version 1 first, then from the oldest to the newest."""
    try:
        paths = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    found: dict[str, Segment] = {}
    for path in paths:
        segment = segment_of(path)
        if segment is not None and (segment.name not in found or not segment.is_open):
            found[segment.name] = segment  # one that is renamed meanwhile may be listed under both names
    return sorted(found.values(), key=lambda one: (one.marker is not None, one.name))


def open_segment(segment: Segment) -> BinaryIO:
    """Its file, also where it was sealed since it was listed; raises `FileNotFoundError` for one that was dropped."""
    try:
        return segment.path.open("rb")
    except FileNotFoundError:
        if not segment.is_open:
            raise
        return segment.sealed_path.open("rb")


def is_written(stream: BinaryIO) -> bool:
    """Whether a living writer holds the lock of this open segment."""
    try:
        fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held, or a file system without locks, of which nothing can be known
        return True
    fcntl.flock(stream, fcntl.LOCK_UN)
    return False


def frames_of(segment: Segment, stream: BinaryIO, offset: int, *, ended: bool) -> Iterator[Frame | Gap]:
    """Its frames from an offset on, whatever its version."""
    if segment.marker is None:
        stream.seek(0)
        if stream.read(len(MAGIC_1)) == MAGIC_1:
            yield from scan_1(stream, offset)
        elif (end := stream.seek(0, os.SEEK_END)) > offset:
            yield Gap(offset, end)
    else:
        # The name's marker holds where the head is damaged; the head's where somebody has renamed the file.
        marker = marker_of(stream) or segment.marker
        yield from scan(stream, offset, marker, ended=ended)


def seal(fd: int, marker: bytes, footer: Sealed, path: Path) -> None:
    """End a segment whose lock is held: its last record, then its name. Without room for the one, the other counts."""
    payload = _encode(footer)
    size = os.lseek(fd, 0, os.SEEK_END)
    try:
        if os.write(fd, frame_head(marker, payload) + payload) != FRAME.size + len(payload):
            os.ftruncate(fd, size)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
    path.rename(path.with_name(path.name.removesuffix(OPEN_SUFFIX) + SUFFIX))


def seal_abandoned(segment: Segment) -> Sealed | None:
    """Seal an open segment whose writer has died. None where one lives, or somebody else has sealed it meanwhile.

    Raises `OSError` where it cannot be written. What is torn at its end is cut off; its records stay as they are.
    """
    if not segment.is_open or segment.marker is None:
        return None
    try:
        stream = segment.path.open("r+b")
    except FileNotFoundError:
        return None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return None
        if not segment.path.exists():
            return None
        return _seal_for_dead(segment, stream)


def _seal_for_dead(segment: Segment, stream: BinaryIO) -> Sealed:
    records, first, last, torn = 0, b"", b"", None
    for found in frames_of(segment, stream, 0, ended=True):
        torn = found if isinstance(found, Gap) else None
        if isinstance(found, Frame):
            records, first, last = records + 1, first or found.payload, found.payload
    if torn is None and (footer := _footer(last)) is not None:  # its writer died between the two steps
        segment.path.rename(segment.sealed_path)
        return footer
    footer = Sealed(records, _written_s(first), _written_s(last), 0 if torn is None else torn.end - torn.offset)
    if torn is not None:
        stream.truncate(torn.offset)
    seal(stream.fileno(), marker_of(stream) or segment.marker or b"", footer, segment.path)
    return footer


def read_footer(segment: Segment) -> Sealed | None:
    """What a sealed segment's last record says; None where it has none."""
    if segment.marker is None:
        return None
    with segment.path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - SEAL_BYTES_MAX))
        tail = stream.read()
        place = tail.rfind(segment.marker)
        if place < 0:
            return None
        last = next(scan(stream, size - len(tail) + place, segment.marker, ended=True), None)
    return _footer(last.payload) if isinstance(last, Frame) else None


def count_records(segment: Segment, offset: int = 0) -> int:
    """How many records stand in a sealed segment from an offset on, without its last one."""
    if offset == 0 and (footer := read_footer(segment)) is not None:
        return footer.records
    with segment.path.open("rb") as stream:
        frames = (one for one in frames_of(segment, stream, offset, ended=True) if isinstance(one, Frame))
        return sum(_footer(one.payload) is None if segment.marker else True for one in frames)


def _footer(payload: bytes) -> Sealed | None:
    record = _decoded(payload)
    return record if isinstance(record, Sealed) else None


def _written_s(payload: bytes) -> float:
    """When a record was written."""
    record = _decoded(payload)
    if record is None or isinstance(record, Sealed):
        return 0.0
    if isinstance(record, FeedbackRecord):
        return record.received_at_us / 1e6
    ends = [
        one.at_s + one.duration_s for one in (record.calls if isinstance(record, FailureRecord) else record.requests)
    ]
    return max(ends, default=getattr(record, "until_s", 0.0))


def _decoded(payload: bytes) -> Record | None:
    try:
        return decode_record(payload)
    except msgspec.DecodeError:
        return None
