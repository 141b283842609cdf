"""SQL over what was captured of an endpoint: DuckDB on Arrow tables, in a process of its own.

    python -m tidegate.capture.sql CAPTURE JOURNAL [URL ENDPOINT_URL] < query.json

The engine is given the tables and nothing else: it opens no file, reaches no network, loads no extension, reads no
variable of this process, and its settings cannot be changed. The process has a bound on memory, and whoever started it
ends it when its time is up, whatever it is doing. Standard output is the answer: JSON, or an Arrow stream whose schema
says in its metadata whether there were more rows. What is wrong with a query is one line of JSON on standard error, and
the exit code 1.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from tidegate.capture.labels import Table
from tidegate.capture.location import Location
from tidegate.capture.naming import name_columns
from tidegate.capture.rows import NO_ENDPOINT
from tidegate.capture.store import CaptureStore
from tidegate.errors import CaptureUnreadable, QueryRefused, QueryTooLarge, TidegateError
from tidegate.system.ending import end
from tidegate.wire.capture.capture import ARROW_TYPE, TRUNCATED, CaptureSelection
from tidegate.wire.decoding import json_decoder
from tidegate.wire.numbers import finite

ENGINE_BYTES = 1 << 30
PROCESS_BYTES_MAX = 6 << 30
"""Of addresses, which libraries reserve more of than they use."""
ANSWER_BYTES_MAX = 256 << 20
CHUNK_ROWS = 2048
ALONE_S = 120
"""The process ends by itself after so long, whatever it is doing: whoever started it may have been killed."""
SETTINGS = {
    "TimeZone": "UTC",
    "threads": 2,
    "memory_limit": f"{ENGINE_BYTES >> 20}MiB",
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
    "enable_external_access": False,
}
"""In this order: after the last one, folders cannot be set any more."""


_queries = json_decoder(CaptureSelection)

Source = Callable[[CaptureStore, CaptureSelection], pa.Table]


def _of(table: Table) -> Source:
    return lambda store, query: store.rows(table, query.endpoint, query.since_s, query.until_s, version=query.version)


def _labelled(store: CaptureStore, query: CaptureSelection) -> pa.Table:
    return store.labelled(query.endpoint, query.since_s, query.until_s, version=query.version)


def _feedback(store: CaptureStore, query: CaptureSelection) -> pa.Table:
    """What names the endpoint, and what names none (its endpoint is null), which joins by id."""
    times = (query.since_s, query.until_s)
    return pa.concat_tables([store.rows("feedback", place, *times) for place in (query.endpoint, NO_ENDPOINT)])


VIEWS: dict[str, Source] = {
    "predictions": _of("predictions"),
    "labelled": _labelled,
    "feedback": _feedback,
    "failures": _of("failures"),
    "shadow_predictions": _of("shadow_predictions"),
    "shadow_failures": _of("shadow_failures"),
    "monitor_results": _of("monitor_results"),
}
"""What a query can select from. Only those that its text names are read."""


def answer(store: CaptureStore, query: CaptureSelection) -> tuple[pa.Table, bool]:
    """The rows, at most `rows_max`, and whether there were more. Raises `QueryRefused`, `QueryTooLarge`."""
    with duckdb.connect(":memory:") as connection:
        for name, value in SETTINGS.items():
            connection.execute(f"SET {name} = {value!r}")
        statement = _checked(connection, query.sql)
        for name, source in VIEWS.items():
            if re.search(rf"\b{name}\b", query.sql, re.IGNORECASE):
                connection.register(name, name_columns(source(store, query), query.names))
        connection.execute("SET lock_configuration = true")
        try:
            return _fetched(connection.sql(statement).to_arrow_reader(CHUNK_ROWS), query.rows_max)
        except duckdb.OutOfMemoryException:
            raise QueryTooLarge("the query needs more memory than one may: narrow its time, or select less") from None
        except duckdb.Error as error:
            raise QueryRefused(_said(error)) from None


def _checked(connection: duckdb.DuckDBPyConnection, sql: str) -> Any:
    """The one statement of the text. Raises `QueryRefused`."""
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryRefused(_said(error) + _hint(sql)) from None
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(one.type.name for one in statements[:3]) or "nothing"
        raise QueryRefused(
            f"a query is one SELECT over {', '.join(VIEWS)}, and this is {len(statements)} statements: {kinds}"
            if len(statements) > 1
            else f"a query is one SELECT over {', '.join(VIEWS)}, and this is {kinds}"
        )
    return statements[0]


def _fetched(reader: pa.RecordBatchReader, rows_max: int) -> tuple[pa.Table, bool]:
    batches, rows, size = [], 0, 0
    for batch in reader:
        batches.append(batch)
        rows, size = rows + len(batch), size + batch.nbytes
        if size > ANSWER_BYTES_MAX:
            raise QueryTooLarge(f"the answer is larger than {ANSWER_BYTES_MAX >> 20} MiB: select less, or add a LIMIT")
        if rows > rows_max:
            break
    table = pa.Table.from_batches(batches, reader.schema)
    return table.slice(0, rows_max), rows > rows_max


def _hint(sql: str) -> str:
    """Of a text that cannot be parsed: which columns' names are words of SQL, where it has one without quotes."""
    bare = re.search(r"""(?<!["'\w])(at|row)(?!["'\w])""", sql, re.IGNORECASE)
    return '\nat and row are words of SQL: write "at" and "row" for the columns' if bare else ""


