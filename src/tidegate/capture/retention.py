"""How long captured rows are kept: hours that are too old go, then the oldest ones past the bound on bytes.

Called by the compactor, with its lock held. A row's age is its hour's, so rows live up to an hour longer than is said;
imported rows, and feedback, may be dated years ago, and are as old as their files. Segments of the journal whose rows
are in Parquet, and that every reader has read, go by the shortest time that any endpoint has.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tidegate.capture.files import CaptureFile, Files, files_in
from tidegate.wire.journal import list_segments
from tidegate.wire.journal.cursors import read_offsets

HOUR_S = 3600.0
RESULTS_TABLE = "monitor_results"
"""What monitors found has a time of its own, and goes by whoever writes it."""
IMPORTED = "import-"
"""Files of imported rows have names that begin so (`importing`)."""
_NAME = re.compile(r"(?:.+/)?([^/]+)/endpoint=([^/]+)/hour=([^/]+)/([^/]+)")
"""Table, endpoint, hour and name of a file; others are nobody's business here."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keep:
    """How long rows are kept, and how many bytes of them."""

    retain_s: float
    bytes_max: int


@dataclass(frozen=True)
class Hour:
    """Files of one hour of one endpoint in one table: those that were recorded then, or those that came later.

    Their age counts from `aged_from_s`: when the hour ended, or the newest of the files came.
    """

    endpoint: str
    aged_from_s: float
    size_bytes: int
    files: tuple[str, ...]


@dataclass(frozen=True)
class Expired:
    """What a run deleted, and what is kept now."""

    files: int
    stored_bytes: int


def hours(files: Files) -> Iterator[Hour]:
    """Every hour of the store, of every table of rows."""
    found: dict[tuple[str, bool], list[CaptureFile]] = {}
    for file in files.below():
        its = _NAME.fullmatch(file.name)
        if its is not None and its[1] != RESULTS_TABLE and _begins_s(its[3]) is not None:
            is_late = its[1] == "feedback" or its[4].startswith(IMPORTED)
            found.setdefault((file.name.rpartition("/")[0], is_late), []).append(file)
    for (folder, is_late), its_files in found.items():
        _, endpoint, hour = folder.rsplit("/", 2)
        came_s = max(file.written_s for file in its_files) if is_late else 0.0
        yield Hour(
            endpoint.removeprefix("endpoint="),
            max((_begins_s(hour.removeprefix("hour=")) or 0.0) + HOUR_S, came_s),
            sum(file.size_bytes for file in its_files),
            tuple(file.name for file in its_files),
        )


def expire(store: Path | Files, journal: Path, now_s: float, keep: Keep, by_endpoint: Mapping[str, Keep]) -> Expired:
    """Delete what is to be kept no longer: `by_endpoint` has what endpoints say for themselves, `keep` holds for the
    others, and its bytes for all together.

    Raises `OSError` where the store cannot be written.
    """
    files = files_in(store)
    kept: list[Hour] = []
    deleted: list[str] = []
    found: dict[str, list[Hour]] = {}
    for hour in hours(files):
        if hour.aged_from_s + by_endpoint.get(hour.endpoint, keep).retain_s <= now_s:
            deleted += hour.files
        else:
            found.setdefault(hour.endpoint, []).append(hour)
    for endpoint, its in found.items():
        gone, left = _cut(its, by_endpoint.get(endpoint, keep).bytes_max)
        deleted += (name for hour in gone for name in hour.files)
        kept += left
    gone, kept = _cut(kept, keep.bytes_max)
    deleted += (name for hour in gone for name in hour.files)
    if deleted:
        files.delete(deleted)
        log.info("%d files of captured rows were too old, or too much, and are deleted", len(deleted))
    _expire_journal(journal, now_s, min(one.retain_s for one in (keep, *by_endpoint.values())))
    return Expired(len(deleted), sum(hour.size_bytes for hour in kept))


def _cut(found: list[Hour], bytes_max: int) -> tuple[list[Hour], list[Hour]]:
    """The oldest hours that are too much, and the others."""
    surplus = sum(hour.size_bytes for hour in found) - bytes_max
    gone, left = [], []
    for hour in sorted(found, key=lambda one: one.aged_from_s):
        if surplus > 0:
            surplus -= hour.size_bytes
            gone.append(hour)
        else:
            left.append(hour)
    return gone, left


def _expire_journal(journal: Path, now_s: float, retain_s: float) -> None:
    """Segments are of all endpoints: the shortest of their times counts, for all that is in them is in Parquet too."""
    read = read_offsets(journal)
    for segment in list_segments(journal):
        with contextlib.suppress(FileNotFoundError):
            found = segment.path.stat()
            is_read = read.get(segment.name, 0) >= found.st_size
            if not segment.is_open and is_read and found.st_mtime + retain_s <= now_s:
                segment.path.unlink()


def _begins_s(hour: str) -> float | None:
    try:
        return datetime.strptime(hour, "%Y-%m-%dT%H").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
