"""The capture store as it is read: Parquet, and segments of the journal that are not compacted yet, each row once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidegate import clock as clocks
from tidegate.capture import open_rows
from tidegate.capture.compact import AHEAD_S_MAX, READER, segment_of_file
from tidegate.capture.files import CaptureFile, Files, endpoints_of, files_in, is_parquet
from tidegate.capture.held_rows import HeldRows
from tidegate.capture.labels import Keep, Table, labelled
from tidegate.capture.names_filter import WantedNames
from tidegate.capture.results import RESULTS
from tidegate.capture.rows import NO_ENDPOINT, SCHEMAS
from tidegate.capture.schemas import concat, union_schema
from tidegate.clock import Clock
from tidegate.errors import CaptureUnreadable
from tidegate.wire.journal import Segment, list_segments
from tidegate.wire.journal.cursors import read_cursor

LOOKS_MAX = 20
"""How often a read begins again because a segment was dropped under it; each time at least one fewer is there."""
DAMAGED_MAX = 1000
PARTS_APART_S_MAX = 1.0
"""So far apart the times of a request's parts may be."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Look:
    """What holds which rows at one moment: `pending` segments hold their own; Parquet holds those of all others."""

    pending: tuple[Segment, ...]


class CaptureStore:
    """Reads what was captured of an endpoint. `root` has the Parquet, in a folder or elsewhere, and `journal`
    the segments of all gateways.

    **Each row once, beside a compactor.** A read lists the segments first, then reads the compactor's cursor: segments
    that are not in it are pending, and their rows are taken from the journal. Only then it lists Parquet files, and
    passes over those of pending segments, which a compactor may be writing just now. Whatever the cursor names has all
    of its files by then, for it is written after them. So no row is counted twice; and none is missed, because a
    gateway drops a segment only after the cursor names it (one that was pending and is gone makes the read begin
    again), or counts it as lost. Rows that are recorded while a read runs may be in it or not.
    """

    def __init__(self, root: Path | Files, journal: Path, clock: Clock = clocks.now, keep: Keep | None = None) -> None:
        self._files, self._journal, self._clock, self._keep = files_in(root), journal, clock, keep
        self._wanted: WantedNames | None = None
        self._held: HeldRows | None = None
        self._damaged: set[str] = set()

    def keeping(self, keep: Keep | None, wanted: WantedNames | None = None) -> CaptureStore:
        """The same store, of whose rows only those are held that `keep` says: a mask for each piece that is read.

        It is asked with the columns that are read, which are those asked for and a few more. Where it keeps nothing but
        rows with one of the `wanted` ids and keys, files that say they have none of these are not read.
        """
        made = CaptureStore(self._files, self._journal, self._clock, keep)
        made._wanted, made._held = wanted, self._held
        made._damaged = self._damaged  # a file is told of once, whatever is kept of it
        return made

    def for_look(self, endpoint: str, columns: Collection[str], since_s: float) -> CaptureStore:
        """The same store for one look at an endpoint: it decodes each pending segment once, whatever it is asked for
        with these tensors from then on. Used by one thread, and dropped after the look.
        """
        made = self.keeping(self._keep, self._wanted)
        made._held = HeldRows(endpoint, frozenset(columns), since_s)
        return made

    def labelled(
        self,
        endpoint: str,
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,
    ) -> pa.Table:
        """As `rows` of predictions, with `label` (the label's JSON text) and `labelled_at`, null without one.

        See `capture.labels` for what is read.
        """
        return labelled(self, endpoint, (since_s, until_s), columns, version)

    def rows(
        self,
        table: Table,
        endpoint: str,
        since_s: float,
        until_s: float,
        columns: Sequence[str] | None = None,
        version: str | None = None,
    ) -> pa.Table:
        """Rows with `since_s` <= at < `until_s` (seconds since the epoch); of all versions, or of one.

        Versions may differ in their columns: what a row's version does not have is null, and a column of several types
        has one that holds them all. Only `columns` are read, and come in that order; one that no row has is null. Rows
        of a large request whose parts are not all there (it failed, or is still computed) are left out, and so are
        files that are damaged (said in the log). Feedback is of no version; that which names no endpoint is read as
        that of `rows.NO_ENDPOINT`. Raises `CaptureUnreadable`.
        """
        query = _Query(table, endpoint, since_s, until_s, version, None if columns is None else tuple(columns))
        for _ in range(LOOKS_MAX):
            try:
                return self._read(query, self.look())
            except FileNotFoundError:
                continue
            except OSError as error:
                raise CaptureUnreadable(f"what was captured cannot be read: {error.strerror or error}") from error
        raise CaptureUnreadable(
            f"{LOOKS_MAX} times a segment was dropped while it was read: raise TIDEGATE_JOURNAL_BYTES_MAX"
        )

    def look(self) -> Look:
        """List, then ask for the cursor: see above why in this order."""
        segments = list_segments(self._journal)
        compacted = read_cursor(self._journal, READER)
        return Look(tuple(segment for segment in segments if segment.name not in compacted))

    def endpoints(self) -> list[str]:
        """Those that have rows in Parquet."""
        return [name for name in endpoints_of(self._files) if name != NO_ENDPOINT]

    def files(self, table: str, endpoint: str, since_s: float, until_s: float, look: Look) -> list[str]:
        """Parquet files that may have rows of this time, from the oldest hour on."""
        return [file.name for file in self._listed(table, endpoint, (since_s, until_s), look)]

    def _listed(self, table: str, endpoint: str, times: tuple[float, float], look: Look) -> Iterator[CaptureFile]:
        """All of them but those of segments that are read themselves."""
        since_s, until_s = times
        between = (f"hour={_hour(since_s)}", f"hour={_hour(until_s)}")
        skipped = {segment.name for segment in look.pending}
        for file in self._files.below(f"{table}/endpoint={endpoint}", between):
            if is_parquet(file.name) and segment_of_file(file.name) not in skipped:
                yield file

    def holding(self, tables: tuple[str, ...], endpoint: str, since_s: float, until_s: float) -> bytes | None:
        """Stands for the files that have rows of a time: while it is the same, so are the rows.

        None while segments that are not compacted yet may have some of them. Raises `CaptureUnreadable`.
        """
        times = since_s - PARTS_APART_S_MAX, until_s + PARTS_APART_S_MAX
        try:
            look = self.look()
            if any(open_rows.may_have(one, table, *times) for one in look.pending for table in tables):
                return None
            found = [one for table in tables for one in self._listed(table, endpoint, times, look)]
        except FileNotFoundError:  # a segment was dropped just now
            return None
        except OSError as error:
            raise CaptureUnreadable(f"what was captured cannot be read: {error.strerror or error}") from error
        return blake2b(repr([(one.name, one.size_bytes, one.put_s) for one in found]).encode()).digest()

    def _read(self, query: _Query, look: Look) -> pa.Table:
        whole = self._found(query, look)
        if "request_rows" in whole.column_names:
            whole = _answered(whole, lambda sides: [self._found(query.beside(*side), look) for side in sides], query)
        return query.chosen(whole)

    def _found(self, query: _Query, look: Look) -> pa.Table:
        found = [self._kept(query.cut(made)) for made in self._pending_tables(query, look)]
        names = self.files(query.table, query.endpoint, query.since_s, query.until_s, look)
        if self._files.readers == 1 or len(names) < 2:
            found += [self._file_rows(name, query) for name in names]
        else:
            with ThreadPoolExecutor(self._files.readers) as pool:
                found += pool.map(lambda name: self._file_rows(name, query), names)
        found = [made for made in found if made is not None and len(made)]
        return concat(found, union_schema([*(made.schema for made in found), query.known()]))

    def _file_rows(self, name: str, query: _Query) -> pa.Table | None:
        try:
            with self._files.open(name) as stream, pq.ParquetFile(stream, pre_buffer=True) as file:
                if self._wanted is not None and not self._wanted.may_be_in(file.metadata.metadata):
                    return None
                needed, names = query.needed(), file.schema_arrow.names
                columns = None if needed is None else [one for one in names if one in needed]
                made = file.read_row_groups(query.groups(file), columns).replace_schema_metadata(None)
                return self._kept(query.cut(made))
        except FileNotFoundError:  # retention, or a person who has the right to be forgotten, was quicker
            return None
        except pa.ArrowInvalid as error:
            self._tell_damaged(name, error)
            return None

    def _kept(self, made: pa.Table) -> pa.Table:
        return made if self._keep is None else made.filter(self._keep(made))

    def _tell_damaged(self, name: str, error: Exception) -> None:
        """Once for each file: the others are read all the same."""
        if name not in self._damaged and len(self._damaged) < DAMAGED_MAX:
            self._damaged.add(name)
            log.error(
                "%s is no whole Parquet file, and its rows are missing from what is read: %s",
                self._files.where(name),
                error,
            )

    def _pending_tables(self, query: _Query, look: Look) -> Iterator[pa.Table]:
        if query.table not in SCHEMAS:  # no gateway records it
            return
        latest = pa.scalar(round((self._clock() + AHEAD_S_MAX) * 1e6), pa.timestamp("us", tz="UTC"))
        read = open_rows.tables_of if self._held is None else self._held.tables_of
        for segment in look.pending:
            if open_rows.may_have(segment, query.table, query.since_s, query.until_s):
                times = query.since_s, query.until_s
                for made in read(segment, query.table, query.endpoint, query.needed(), times):
                    yield made.filter(pc.less_equal(made["at"], latest))