def _said(error: Exception) -> str:
    """DuckDB's words, without what belongs to its own errors' form."""
    return str(error).strip().replace("\n\n", "\n")[:2000]


def plain(value: Any) -> Any:
    """A value as JSON has it: times as RFC 3339, what is no number null, bytes as escaped text."""
    match value:
        case float() | decimal.Decimal():
            return finite(float(value))
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat().replace("+00:00", "Z")
        case dict():
            return {str(key): plain(one) for key, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case bytes():
            return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str | int | None) else str(value)


def _body(table: pa.Table, form: str, *, truncated: bool) -> bytes:
    if form == "arrow":
        table = table.replace_schema_metadata({TRUNCATED: str(truncated).lower()})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())
    rows: list[msgspec.Raw] = []
    size_bytes = 0
    for batch in table.to_batches(CHUNK_ROWS):
        made = [msgspec.json.encode(plain(row)) for row in _objects(batch)]
        size_bytes += sum(map(len, made))
        if size_bytes > ANSWER_BYTES_MAX:
            raise QueryTooLarge(
                f"the answer is larger than {ANSWER_BYTES_MAX >> 20} MiB as JSON: select less, add a LIMIT, or ask for "
                f"it as {ARROW_TYPE}"
            )
        rows += map(msgspec.Raw, made)
    return msgspec.json.encode({"columns": table.column_names, "rows": rows, "truncated": truncated})


def _objects(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except (OverflowError, ValueError) as error:
        raise QueryRefused(
            f"a value of the answer has no form in JSON ({error}): select it as text, as in at::VARCHAR"
        ) from None
    return rows


def main(argv: list[str] | None = None) -> int:
    """Answer the query on standard input."""
    folder, journal, *where = argv or sys.argv[1:]
    url, endpoint_url = (*(one or None for one in where), None, None)[:2]
    signal.alarm(ALONE_S)
    resource.setrlimit(resource.RLIMIT_AS, (PROCESS_BYTES_MAX, PROCESS_BYTES_MAX))
    try:
        query = _queries.decode(sys.stdin.buffer.read())
        table, truncated = answer(CaptureStore(Location(Path(folder), url, endpoint_url).files(), Path(journal)), query)
        sys.stdout.buffer.write(_body(table, query.form, truncated=truncated))
    except TidegateError as error:
        return _fail(error)
    except MemoryError:
        return _fail(QueryTooLarge("what the query reads does not fit into its memory: narrow its time"))
    except (OSError, pa.ArrowException) as error:
        why = getattr(error, "strerror", None) or error
        return _fail(CaptureUnreadable(f"what was captured cannot be read: {why}"))
    return 0


def _fail(error: TidegateError) -> int:
    sys.stderr.buffer.write(msgspec.json.encode({"code": error.code, "error": error.message}) + b"\n")
    return 1


if __name__ == "__main__":
    end(main())
