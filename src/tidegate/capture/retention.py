"""How long captured rows are kept: hours that are too old go, then the oldest ones past the bound on bytes.

Called by the compactor, with its lock held. A row's age is its hour's, so rows live up to an hour longer than is said;
imported rows, and feedback, may be dated years ago, and are as old as their files. Segments of the journal whose rows
are in Parquet, and that every reader has read, go by the shortest time that any endpoint has.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tidegate.wire.journal import list_segments
from tidegate.wire.journal.cursors import read_offsets

HOUR_S = 3600.0
IMPORTED = "import-"
"""Files of imported rows have names that begin so (`importing`)."""

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

    folder: Path
    endpoint: str
    aged_from_s: float
    size_bytes: int
    files: tuple[Path, ...]


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
        came_later = folder.parent.parent.name == "feedback"
        found: dict[bool, list[tuple[Path, os.stat_result]]] = {False: [], True: []}
        with contextlib.suppress(FileNotFoundError):
            for path in folder.iterdir():
                found[came_later or path.name.startswith(IMPORTED)].append((path, path.stat()))
        endpoint = folder.parent.name.removeprefix("endpoint=")
        for is_late, its in found.items():
            if its:
                came_s = max(stat.st_mtime for _, stat in its) if is_late else 0.0
                aged_from_s = max(begins_s + HOUR_S, came_s)
                size_bytes = sum(stat.st_size for _, stat in its)
                yield Hour(folder, endpoint, aged_from_s, size_bytes, tuple(path for path, _ in its))


def expire(store: Path, journal: Path, now_s: float, keep: Keep, by_endpoint: Mapping[str, Keep]) -> Expired:
    """Delete what is to be kept no longer: `by_endpoint` has what endpoints say for themselves, `keep` holds for the
    others, and its bytes for all together.

    Raises `OSError` where the store cannot be written.
    """
    kept: list[Hour] = []
    files = 0
    found: dict[str, list[Hour]] = {}
    for hour in hours(store):
        if hour.aged_from_s + by_endpoint.get(hour.endpoint, keep).retain_s <= now_s:
            files += _delete(hour)
        else:
            found.setdefault(hour.endpoint, []).append(hour)
    for endpoint, its in found.items():
        gone, left = _cut(its, by_endpoint.get(endpoint, keep).bytes_max)
        files += sum(map(_delete, gone))
        kept += left
    gone, kept = _cut(kept, keep.bytes_max)
    files += sum(map(_delete, gone))
    if files:
        log.info("%d files of captured rows were too old, or too much, and are deleted", files)
    _expire_journal(journal, now_s, min(one.retain_s for one in (keep, *by_endpoint.values())))
    return Expired(files, sum(hour.size_bytes for hour in kept))


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


def _delete(hour: Hour) -> int:
    for path in hour.files:
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else is there, or is written there just now: the next run sees it
        hour.folder.rmdir()
        hour.folder.parent.rmdir()
    return len(hour.files)


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