_OWN = {
    "predictions": ("at", "version", "id", "request_rows"),
    "shadow_predictions": ("at", "version", "id", "request_rows"),
    "failures": ("at", "version"),
    "shadow_failures": ("at", "version"),
    "feedback": ("at",),
    "monitor_results": ("at", "version"),
}


@dataclass(frozen=True)
class _Query:
    table: str
    endpoint: str
    since_s: float
    until_s: float
    version: str | None
    columns: tuple[str, ...] | None

    def needed(self) -> Collection[str] | None:
        """Columns to read: those that are asked for, and those that say which rows are."""
        if self.columns is None:
            return None
        return {*self.columns, *_OWN[self.table]}

    def beside(self, since_s: float, until_s: float) -> _Query:
        """The same of another time."""
        return replace(self, since_s=since_s, until_s=until_s)

    def known(self) -> pa.Schema:
        """What every table has, whatever its rows."""
        needed, schema = self.needed(), RESULTS if self.table == "monitor_results" else SCHEMAS[self.table]
        return pa.schema([one for one in schema if needed is None or one.name in needed])

    def groups(self, file: pq.ParquetFile) -> list[int]:
        """The row groups that may have rows of the time: all of those that do not say from when to when theirs are."""
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        leaves = range(file.metadata.num_columns)  # more than columns, where some are lists
        place = next((leaf for leaf in leaves if groups and groups[0].column(leaf).path_in_schema == "at"), None)
        return [number for number, one in enumerate(groups) if place is None or self._may_have(one.column(place))]

    def _may_have(self, column: pq.ColumnChunkMetaData) -> bool:
        statistics = column.statistics
        if statistics is None or not statistics.has_min_max:
            return True
        return bool(statistics.min.timestamp() < self.until_s and statistics.max.timestamp() >= self.since_s)

    def cut(self, made: pa.Table) -> pa.Table:
        """Its rows of the time and version."""
        at = made["at"]
        kept = pc.and_(
            pc.greater_equal(at, pa.scalar(round(self.since_s * 1e6), at.type)),
            pc.less(at, pa.scalar(round(self.until_s * 1e6), at.type)),
        )
        if self.version is not None and self.table != "feedback":
            kept = pc.and_(kept, pc.equal(made["version"], self.version))
        return made if pc.all(kept, min_count=0).as_py() else made.filter(kept)

    def chosen(self, made: pa.Table) -> pa.Table:
        """The columns in the order they were asked for."""
        endpoint = pa.array([None if self.endpoint == NO_ENDPOINT else self.endpoint] * len(made), pa.string())
        if self.columns is None:
            names = [name for name in made.column_names if name != "request_rows"]
            return made.select(names).add_column(names.index("at") + 1, "endpoint", endpoint)
        columns = {
            name: endpoint if name == "endpoint" else made[name] if name in made.column_names else pa.nulls(len(made))
            for name in dict.fromkeys(self.columns)
        }
        return pa.table(columns) if columns else made.select([])


