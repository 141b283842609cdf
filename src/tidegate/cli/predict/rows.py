"""Rows out of a file for `predict --file`, shaped as the endpoint takes them: CSV, JSON, JSON lines, Parquet."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import orjson

from tidegate.client.resources.predictions import ModelMetadata
from tidegate.errors import InvalidArgument, MissingLibrary
from tidegate.wire.csv_fields import field_value

T = TypeVar("T")

Row = list[Any] | dict[str, Any]


def parse_json(text: str | bytes, where: str) -> Any:
    """JSON, or `InvalidArgument` with the line and column where it ends to be."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(
            f"{where} is not JSON: {error.msg} at line {error.lineno} column {error.colno}", field=where
        ) from None


def batched(rows: Iterable[T], size_max: int) -> Iterator[list[T]]:
    """Lists of at most `size_max` rows."""
    iterator = iter(rows)
    while batch := list(islice(iterator, size_max)):
        yield batch


def read_rows(path: Path, metadata: ModelMetadata) -> Iterator[Row]:
    """The file's rows: records where the model has named columns, else lists. Raises `InvalidArgument`."""
    readers = {".csv": _csv, ".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines, ".parquet": _parquet}
    return reader_of(path, readers)(path, metadata)


def reader_of(path: Path, readers: Mapping[str, T]) -> T:
    """What reads a file, by how its name ends. Raises `InvalidArgument` for another, or for no file."""
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InvalidArgument(f"{path} is none of {', '.join(readers)}: its name tells how it is read", field="file")
    if not path.is_file():
        raise InvalidArgument(f"there is no file {path}", field="file")
    return reader


def column_types(metadata: ModelMetadata) -> dict[str, str] | None:
    """Datatypes by column where the model was trained on named columns (one 1-D tensor each), else None."""
    if all(len(tensor.shape) == 1 for tensor in metadata.inputs):
        return {tensor.name: tensor.datatype for tensor in metadata.inputs}
    return None


def _csv(path: Path, metadata: ModelMetadata) -> Iterator[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            lines = (line for line in csv.reader(stream) if line)
            first = next(lines, None)
            if first is not None:
                yield from _csv_rows(first, lines, path, metadata)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidArgument(f"{path} is not a CSV file in UTF-8: {error}", field="file") from None


def _csv_rows(
    first: Sequence[str], lines: Iterable[Sequence[str]], path: Path, metadata: ModelMetadata
) -> Iterator[Row]:
    types = column_types(metadata)
    datatype = metadata.inputs[0].datatype if metadata.inputs else "FP64"  # of a model without named columns
    header = list(first) if _is_header(first, types) else None
    width = len(first)
    for number, line in enumerate(_all_lines(first, lines, header is None), start=1 if header is None else 2):
        if len(line) != width:
            raise InvalidArgument(
                f"{path}, row {number}: {len(line)} cells where the first row has {width}", field="file"
            )
        if types is not None and header is not None:
            cells = zip(header, line, strict=True)
            yield {name: _value(cell, types[name]) for name, cell in cells if name in types}
        elif types is not None and len(types) == width:
            yield [_value(cell, one) for cell, one in zip(line, types.values(), strict=True)]
        else:
            yield [_value(cell, datatype) for cell in line]


def _all_lines(first: Sequence[str], rest: Iterable[Sequence[str]], with_first: bool) -> Iterator[Sequence[str]]:
    if with_first:
        yield first
    yield from rest


def _is_header(first: Sequence[str], types: dict[str, str] | None) -> bool:
    if types is not None:
        return any(cell in types for cell in first)
    # A data frame without column names is saved with the header 0,1,2,….
    counted = list(first) == [str(index) for index in range(len(first))] and len(first) > 1
    return counted or any(isinstance(_value(cell, "FP64"), str) for cell in first)


def _value(text: str, datatype: str) -> Any:
    """As the gateway reads a field of such a column. NaN is null in JSON, and what else JSON cannot say stays text."""
    value = field_value(text, datatype, nullable=True)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else text
    return value


def _json(path: Path, _metadata: ModelMetadata) -> Iterator[Row]:
    document = parse_json(path.read_bytes(), str(path))
    rows = document.get("features", document) if isinstance(document, dict) else document
    if isinstance(rows, dict) or (rows and isinstance(rows, list) and not isinstance(rows[0], list | dict)):
        rows = [rows]
    if not isinstance(rows, list):
        raise InvalidArgument(f"{path} holds no rows: give a list of rows, or {{'features': […]}}", field="file")
    yield from rows


def _json_lines(path: Path, _metadata: ModelMetadata) -> Iterator[Row]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield parse_json(line, f"{path}, line {number}")


def _parquet(path: Path, metadata: ModelMetadata) -> Iterator[Row]:
    if find_spec("pyarrow") is None:
        raise MissingLibrary("reading Parquet needs pyarrow: pip install pyarrow", library="pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = column_types(metadata)
    try:
        for batch in pq.ParquetFile(path).iter_batches(1024):
            for record in batch.to_pylist():
                yield list(record.values()) if types is None else {k: v for k, v in record.items() if k in types}
    except (pa.ArrowException, OSError) as error:
        raise InvalidArgument(f"{path} is not a Parquet file: {error}", field="file") from None
