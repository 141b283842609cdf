"""How long captured rows are kept: hours that are too old go, then the oldest ones past the bound on bytes.

Called by the compactor, with its lock held. A row's age is its hour's, so rows live up to an hour longer than is said.
Segments of the journal whose rows are in Parquet, and that every reader has read, go by the same age.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tidegate.wire.journal import list_segments
from tidegate.wire.journal.cursors import read_offsets

HOUR_S = 3600.0
ALL_ENDPOINTS = "*"
IMPORTED = "import-"
"""What names of files of imported rows begin with: rows of last year are not deleted as soon as they are imported."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Keep:
    """How long rows are kept, and how many bytes of them; None: as everywhere."""

    retain_s: float
    bytes_max: int


@dataclass(frozen=True)
class Hour:
    """One hour of one endpoint in one table. Its age counts from `aged_from_s`: its end, or when rows were imported."""

    path: Path
    endpoint: str
    begins_s: float
    aged_from_s: float
    size_bytes: int
    files: int


@dataclass(frozen=True)
class Expired:
    """What a run deleted, and what is kept now."""

    files: int
    stored_bytes: int


def hours(store: Path) -> Iterator[Hour]:
    """Every hour of the store, of every table. Folders with other names are nobody's business here."""
    for folder in store.glob("**/endpoint=*/hour=*"):
        begins_s = _begins_s(folder.name.removeprefix("hour="))
        if begins_s is None:
            continue
        sizes, aged_from_s = [], begins_s + HOUR_S
        with contextlib.suppress(FileNotFoundError):
            for path in folder.iterdir():
                stat = path.stat()
                sizes.append(stat.st_size)
                if path.name.startswith(IMPORTED):
                    aged_from_s = max(aged_from_s, stat.st_mtime)
        endpoint = folder.parent.name.removeprefix("endpoint=")
        yield Hour(folder, endpoint, begins_s, aged_from_s, sum(sizes), len(sizes))


def expire(store: Path, journal: Path, now_s: float, keep: Callable[[str], Keep], bytes_max: int) -> Expired:
    """Delete what is to be kept no longer; `keep` says it of each endpoint, `bytes_max` of all together.

    Raises `OSError` where the store cannot be written.
    """
    kept: list[Hour] = []
    files = 0
    by_endpoint: dict[str, list[Hour]] = {}
    for hour in hours(store):
        if hour.aged_from_s + keep(hour.endpoint).retain_s <= now_s:
            files += _delete(hour)
        else:
            by_endpoint.setdefault(hour.endpoint, []).append(hour)
    for endpoint, its in by_endpoint.items():
        gone, left = _cut(its, keep(endpoint).bytes_max)
        files += sum(map(_delete, gone))
        kept += left
    gone, kept = _cut(kept, bytes_max)
    files += sum(map(_delete, gone))
    if files:
        log.info("%d files of captured rows were too old, or too much, and are deleted", files)
    _expire_journal(journal, now_s, min([keep(ALL_ENDPOINTS).retain_s, *(keep(one).retain_s for one in by_endpoint)]))
    return Expired(files, sum(hour.size_bytes for hour in kept))


def _cut(found: list[Hour], bytes_max: int) -> tuple[list[Hour], list[Hour]]:
    """The oldest hours that are too much, and the others."""
    surplus = sum(hour.size_bytes for hour in found) - bytes_max
    gone, left = [], []
    for hour in sorted(found, key=lambda one: one.begins_s):
        if surplus > 0:
            surplus -= hour.size_bytes
            gone.append(hour)
        else:
            left.append(hour)
    return gone, left


def _delete(hour: Hour) -> int:
    for path in hour.path.iterdir():
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something is written there just now: the next run sees it
        hour.path.rmdir()
        hour.path.parent.rmdir()
    return hour.files


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
