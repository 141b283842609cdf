"""Rows that were predicted elsewhere into the capture store: a Parquet or CSV file with the times of its rows.

**Each row once.** Files in the store are named by the hash of the imported file and the row that a piece begins with:
importing it again, also after a kill, writes the same files again, and what an earlier import of the same file wrote
under other options is removed at the end. Called by the import job; no control plane is needed.

    STORE/predictions/endpoint=flights/hour=2013-07-01T09/import-HASH-ROW-SHAPE.parquet    (and feedback)
"""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidegate.capture.compact import write_parquet
from tidegate.capture.files import Files, files_in, is_parquet
from tidegate.capture.imports.files import Bad, FileBlock, Format, blocks_of
from tidegate.capture.imports.rules import ImportRules
from tidegate.capture.retention import IMPORTED
from tidegate.capture.rows import PREDICTIONS
from tidegate.errors import InvalidArgument
from tidegate.wire.journal.records import recorded_unit

AHEAD_S_MAX = 300.0
BAD_MAX = 100
"""Rows that were left out and are listed with their reasons, at most; all are counted."""
_AT = pa.timestamp("us", tz="UTC")
_HASH_CHARS = 20
_FEEDBACK = pa.schema(
    {"id": pa.string(), "row": pa.int64(), "key": pa.string(), "event": pa.string(), "at": _AT, "received_at": _AT}
    | {"label": pa.string(), "metrics": pa.map_(pa.string(), pa.float64()), "experiment": pa.string()}
)


@dataclass(frozen=True)
class ImportColumns:
    """Which column of the file is what. `inputs`, `outputs`: names in the file → tensors' names; others are left out.

    `datatypes`: of tensors by name, as the signature has them. Without `label_time` a label is as old as its row.
    `timezone`: of times that name none.
    """

    time: str
    id: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    datatypes: Mapping[str, str] = field(default_factory=dict)
    label: str | None = None
    label_time: str | None = None
    key: str | None = None
    timezone: str = "UTC"

    @property
    def used(self) -> list[str]:
        """Every column of the file that is read."""
        roles = [self.time, self.id, *self.inputs, *self.outputs, self.label, self.label_time, self.key]
        return list(dict.fromkeys(name for name in roles if name is not None))

    def datatypes_of_file(self) -> dict[str, str]:
        """The datatype of a column of the file, where its tensor's is known."""
        both = {**self.inputs, **self.outputs}
        return {name: self.datatypes[tensor] for name, tensor in both.items() if tensor in self.datatypes}


@dataclass(frozen=True)
class ImportTarget:
    """Whose rows they become, and by which rules; `file` is what messages call the file that they are of."""

    endpoint: str
    version: str
    file: str = ""
    rules: ImportRules = ImportRules()


@dataclass
class Imported:
    """What one file came to. `bad`: the first rows that were left out, and why; `refused` counts all of them."""

    rows: int = 0
    labels: int = 0
    refused: int = 0
    bad: list[Bad] = field(default_factory=list)
    first_at_s: float | None = None
    last_at_s: float | None = None

    def refuse(self, bad: list[Bad]) -> None:
        self.refused += len(bad)
        self.bad = [*self.bad, *bad][:BAD_MAX]

    def add(self, other: Imported) -> None:
        """Of several files."""
        self.rows, self.labels = self.rows + other.rows, self.labels + other.labels
        self.refused, self.bad = self.refused + other.refused, [*self.bad, *other.bad][:BAD_MAX]
        firsts = [each for each in (self.first_at_s, other.first_at_s) if each is not None]
        lasts = [each for each in (self.last_at_s, other.last_at_s) if each is not None]
        self.first_at_s, self.last_at_s = min(firsts, default=None), max(lasts, default=None)


