"""The journal's files as one gateway writes them: a segment at a time, sealed by size and age, dropped past a bound.

Used by `journal.py` only. Knows files and frames, and nothing of what is in a record. `append`, `is_full` and `end` are
the event loop's; `settle`, which makes room too, takes longer and is for a thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from tidegate.wire.journal import Sealed, Segment, list_segments, seal_abandoned
from tidegate.wire.journal.cursors import read_offsets
from tidegate.wire.journal.frames import FRAME, HEAD_BYTES, MARKER_BYTES, file_head, frame_head
from tidegate.wire.journal.segments import (
    OPEN_SUFFIX,
    SEAL_BYTES_MAX,
    count_records,
    opened_at_us,
    seal,
    segment_name,
)

SEGMENT_BYTES_MAX = 64 << 20
SEGMENT_BYTES_MIN = 64 << 10
SEGMENT_AGE_S_MAX = 3600.0
PRESSURE = ((3 / 4, 1 / 16), (5 / 8, 1 / 8), (1 / 2, 1 / 4), (3 / 8, 1 / 2))
"""Once so much of the bound is taken by what nobody has read, so large a share of the requests is still recorded."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class WrittenSegment:
    """A segment that this gateway writes or has written. Its lock lasts until `fd` is closed."""

    fd: int
    path: Path
    marker: bytes
    size_bytes: int
    records: int = 0
    first_at_s: float = 0.0
    last_at_s: float = 0.0


@dataclass(frozen=True)
class Dropped:
    """A segment that was deleted, and how many of its records nobody had read."""

    name: str
    unread: int


