"""Forgets a unit: every row of its key goes, from Parquet and from the journal. Done by the compactor.

A request is a file in STORE/forget until no segment is left that was begun before it was made: rows of an open segment
go once that is sealed and compacted, an hour later at most. The ids of the unit's predictions are kept with the request
before any row goes, so that labels which name them are found also when they are compacted later, and by whoever goes on
after a kill. Files are rewritten whole or not at all; one that did not change is read once for each request. Segments
that were compacted go whole: all that they have is in Parquet.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidegate.capture.compact import write_parquet
from tidegate.capture.files import CaptureFile, Files, LocalFiles, is_parquet
from tidegate.system.atomic import write_whole
from tidegate.wire.capture.capture import FORGET_FOLDER, ForgetRequest
from tidegate.wire.decoding import json_decoder
from tidegate.wire.journal import list_segments
from tidegate.wire.journal.cursors import read_offsets
from tidegate.wire.journal.segments import opened_at_us

REQUESTS_MAX = 1000
"""Done together; the others come next."""
CHANGED_S = 60.0
"""A file that was written so long before a look at it, or later, is looked at again: clocks of disks are coarse."""
_requests = json_decoder(ForgetRequest)

log = logging.getLogger(__name__)


@dataclass
class Forgotten:
    """What one run did."""

    rows: int = 0
    done: int = 0
    waiting: int = 0


@dataclass
class _Asked:
    """One request. `looked_s`: files that are older were read for it; `found` are ids that this run found.

    Labels of ids that are `new` may be in any file.
    """

    path: Path
    request: ForgetRequest
    looked_s: float
    ids: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    new: bool = False


class _Ended(Exception):
    """The run is to end early."""


def waiting(store: Path) -> list[Path]:
    """Requests that are not done yet."""
    return sorted((store / FORGET_FOLDER).glob("*.json"))[:REQUESTS_MAX]


class Forgetting:
    """Of one store. Called by the compactor after it compacted what was sealed, with the store's lock held.

    `keep_going` is asked before each file; a run that ends early is done again.
    """

    def __init__(
        self,
        store: Path,
        journal: Path,
        keep_going: Callable[[], bool] = lambda: True,
        files: Files | None = None,
    ) -> None:
        """`store` has the requests, and the Parquet too where no other `files` are given."""
        self._store, self._journal, self._keep_going = store, journal, keep_going
        self._files = files or LocalFiles(store)
        self._looked: dict[Path, float] = {}

    def run(self, now_s: float) -> Forgotten:
        """Do what was asked, as far as it can be done now. Raises `OSError` where the store cannot be written."""
        done, asked = Forgotten(), list(self._asked())
        self._looked = {one.path: one.looked_s for one in asked}
        try:
            for endpoint in sorted({one.request.endpoint for one in asked}):
                self._from_parquet(endpoint, [one for one in asked if one.request.endpoint == endpoint], done)
        except _Ended:
            done.waiting = len(asked)
            return done
        unclean_s = _clean_journal(self._journal, max((one.request.at_s for one in asked), default=0.0))
        for one in asked:
            self._looked[one.path] = now_s
            if one.request.at_s < unclean_s:
                one.path.unlink(missing_ok=True)
                done.done += 1
            else:
                done.waiting += 1
        if done.rows:
            log.info("%d rows of units that are to be forgotten are gone", done.rows)
        return done

    def _asked(self) -> Iterator[_Asked]:
        for path in waiting(self._store):
            try:
                request = _requests.decode(path.read_bytes())
            except ValueError as error:  # msgspec's own are ValueErrors
                log.error("the request %s to forget a unit makes no sense, and is set aside: %s", path.name, error)
                path.replace(path.with_suffix(".bad"))
                continue
            yield _Asked(path, request, self._looked.get(path, 0.0), set(request.ids))

    def _from_parquet(self, endpoint: str, asked: list[_Asked], done: Forgotten) -> None:
        """Feedback that names a forgotten request by its id goes too, whatever endpoint it names."""
        files = [file for file in self._files.below() if is_parquet(file.name) and "/hour=" in file.name]
        feedback = [file for file in files if file.name.startswith("feedback/")]
        its = [file for file in files if f"/endpoint={endpoint}/" in file.name and file not in feedback]
        for file, due in self._due(its, asked):
            self._find_ids(file.name, due)
        for one in asked:
            if one.found - one.ids:
                one.ids, one.new = one.ids | one.found, True
                request = msgspec.structs.replace(one.request, ids=sorted(one.ids))
                write_whole(one.path, msgspec.json.encode(request), mode=0o600)
        for file, due in self._due(feedback, asked, labels=True):
            if f"/endpoint={endpoint}/" in file.name:
                done.rows += self._without(file, "key", _keys(due))
            done.rows += self._without(file, "id", set[str]().union(*(one.ids for one in due)))
        for file, due in self._due(its, asked):
            done.rows += self._without(file, "key", _keys(due))

    def _due(
        self, files: Iterable[CaptureFile], asked: list[_Asked], *, labels: bool = False
    ) -> Iterator[tuple[CaptureFile, list[_Asked]]]:
        """Files that some of the requests have not seen as they are now, with those requests."""
        for file in files:
            if not self._keep_going():
                raise _Ended
            due = [one for one in asked if file.written_s + CHANGED_S >= one.looked_s or (labels and one.new)]
            if due:
                yield file, due

    def _find_ids(self, name: str, asked: list[_Asked]) -> None:
        """Of the units' requests in a file."""
        table = self._read(name, ["key", "id"])
        if table is None:
            return
        its = table.filter(pc.is_in(table["key"], value_set=pa.array(sorted(_keys(asked)), pa.string())))
        pairs = set(zip(its["key"].to_pylist(), its["id"].to_pylist(), strict=True))
        for one in asked:
            one.found |= {name for key, name in pairs if name is not None and key in one.request.keys}

    def _without(self, file: CaptureFile, column: str, values: Collection[str]) -> int:
        """Rewrite a file without the rows that have one of these values; how many those were. Its time stays as it
        was: imported rows are as old as their file.
        """
        found = self._read(file.name, [column]) if values else None
        if found is None or column not in found.column_names:
            return 0
        mask = pc.is_in(found[column], value_set=pa.array(sorted(values), pa.string()))
        mask = pc.fill_null(mask, fill_value=False)
        count = pc.sum(mask).as_py() or 0
        if not count:
            return 0
        whole = self._read(file.name)
        if whole is None:
            return 0
        write_parquet(self._files, file.name, whole.filter(pc.invert(mask)), file.written_s)
        return int(count)

    def _read(self, name: str, columns: list[str] | None = None) -> pa.Table | None:
        try:
            with self._files.open(name) as stream, pq.ParquetFile(stream) as file:
                known = file.schema_arrow.names
                return file.read(None if columns is None else [one for one in columns if one in known])
        except FileNotFoundError:  # retention was quicker
            return None
        except pa.ArrowInvalid as error:
            log.error(
                "%s is no whole Parquet file, and nothing of it can be forgotten: %s", self._files.where(name), error
            )
            return None


def _keys(asked: list[_Asked]) -> set[str]:
    return {key for one in asked for key in one.request.keys}


def _clean_journal(journal: Path, at_s: float) -> float:
    """Delete segments from before then that were compacted; when the first of those was begun that stay."""
    read, unclean_s = read_offsets(journal), float("inf")
    for segment in list_segments(journal):
        opened_s = opened_at_us(segment) / 1e6
        if opened_s > at_s:
            continue
        with contextlib.suppress(FileNotFoundError):
            if segment.is_open or read.get(segment.name, 0) < segment.path.stat().st_size:
                unclean_s = min(unclean_s, opened_s)
            else:
                segment.path.unlink()
    return unclean_s