def import_file(
    path: Path,
    format: Format,  # noqa: A002 - as users call it
    columns: ImportColumns,
    target: ImportTarget,
    store: Path | Files,
    now_s: float,
) -> Imported:
    """Write the file's rows into the store. Raises `InvalidArgument` for a file that cannot be read, `OSError`.

    A row without a time or an id, from the future, with an id that an earlier row of the file has, or with a value that
    its column cannot hold is left out, and told.
    """
    files = files_in(store)
    name = f"{IMPORTED}{_hash(path)[:_HASH_CHARS]}"
    done, written, ids = Imported(), set(), _Ids()
    for block in blocks_of((path, target.file or path.name), format, columns.used, columns.datatypes_of_file()):
        rows, bad = _rows(block, columns, target, now_s, ids)
        done.refuse(sorted([*block.bad, *bad], key=lambda one: one.line))
        labels = _labels(rows, columns)
        done.rows, done.labels = done.rows + len(rows), done.labels + len(labels)
        if len(rows):
            ends = pc.min_max(pc.cast(rows["at"], pa.int64())).as_py()
            done.add(Imported(first_at_s=ends["min"] / 1e6, last_at_s=ends["max"] / 1e6))
        made = rows.drop_columns([each for each in ("_label", "_label_at") if each in rows.column_names])
        piece = f"{name}-{block.first_row:012d}"
        written |= _write(files, ("predictions", target.endpoint), made, piece)
        written |= _write(files, ("feedback", target.endpoint), labels, piece)
    _remove_others(files, target.endpoint, name, written)
    return done


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Ids:
    """Ids of the rows so far: a second row of an id is another import's retry gone wrong, or no id at all."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def repeated(self, ids: list[str | None]) -> list[bool]:
        found = []
        for each in ids:
            found.append(each is not None and each in self._seen)
            if each is not None:
                self._seen.add(each)
        return found


def _rows(
    block: FileBlock, columns: ImportColumns, target: ImportTarget, now_s: float, ids: _Ids
) -> tuple[pa.Table, list[Bad]]:
    """The block's good rows as the store has them, with `_label` and `_label_at`; and why the others are none."""
    table = block.table
    at, bad_time = _times(table[columns.time], columns.timezone)
    texts = pc.cast(table[columns.id], pa.string()).to_pylist()
    late = round((now_s + AHEAD_S_MAX) * 1e6)
    reasons: dict[int, str] = {}
    for place in np.flatnonzero(bad_time).tolist():
        value = table[columns.time][place].as_py()
        reasons[place] = (
            f"no time in {columns.time!r}" if value is None else f"{value!r} in {columns.time!r} is no time"
        )
    for place in np.flatnonzero(~bad_time & (at > late)).tolist():
        reasons.setdefault(place, f"its time {table[columns.time][place].as_py()} is in the future")
    for place, text in enumerate(texts):
        if not text:
            reasons.setdefault(place, f"no id in {columns.id!r}")
    for place, again in enumerate(
        ids.repeated([None if place in reasons else text for place, text in enumerate(texts)])
    ):
        if again:
            reasons.setdefault(place, f"the id {texts[place][:60]!r} is that of an earlier row")
    good = np.array([place not in reasons for place in range(len(table))], dtype=bool)
    bad = [Bad(block.lines[place], reason) for place, reason in sorted(reasons.items())]
    kept = table.filter(pa.array(good))
    return _as_stored(kept, at[good], columns, target), bad


def _as_stored(
    kept: pa.Table, at: np.ndarray[Any, np.dtype[np.int64]], columns: ImportColumns, target: ImportTarget
) -> pa.Table:
    rows = len(kept)
    own: dict[str, Any] = {
        "id": pc.cast(kept[columns.id], pa.string()),
        "row": pa.array(np.zeros(rows, np.int64)),
        "at": pa.array(at, pa.int64()).cast(_AT),
        "version": pa.array([target.version] * rows, pa.string()),
        "variant": pa.array([target.version] * rows, pa.string()),
        "assigned": pa.array([target.version] * rows, pa.string()),
        "pinned": pa.array(np.zeros(rows, bool)),
        "code": pa.array(np.full(rows, 200, np.int16)),
        "cached": pa.array(np.zeros(rows, bool)),
        "sample_rate": pa.array(np.ones(rows)),
    }
    if columns.key is not None:
        keys = pc.cast(kept[columns.key], pa.string()).to_pylist()
        own["key"] = pa.array([target.rules.key(recorded_unit(one)) for one in keys], pa.string())
    made = {each.name: own.get(each.name, pa.nulls(rows, each.type)) for each in PREDICTIONS}
    for role, given in (("input", columns.inputs), ("output", columns.outputs)):
        for name, tensor in target.rules.kept(given).items():
            made[f"{role}_{tensor}"] = target.rules.column(tensor, kept[name])
    if columns.label is not None:
        made["_label"] = kept[columns.label]
        if columns.label_time is not None:
            label_at, none = _times(kept[columns.label_time], columns.timezone)
            made["_label_at"] = pa.array(label_at, mask=none)
        else:
            made["_label_at"] = pa.array(at, pa.int64())
    return pa.table(made)


def _labels(rows: pa.Table, columns: ImportColumns) -> pa.Table:
    """Feedback for the rows whose label there is, each an event of its own that a second import does not repeat."""
    if columns.label is None or not len(rows):
        return _FEEDBACK.empty_table()
    known = pc.and_(pc.is_valid(rows["_label"]), pc.is_valid(rows["_label_at"]))
    of = rows.filter(known)
    values = [_plain(each) for each in of["_label"].to_pylist()]
    of = of.filter(pa.array([each is not None for each in values], pa.bool_()))
    at = pc.cast(of["_label_at"], pa.int64()).cast(_AT)
    given = {
        "id": of["id"],
        "at": at,
        "received_at": at,
        "label": pa.array([json.dumps(each) for each in values if each is not None], pa.string()),
    }
    return pa.table({each.name: given.get(each.name, pa.nulls(len(of), each.type)) for each in _FEEDBACK})


