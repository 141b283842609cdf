"""The journal's files: a numbered segment at a time, rotated by size, the oldest dropped past a bound.

Used by `journal.py` only. Knows files and frames' lengths, and nothing of what is in a record.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from tidegate.wire.journal import MAGIC

SEGMENT_BYTES_MAX = 64 << 20
SEGMENT_BYTES_MIN = 64 << 10
_FRAME = struct.Struct("<II")
_NAME = re.compile(r"(?P<writer>.+)-(?P<number>\d{10})\.tgj")


@dataclass(slots=True)
class Closed:
    """A segment that takes no more records. `records` is None until somebody has to count them."""

    path: Path
    size_bytes: int
    records: int | None


class Segments:
    """Appends frames to the newest segment. After a restart a new segment is begun; the old ones count to the bound.

    A segment is made with its first record, so a gateway that is restarted often leaves no trail of empty files.
    """

    def __init__(self, folder: Path, writer: str, total_bytes_max: int) -> None:
        self._folder = folder
        self._writer = writer
        self._total_bytes_max = total_bytes_max
        self._segment_bytes_max = max(SEGMENT_BYTES_MIN, min(SEGMENT_BYTES_MAX, total_bytes_max // 8))
        self._closed = deque(self._find())
        self._number = _number_of(self._closed[-1].path) if self._closed else 0
        self._fd: int | None = None
        self._path = folder
        self._size_bytes = 0
        self._records = 0

    @property
    def fd(self) -> int | None:
        """The open segment's descriptor."""
        return self._fd

    def fits(self, length: int) -> bool:
        """Whether a frame of this length may ever be kept."""
        return len(MAGIC) + length <= self._total_bytes_max

    def append(self, head: bytes, payload: bytes) -> None:
        """Write one frame whole, or raise `OSError` and leave the file as it was."""
        length = len(head) + len(payload)
        if self._fd is None:
            self._begin()
        fd = self._fd
        assert fd is not None  # noqa: S101  # narrows the type: _begin opened it or raised
        try:
            if os.writev(fd, (head, payload)) != length:
                raise OSError("the record was written in part")
        except OSError:
            self._undo(fd)
            raise
        self._size_bytes += length
        self._records += 1

    def rotate_for(self, length: int) -> list[Closed]:
        """End a full segment, so that a frame of this length fits. Returns the oldest ones, which are to be dropped."""
        if self._fd is not None and self._size_bytes + length > self._segment_bytes_max:
            self.close()
        if self._fd is not None:
            return []
        surplus = []
        need = max(self._segment_bytes_max, len(MAGIC) + length)
        while self._closed and sum(one.size_bytes for one in self._closed) + need > self._total_bytes_max:
            surplus.append(self._closed.popleft())
        return surplus

    def needs_room(self, length: int) -> bool:
        """Whether `rotate_for` has something to do."""
        return self._fd is None or self._size_bytes + length > self._segment_bytes_max

    def close(self) -> None:
        """End the open segment; the next record begins another."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            self._closed.append(Closed(self._path, self._size_bytes, self._records))

    def _undo(self, fd: int) -> None:
        """Take back what a failed write left behind; where even that fails, the torn frame ends its segment."""
        try:
            os.ftruncate(fd, self._size_bytes)
        except OSError:
            self.close()

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = self._number + 1
        path = self._folder / f"{self._writer}-{number:010d}.tgj"
        # O_EXCL: a second gateway of the same name would otherwise write into the same file.
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, MAGIC) != len(MAGIC):
                raise OSError("the segment's first bytes were written in part")
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        self._number, self._fd, self._path = number, fd, path
        self._size_bytes, self._records = len(MAGIC), 0

    def _find(self) -> list[Closed]:
        found = []
        for path in sorted(self._folder.glob(f"{self._writer}-*.tgj")):
            match = _NAME.fullmatch(path.name)
            if match is not None and match["writer"] == self._writer:
                # A reader may take a file away at any time, also between its listing and this.
                with contextlib.suppress(FileNotFoundError):
                    found.append(Closed(path, path.stat().st_size, None))
        return found


def drop(segment: Closed) -> int:
    """Delete a segment; returns how many records went with it: none where a reader had taken it away already.

    Takes milliseconds, so it is for a thread.
    """
    try:
        records = _count(segment.path) if segment.records is None else segment.records
        segment.path.unlink()
    except OSError:
        return 0
    return records


def _count(path: Path) -> int:
    """Whole frames in a segment that an earlier process wrote, by their lengths alone."""
    records, offset, size = 0, len(MAGIC), path.stat().st_size
    with path.open("rb") as stream:
        while offset + _FRAME.size <= size:
            stream.seek(offset)
            length, _ = _FRAME.unpack(stream.read(_FRAME.size))
            offset += _FRAME.size + length
            if offset <= size:
                records += 1
    return records


def _number_of(path: Path) -> int:
    match = _NAME.fullmatch(path.name)
    return int(match["number"]) if match is not None else 0