def _answered(made: pa.Table, read: Callable[[list[tuple[float, float]]], list[pa.Table]], query: _Query) -> pa.Table:
    """Without rows of requests in parts of which some part is missing: neither in the time that is read, nor beside it.

    The parts of a request have times that differ by when clocks were read. `read`: those of times beside it.
    """
    parts = made.filter(pc.is_valid(made["request_rows"])).select(["id", "request_rows"])
    if not len(parts):
        return made
    counted = parts.group_by("id").aggregate([("request_rows", "count"), ("request_rows", "max")])
    incomplete = counted.filter(pc.less(counted["request_rows_count"], counted["request_rows_max"]))
    sides = _near_edges(made.filter(pc.is_in(made["id"], value_set=incomplete["id"].combine_chunks())), query)
    for more in read(sides) if sides else []:
        counts = more.filter(pc.is_valid(more["request_rows"])).group_by("id").aggregate([("request_rows", "count")])
        places = pc.index_in(incomplete["id"], value_set=counts["id"].combine_chunks())
        added = pc.fill_null(counts["request_rows_count"].take(places), 0)
        both = pc.add(incomplete["request_rows_count"], added)
        incomplete = incomplete.set_column(
            incomplete.column_names.index("request_rows_count"), "request_rows_count", both
        )
    incomplete = incomplete.filter(pc.less(incomplete["request_rows_count"], incomplete["request_rows_max"]))
    if not len(incomplete):
        return made
    lost = incomplete["id"].combine_chunks()
    missing = pc.and_(pc.is_valid(made["request_rows"]), pc.is_in(made["id"], value_set=lost))
    return made.filter(pc.invert(missing))


def _near_edges(incomplete: pa.Table, query: _Query) -> list[tuple[float, float]]:
    """Times beside the query's in which other parts of these rows' requests may be."""
    if not len(incomplete):
        return []
    ends = pc.min_max(incomplete["at"].cast(pa.int64())).as_py()
    before, after = query.since_s - PARTS_APART_S_MAX, query.until_s + PARTS_APART_S_MAX
    sides = [(before, query.since_s)] if ends["min"] / 1e6 < query.since_s + PARTS_APART_S_MAX else []
    return sides + ([(query.until_s, after)] if ends["max"] / 1e6 >= query.until_s - PARTS_APART_S_MAX else [])


def _hour(at_s: float) -> str:
    """As folders have it; times that no calendar has are its ends."""
    bounded = min(max(at_s, 0.0), datetime(9999, 1, 1, tzinfo=UTC).timestamp())
    return f"{datetime.fromtimestamp(bounded, UTC):%Y-%m-%dT%H}"