def _plain(label: Any) -> Any:
    """A label as JSON has it; None where there is none."""
    if label is None or (isinstance(label, float) and math.isnan(label)):
        return None
    return label if isinstance(label, bool | int | float | str) else str(label)


def read_times(column: pa.ChunkedArray, timezone: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Microseconds since 1970 (UTC), and which are none. Raises `InvalidArgument` for a column of another type."""
    return _times(column, timezone)


def _times(column: pa.ChunkedArray, timezone: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Microseconds since 1970 (UTC), and which are none: times, ISO 8601 texts, or numbers of seconds."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = _of_texts(array, timezone)
    elif pa.types.is_timestamp(array.type) and array.type.tz is None:
        array = _local(array, timezone)
    if pa.types.is_timestamp(array.type):
        numbers = pc.cast(pc.cast(array, _AT, safe=False), pa.int64())
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        numbers = pc.cast(array, pa.float64(), safe=False)
        seconds = numbers.fill_null(float("nan")).to_numpy(zero_copy_only=False)
        bad = ~np.isfinite(seconds) | (np.abs(seconds) > 2**33)
        return np.rint(np.where(bad, 0.0, seconds) * 1e6).astype(np.int64), bad
    else:
        raise InvalidArgument(
            f"a column of {array.type} has no times: give times, ISO 8601 texts or seconds since 1970"
        )
    bad = pc.is_null(numbers).to_numpy(zero_copy_only=False)
    return numbers.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64), bad


def _of_texts(array: pa.Array, timezone: str) -> pa.Array:
    """Texts of numbers are seconds; those with an offset are what they say, others are times of the time zone."""
    trimmed = pc.utf8_trim_whitespace(array)
    present = trimmed.filter(pc.and_kleene(pc.is_valid(trimmed), pc.not_equal(trimmed, "")))
    if len(present) and pc.all(pc.match_substring_regex(present, r"^-?\d+(\.\d+)?$")).as_py():
        return pc.cast(pc.if_else(pc.equal(trimmed, ""), None, trimmed), pa.float64())
    zoned = pc.match_substring_regex(trimmed, r"(Z|[+-]\d\d:?\d\d)$")
    looks = pc.match_substring_regex(
        trimmed, r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?(Z|[+-]\d\d:?\d\d)?$"
    )
    naive = _parsed(pc.if_else(pc.and_(looks.fill_null(False), pc.invert(zoned.fill_null(False))), trimmed, None), None)
    with_zone = _parsed(pc.if_else(pc.and_(looks.fill_null(False), zoned.fill_null(False)), trimmed, None), "UTC")
    return pc.coalesce(with_zone, _local(naive, timezone))


def _parsed(texts: pa.Array, zone: str | None) -> pa.Array:
    """Dates that no calendar has (the 31st of February) are null."""
    wanted = pa.timestamp("us", tz=zone)
    try:
        return pc.cast(texts, wanted)
    except pa.ArrowInvalid:
        return pa.array([_one(each, wanted) for each in texts.to_pylist()], wanted)


def _one(text: str | None, wanted: pa.DataType) -> Any:
    try:
        return None if text is None else pa.scalar(text).cast(wanted).as_py()
    except pa.ArrowInvalid:
        return None


def _local(array: pa.Array, timezone: str) -> pa.Array:
    """An hour that the clock is put forward over is the later one; one that comes twice is the first."""
    return pc.assume_timezone(
        pc.cast(array, pa.timestamp("us")), timezone, ambiguous="earliest", nonexistent="latest"
    ).cast(_AT)


def _write(files: Files, place: tuple[str, str], table: pa.Table, piece: str) -> set[str]:
    """A file for each hour, in the order of the rows."""
    written: set[str] = set()
    for hour, rows in _by_hour(table):
        shape = [(each.name, str(each.type)) for each in rows.schema]
        folder = f"{place[0]}/endpoint={place[1]}/hour={hour}"
        name = f"{folder}/{piece}-{zlib.crc32(msgspec.json.encode(shape)):08x}.parquet"
        write_parquet(files, name, rows)
        written.add(name)
    return written


def _by_hour(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    if not len(table):
        return
    hours = pc.cast(table["at"], pa.int64()).to_numpy() // 3_600_000_000
    order = np.argsort(hours, kind="stable")
    found, starts = np.unique(hours[order], return_index=True)
    sorted_rows = table.take(pa.array(order))
    for place, hour in enumerate(found.tolist()):
        end = starts[place + 1] if place + 1 < len(starts) else len(order)
        yield str(np.datetime64(hour, "h")), sorted_rows.slice(int(starts[place]), int(end - starts[place]))


def _remove_others(files: Files, endpoint: str, name: str, written: set[str]) -> None:
    for table in ("predictions", "feedback"):
        found = {file.name for file in files.below(f"{table}/endpoint={endpoint}") if is_parquet(file.name)}
        files.delete(one for one in found - written if one.rpartition("/")[2].startswith(f"{name}-"))
