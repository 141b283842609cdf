"""Files to import as blocks of typed columns, with the line of each row: Parquet and CSV. Called by importing.

A block's place in the file decides what its rows are called in the store, so blocks are the same however often, and on
whichever machine, a file is read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv
import pyarrow.parquet as pq

from tidegate.errors import InvalidArgument

Format = Literal["parquet", "csv"]
BLOCK_ROWS = 262_144
CSV_BYTES = 16 << 20
MISSING = ("", "NA", "NaN", "nan", "null", "None")
"""What a CSV has where there is no value."""

_TYPES = {
    "BOOL": pa.bool_(),
    "FP16": pa.float32(),
    "BF16": pa.float32(),
    "FP32": pa.float32(),
    "FP64": pa.float64(),
} | {f"{sign}INT{bits}": getattr(pa, f"{sign.lower()}int{bits}")() for sign in ("", "U") for bits in (8, 16, 32, 64)}


@dataclass(frozen=True)
class Bad:
    """A row that is left out: its line (CSV, from 1, the header's) or its place (Parquet, from 1), and why."""

    line: int
    reason: str


@dataclass(frozen=True)
class FileBlock:
    """Good rows so far, in the order of the file. `first_row`: the place of the block's first row, from 0."""

    table: pa.Table
    lines: Sequence[int]
    first_row: int
    bad: list[Bad] = field(default_factory=list)


def columns_of(path: Path, format: Format, name: str = "") -> list[str]:  # noqa: A002 - as users call it
    """The names of a file's columns; `name`: what messages call it. Raises `InvalidArgument`."""
    try:
        if format == "parquet":
            return list(pq.read_schema(path).names)
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (pa.ArrowException, OSError, ValueError, csv.Error) as error:
        raise _unreadable(name or path.name, format, error) from None
    if not header:
        raise _unreadable(name or path.name, format, ValueError("it is empty"))
    return header


def blocks_of(
    file: tuple[Path, str],
    format: Format,  # noqa: A002 - as users call it
    columns: Sequence[str],
    datatypes: Mapping[str, str],
) -> Iterator[FileBlock]:
    """The file's rows with these columns; a file is where it lies, and what messages call it.

    Raises `InvalidArgument` where it has not all of them, or cannot be read.
    """
    path, called = file
    there = columns_of(path, format, called)
    missing = [name for name in columns if name not in there]
    if missing:
        raise InvalidArgument(f"{called} has no column {missing[0]!r}; it has {', '.join(there[:20])}", field="columns")
    try:
        yield from _parquet(path, columns, datatypes) if format == "parquet" else _csv(path, columns, datatypes)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(called, format, error) from None


def _unreadable(name: str, format: Format, error: Exception) -> InvalidArgument:  # noqa: A002
    why = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InvalidArgument(f"{name} cannot be read as {format}: {why}", field="file")


def _parquet(path: Path, columns: Sequence[str], datatypes: Mapping[str, str]) -> Iterator[FileBlock]:
    with pq.ParquetFile(path) as file:
        first = 0
        for batch in file.iter_batches(batch_size=BLOCK_ROWS, columns=list(columns)):
            table = pa.Table.from_batches([batch])
            lines = np.arange(first + 1, first + 1 + len(table))
            yield _typed(FileBlock(table, lines.tolist(), first), datatypes)
            first += len(table)


def _csv(path: Path, columns: Sequence[str], datatypes: Mapping[str, str]) -> Iterator[FileBlock]:
    """All texts at first: a value that is of no use to its column costs its row, never the file.

    The types of columns whose datatype nobody knows are those of the first block's values.
    """
    odd: list[Bad] = []

    def keep(row: Any) -> str:
        why = f"{row.actual_columns} values where the header has {row.expected_columns}"
        odd.append(Bad(row.number, why))
        return "skip"

    options = pcsv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep)
    reading = pcsv.ReadOptions(block_size=CSV_BYTES, use_threads=False)
    known = dict(datatypes)
    with pcsv.open_csv(path, read_options=reading, parse_options=options, convert_options=_texts(columns)) as file:
        first = line = 0
        for batch in file:
            table = pa.Table.from_batches([batch])
            gaps, odd[:] = list(odd), []
            lines = _lines(len(table), line + 2, {each.line for each in gaps})
            known = {name: _guess(table[name]) for name in columns} | known
            yield _typed(FileBlock(table, lines, first, gaps), known)
            first, line = first + len(table), line + len(table) + len(gaps)


def _lines(rows: int, begin: int, gaps: set[int]) -> list[int]:
    """Numbers of the rows of a block, passing over those that were odd. A value with line breaks counts as one line."""
    found: list[int] = []
    line = begin
    while len(found) < rows:
        if line not in gaps:
            found.append(line)
        line += 1
    return found


def _texts(columns: Sequence[str]) -> pcsv.ConvertOptions:
    return pcsv.ConvertOptions(
        include_columns=list(columns),
        column_types=dict.fromkeys(columns, pa.string()),
        null_values=list(MISSING),
        strings_can_be_null=True,
    )


def _guess(column: pa.ChunkedArray) -> str:
    """INT64, FP64 or BOOL where every value there is one, else BYTES."""
    present = column.drop_null()
    if not len(present):
        return "BYTES"
    for datatype, pattern in (
        ("INT64", r"^[+-]?\d{1,18}$"),
        ("FP64", r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"),
        ("BOOL", r"^(true|false|True|False|TRUE|FALSE)$"),
    ):
        if pc.all(pc.match_substring_regex(present, pattern)).as_py():
            return datatype
    return "BYTES"


def _typed(block: FileBlock, datatypes: Mapping[str, str]) -> FileBlock:
    """With columns of these datatypes; rows that have a value which is none of its column's are left out."""
    good = np.ones(len(block.table), dtype=bool)
    reasons: dict[int, str] = {}
    made: dict[str, Any] = {}
    for name in block.table.column_names:
        wanted = _TYPES.get(datatypes.get(name, ""))
        column = block.table[name].combine_chunks()
        if wanted is None or column.type == wanted:
            made[name] = _plain(column)
            continue
        made[name], wrong = _cast(column, wanted)
        for place in wrong:
            value = column[place].as_py()
            reasons.setdefault(place, f"{str(value)[:60]!r} in {name!r} is no {datatypes[name]}")
        good[wrong] = False
    bad = [*block.bad, *(Bad(block.lines[place], reason) for place, reason in reasons.items())]
    table = pa.table(made).filter(pa.array(good))
    lines = [line for line, is_good in zip(block.lines, good.tolist(), strict=True) if is_good]
    return FileBlock(table, lines, block.first_row, sorted(bad, key=lambda each: each.line))


def _plain(column: pa.Array) -> pa.Array:
    """Dictionary columns as their values: the store's readers need not know them."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _cast(column: pa.Array, wanted: pa.DataType) -> tuple[pa.Array, list[int]]:
    """In the wanted type; where a value is none, null, and its place."""
    column = _plain(column)
    if pa.types.is_string(column.type) and pa.types.is_boolean(wanted):
        column = pc.utf8_lower(column)
    if pa.types.is_string(column.type) and pa.types.is_integer(wanted):
        column = pc.replace_substring_regex(column, r"^\+|\.0+$", "")
    try:
        return pc.cast(column, wanted, safe=not pa.types.is_floating(wanted)), []
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values: list[Any] = []
        wrong: list[int] = []
        for place, each in enumerate(column):
            try:
                values.append(pc.cast(each, wanted, safe=not pa.types.is_floating(wanted)).as_py())
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                values.append(None)
                if each.is_valid:
                    wrong.append(place)
        return pa.array(values, wanted), wrong
