"""Events out of a file of labels: CSV, JSON, JSON lines, Parquet. Each row with its line, and what is wrong with it."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import orjson

from tidegate.cli.predict.rows import reader_of
from tidegate.client.resources.feedback import encode_event
from tidegate.errors import InvalidArgument, MissingLibrary, TidegateError
from tidegate.wire.capture.feedback import event_of, read_items

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Columns:
    """Which columns have what. `given` are those that the command line names: they must be there."""

    id: str = "id"
    key: str = "key"
    label: str = "label"
    at: str = "at"
    row: str = "row"
    event: str = "event"
    metrics: tuple[str, ...] = ()
    given: frozenset[str] = frozenset()


@dataclass(frozen=True)
class LabelLine:
    """A row of the file: its line (or its number, where a file has no lines), and its event as JSON, or why it is none.

    `share` is how much of the file is read by then.
    """

    number: int
    share: float
    event: bytes | None
    reason: str = ""


def read_lines(path: Path, columns: Columns, endpoint: str, now_s: float) -> Iterator[LabelLine]:
    """The file's rows in their order. Raises `InvalidArgument` where the file itself cannot be read.

    `now_s`, since the epoch: events are not of the future.
    """
    readers = {".csv": _csv, ".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}
    reader = reader_of(path, readers)
    checked = False
    for number, share, record in reader(path):
        if isinstance(record, str):
            yield LabelLine(number, share, None, record)
            continue
        if not checked:
            _check_columns(path, columns, record)
            checked = True
        yield _line(number, share, record, columns, (endpoint, now_s))


def _check_columns(path: Path, columns: Columns, first: Record) -> None:
    names = ", ".join(map(str, first)) or "none"
    for name in sorted(columns.given):
        if name not in first:
            raise InvalidArgument(f"{path} has no column {name!r}; it has: {names}", field="file")
    if columns.id not in first and columns.key not in first:
        raise InvalidArgument(
            f"{path} has neither {columns.id!r} nor {columns.key!r}, and has: {names}: say which column has the "
            "requests' ids with --id-column, or the units' keys with --key-column",
            field="file",
        )
    if columns.label not in first and not columns.metrics and "metrics" not in first:
        raise InvalidArgument(
            f"{path} has no column {columns.label!r}; it has: {names}: say which has the labels with --label-column, "
            "or which have metrics with --metric",
            field="file",
        )


def _line(number: int, share: float, record: Record, columns: Columns, known: tuple[str, float]) -> LabelLine:
    endpoint, now_s = known
    try:
        body = encode_event(_event(record, columns), endpoint)
        (item,) = read_items(body)
        event_of(item, number, now_s)
    except TidegateError as error:
        return LabelLine(number, share, None, error.message.partition(": ")[2] or error.message)
    return LabelLine(number, share, body)


def _event(record: Record, columns: Columns) -> dict[str, Any]:
    """The fields of one row; an empty cell has no value."""

    def cell(name: str) -> Any:
        value = record.get(name)
        return None if isinstance(value, str) and not value.strip() else value

    event: dict[str, Any] = {"id": _text(cell(columns.id)), "event": _text(cell(columns.event))}
    if event["id"] is None:
        event["key"] = _text(cell(columns.key))
    event["row"] = _number(cell(columns.row), columns.row)
    event["label"] = _label(cell(columns.label))
    event["at"] = _at(cell(columns.at))
    metrics = {name: _number(cell(name), name) for name in columns.metrics}
    event["metrics"] = {name: value for name, value in metrics.items() if value is not None} or record.get("metrics")
    return event


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return int(value) if value.strip().lstrip("+-").isdigit() else float(value)
    except ValueError:
        raise InvalidArgument(f"{name}: {value[:40]!r} is no number") from None


def _label(value: Any) -> Any:
    """A CSV's text as a number where it is written as JSON would write that number, or a list; else as it stands."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text[:1] == "[":
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return value
    try:
        number = float(text)
        same = (
            str(int(text)) == text if text.lstrip("-").isdigit() else not number.is_integer() and repr(number) == text
        )
    except (ValueError, OverflowError):
        return value
    return (int(text) if text.lstrip("-").isdigit() else number) if same else value


def _at(value: Any) -> Any:
    """RFC 3339; a time without a zone is in UTC, and `2026-01-31 12:00:00+02:00` is taken too."""
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError:
            return value
    if not isinstance(moment, datetime):
        return value if value is None else str(value)
    return moment.isoformat() if moment.tzinfo else moment.replace(tzinfo=UTC).isoformat()


Found = Iterator[tuple[int, float, Record | str]]


def _csv(path: Path) -> Found:
    size, read = max(1, path.stat().st_size), 0

    def lines(stream: Iterable[bytes]) -> Iterator[str]:
        nonlocal read
        for line in stream:
            read += len(line)
            yield line.decode("utf-8-sig" if read == len(line) else "utf-8")

    with path.open("rb") as stream:
        reader = csv.reader(lines(stream))
        try:
            header = next((line for line in reader if line), None)
            while header is not None and (cells := next(reader, None)) is not None:
                if not cells:
                    continue
                fits = len(cells) == len(header)
                wrong = f"{len(cells)} cells where the header has {len(header)}"
                yield reader.line_num, read / size, dict(zip(header, cells, strict=True)) if fits else wrong
        except (UnicodeDecodeError, csv.Error) as error:
            raise InvalidArgument(
                f"{path} is not a CSV file in UTF-8, at line {reader.line_num + 1}: {error}", field="file"
            ) from None


def _json_lines(path: Path) -> Found:
    size, read = max(1, path.stat().st_size), 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            read += len(line)
            if line.strip():
                yield number, read / size, _record(line)


def _record(text: bytes) -> Record | str:
    try:
        record = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {error.msg} at column {error.colno}"
    return record if isinstance(record, dict) else "not an object with the event's fields"


def _json(path: Path) -> Found:
    from tidegate.cli.predict.rows import parse_json

    document = parse_json(path.read_bytes(), str(path))
    records = document if isinstance(document, list) else [document]
    for number, record in enumerate(records, start=1):
        wrong = "not an object with the event's fields"
        yield number, number / len(records), record if isinstance(record, dict) else wrong


def _parquet(path: Path) -> Found:
    if find_spec("pyarrow") is None:
        raise MissingLibrary("reading Parquet needs pyarrow: pip install pyarrow", library="pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        file = pq.ParquetFile(path)
        for batch in file.iter_batches(1024):
            for record in batch.to_pylist():
                number += 1
                yield number, number / max(1, file.metadata.num_rows), record
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument(f"{path} is not a Parquet file: {error}", field="file") from None
