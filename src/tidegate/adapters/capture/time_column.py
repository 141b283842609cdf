"""Takes the column with the times out of a table of rows, which a model is asked without. For the baseline job."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from tidegate.errors import InvalidArgument

Seconds = np.ndarray[Any, np.dtype[np.float64]]
FIELD_CHARS_MAX = 1 << 24


def without_times(path: Path, filename: str, column: str, timezone: str, into: Path) -> Seconds:
    """Write the table without the column, and return when each row was (seconds since 1970), in the rows' order.

    Times, ISO 8601 texts (those without an offset are of the time zone) or seconds since 1970. Raises `InvalidArgument`
    where there is no such column, or a row without a time, with its number.
    """
    taken = _of_parquet if filename.lower().endswith(".parquet") else _of_csv
    try:
        times, bad = taken(path, column, timezone, into)
    except (OSError, ValueError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        raise InvalidArgument(f"{filename} cannot be read: {error}", field="data") from error
    if bad.any():
        first = int(np.flatnonzero(bad)[0]) + 1
        raise InvalidArgument(
            f"row {first} of {filename} has no time in column {column!r} ({int(bad.sum())} such rows): give times, ISO "
            "8601 texts or seconds since 1970 in each",
            field="time_column",
        )
    return np.asarray(times / 1e6, dtype=np.float64)


def _of_parquet(path: Path, column: str, timezone: str, into: Path) -> tuple[Any, Any]:
    import pyarrow.parquet as pq

    from tidegate.capture.imports.importing import read_times

    table = pq.read_table(path)
    _check_there(column, table.column_names)
    times = read_times(table[column], timezone)
    pq.write_table(table.drop_columns([column]), into)
    return times


def _of_csv(path: Path, column: str, timezone: str, into: Path) -> tuple[Any, Any]:
    import pyarrow as pa

    from tidegate.capture.imports.importing import read_times

    before = csv.field_size_limit(FIELD_CHARS_MAX)
    texts: list[str | None] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as source, into.open("w", encoding="utf-8", newline="") as out:
            reader, writer = csv.reader(source), csv.writer(out)
            header = next(reader, [])
            _check_there(column, header)
            at = header.index(column)
            writer.writerow(header[:at] + header[at + 1 :])
            for row in reader:
                if not row:
                    continue
                texts.append(row[at] if at < len(row) else None)
                writer.writerow(row[:at] + row[at + 1 :])
    finally:
        csv.field_size_limit(before)
    return read_times(pa.chunked_array([pa.array(texts, pa.string())]), timezone)


def _check_there(column: str, names: list[str]) -> None:
    if column not in names:
        raise InvalidArgument(
            f"there is no column {column!r}: there are {', '.join(names[:20])}" + (", …" if len(names) > 20 else ""),
            field="time_column",
        )