class Segments:
    """Appends records to the newest segment. After a restart a new segment is begun; the old ones count to the bound.

    A segment is made with its first record, so a gateway that is restarted often leaves no trail of empty files.
    """

    def __init__(self, folder: Path, writer: str, total_bytes_max: int) -> None:
        self._folder = folder
        self._writer = writer
        self._total_bytes_max = total_bytes_max
        self._segment_bytes_max = max(SEGMENT_BYTES_MIN, min(SEGMENT_BYTES_MAX, total_bytes_max // 8))
        self._open: WrittenSegment | None = None
        # Names go on behind those that are there, though the clock was set back: the first by name is dropped first.
        self._begun_at_us = 0
        with contextlib.suppress(OSError):  # a folder that cannot be read: writing to it says so
            mine = [opened_at_us(one) for one in list_segments(folder) if one.writer == writer]
            self._begun_at_us = max(mine, default=0)
        self._room = threading.Lock()
        self.recorded_share = 1.0
        """The share of requests that there is room for: below 1 where a reader has fallen far behind."""

    @property
    def fd(self) -> int | None:
        """The open segment's descriptor."""
        return None if self._open is None else self._open.fd

    def fits(self, size_bytes: int) -> bool:
        """Whether a record of this size may ever be kept."""
        return HEAD_BYTES + FRAME.size + size_bytes + SEAL_BYTES_MAX <= self._total_bytes_max

    def is_full(self, size_bytes: int, at_s: float) -> bool:
        """Whether the open segment is too large, or too old (or from the future: the clock was set back), for more."""
        one = self._open
        if one is None:
            return False
        too_large = one.size_bytes + FRAME.size + size_bytes > self._segment_bytes_max
        return (too_large and one.records > 0) or abs(at_s - one.first_at_s) > SEGMENT_AGE_S_MAX

    @property
    def is_open(self) -> bool:
        """Whether a segment is being written; if not, the next record begins one."""
        return self._open is not None

    def append(self, payload: bytes, at_s: float) -> None:
        """Write one record whole, or raise `OSError` and leave the file as it was. `at_s`: now, since the epoch."""
        one = self._open or self._begin(at_s)
        length = FRAME.size + len(payload)
        try:
            if os.writev(one.fd, (frame_head(one.marker, payload), payload)) != length:
                raise OSError("the record was written in part")
        except OSError:
            self._undo(one)
            raise
        one.size_bytes += length
        one.records += 1
        one.last_at_s = at_s

    def end(self) -> WrittenSegment | None:
        """Take no more into the open segment; the next record begins another. `settle` seals what is returned."""
        one, self._open = self._open, None
        return one

    def settle(self, ended: WrittenSegment | None, need_bytes: int = 0) -> list[Dropped]:
        """Seal what has ended, and what gateways left that have died; then make room for the next segment.

        `need_bytes`: a record that is to come, and may be larger than a segment is as a rule. From any thread.
        """
        if ended is not None:
            self._seal(ended)
        with self._room:
            return self._make_room(max(need_bytes, self._segment_bytes_max))

    def _seal(self, one: WrittenSegment) -> None:
        try:
            seal(one.fd, one.marker, Sealed(one.records, one.first_at_s, one.last_at_s), one.path)
        except OSError as error:
            log.warning("the journal's segment %s stays open: %s", one.path.name, error)
        finally:
            os.close(one.fd)

    def _make_room(self, need_bytes: int) -> list[Dropped]:
        """Delete what is too much: what every reader has read first, then what none has, from the oldest on."""
        for segment in list_segments(self._folder):
            if segment.is_open:
                with contextlib.suppress(OSError):  # its next reader tries again
                    seal_abandoned(segment)
        found = [(one, _size_of(one)) for one in list_segments(self._folder) if self._is_mine(one)]
        offsets = read_offsets(self._folder)
        self.recorded_share = self._share_under_pressure(found, offsets)
        surplus = sum(size for _, size in found) + need_bytes - self._total_bytes_max
        if surplus <= 0:
            return []
        dropped = []
        for segment, size in sorted(found, key=lambda item: offsets.get(item[0].name, 0) < item[1]):
            if surplus > 0:
                surplus -= size
                dropped.append(_drop(segment, size, offsets.get(segment.name, 0)))
        return dropped

    def _share_under_pressure(self, found: list[tuple[Segment, int]], offsets: dict[str, int]) -> float:
        """Less and less as the bound comes near, so that a reader that is late finds a sample of the whole time.

        Else the oldest would go first, whole. Where nobody ever reads, the newest are what is wanted: all of them.
        """
        if not offsets:
            return 1.0
        unread = sum(size - offsets.get(one.name, 0) for one, size in found)
        return next((share for limit, share in PRESSURE if unread >= limit * self._total_bytes_max), 1.0)

    def _is_mine(self, segment: Segment) -> bool:
        return segment.writer == self._writer and not segment.is_open

    def _undo(self, one: WrittenSegment) -> None:
        """Take back what a failed write left behind; where even that fails, the torn record ends its segment."""
        try:
            os.ftruncate(one.fd, one.size_bytes)
        except OSError:
            os.close(one.fd)  # and with it the lock: whoever comes next seals it as a dead gateway's
            self._open = None

    def _begin(self, at_s: float) -> WrittenSegment:
        """Make the file under a name that nobody lists, so that no reader ever sees it without its lock."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._begun_at_us = max(int(at_s * 1e6), self._begun_at_us + 1)
        marker = os.urandom(MARKER_BYTES)
        path = self._folder / (segment_name(self._begun_at_us, self._writer, marker) + OPEN_SUFFIX)
        staged = path.with_name(f".{path.name}")
        fd = os.open(staged, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with contextlib.suppress(OSError):  # a file system without locks: then nobody can tell that it has died
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(fd, file_head(marker)) != HEAD_BYTES:
                raise OSError("the segment's first bytes were written in part")
            staged.rename(path)
        except OSError:
            os.close(fd)
            staged.unlink(missing_ok=True)
            raise
        self._open = WrittenSegment(fd, path, marker, HEAD_BYTES, first_at_s=at_s)
        return self._open


def _size_of(segment: Segment) -> int:
    try:
        return segment.path.stat().st_size
    except OSError:  # a reader may take a file away at any time
        return 0


def _drop(segment: Segment, size: int, read_to: int) -> Dropped:
    """Delete a segment, after counting what nobody had read; nothing where a reader had taken it away already."""
    try:
        unread = 0 if read_to >= size else count_records(segment, read_to)
        segment.path.unlink()
    except OSError:
        return Dropped(segment.name, 0)
    return Dropped(segment.name, unread)
