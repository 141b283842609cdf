"""`capture`: what gateways recorded of an endpoint, by SQL."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.app import App, command
from tidegate.cli.endpoints.performance import seconds
from tidegate.cli.output import table
from tidegate.errors import InvalidArgument
from tidegate.wire.capture.capture import ROWS_MAX, CaptureAnswer, CaptureQueryRequest

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_ROWS = 20
NEWEST = 'SELECT * FROM predictions ORDER BY predictions."at" DESC, id, "row"'
SHOWN, WIDTH = ("at", "id", "row", "version"), 80
"""Of every row; then its outputs and inputs, as many as fit."""
CELL_CHARS_MAX = 40
FORMS = (".parquet", ".csv")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")


@command(
    "capture",
    "tidegate capture churn",
    "tidegate capture churn --since 7d --version 3 --out rows.parquet",
    "tidegate capture churn --sql 'SELECT version, count(*) FROM predictions GROUP BY version'",
    'tidegate capture churn --sql "SELECT reason, sum(calls) FROM failures GROUP BY reason" --json',
)
@click.argument("endpoint")
@click.option("--since", metavar="SPAN", default="1h", show_default=True, help="Of the last so long: 30m, 24h, 7d.")
@click.option("--until", metavar="TIME", help="Until then (RFC 3339, UTC without an offset) [default: now].")
@click.option("--version", "version_", help="Of this version alone.")
@click.option("--sql", help="One SELECT, of DuckDB's SQL [default: every column of predictions].")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Save to F.parquet or F.csv.")
@click.option("--limit", type=click.IntRange(1, ROWS_MAX), help="At most so many rows [default: 20; saved: all].")
def capture(app: App, endpoint: str, since: str, until: str | None, out: Path | None, **given: Any) -> None:
    """Show or save what was captured of an endpoint: its predictions, those of the last seconds included.

    A SELECT has the tables predictions, labelled (predictions with their newest label), feedback, failures,
    shadow_predictions, shadow_failures and monitor_results (what monitors found); a row of predictions is one predicted
    row, with columns id, row, at, version, key, code, duration_ms and input_NAME, output_NAME. --since and --until
    choose rows; the SELECT sees those alone.
    """
    from tidegate import clock

    until_s = clock.now() if until is None else _moment(until)
    since_s = until_s - seconds(since)
    rows_max = given["limit"] or (SHOWN_ROWS if out is None and not app.json else ROWS_MAX)
    sql = given["sql"] or (NEWEST if out is None and not app.json else None)
    request = CaptureQueryRequest(sql, since_s, until_s, given["version_"], rows_max)
    if out is None:
        _show(app, endpoint, request, chosen=given["sql"] is not None)
    else:
        _save(app, endpoint, out, request)


def _show(app: App, endpoint: str, request: CaptureQueryRequest, *, chosen: bool) -> None:
    found = app.client().capture.rows(endpoint, request)
    columns = found.columns if chosen else _fitting(found)
    app.emit(found.rows, lambda: _shown(found, columns))
    if len(columns) < len(found.columns) and found.rows and not app.json:
        app.note(f"{len(columns)} of {len(found.columns)} columns: --json shows all, --sql those you name")
    if found.truncated:
        app.note(f"there are more than these {len(found.rows)} rows: --limit shows them, --out saves all")


def _save(app: App, endpoint: str, out: Path, request: CaptureQueryRequest) -> None:
    if out.suffix not in FORMS:
        raise InvalidArgument(
            f"--out {out.name}: a name that ends in {' or '.join(FORMS)} says what to save", field="out"
        )
    try:
        import pyarrow.csv
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise InvalidArgument("--out needs pyarrow: pip install pyarrow, or use --json", field="out") from None
    client = app.client()
    found = client.capture.query(
        endpoint,
        request.sql,
        since=request.since,
        until=request.until,
        version=request.version,
        rows_max=request.rows_max,
    )
    try:
        if out.suffix == ".csv":
            pyarrow.csv.write_csv(_flat(found), out)
        else:
            pyarrow.parquet.write_table(found, out)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise InvalidArgument(f"--out {out} cannot be written: {why}", field="out") from None
    app.emit({"rows": len(found), "file": str(out)}, lambda: f"saved {len(found)} rows to {out}")
    if client.capture.was_cut(found):
        app.note(f"there are more than these {len(found)} rows: narrow --since and --until to save them in parts")


def _flat(found: pa.Table) -> pa.Table:
    """Lists and structs as JSON: CSV has neither."""
    import orjson
    import pyarrow as pa

    for place, field in enumerate(found.schema):
        if pa.types.is_nested(field.type):
            texts = [None if one is None else orjson.dumps(one).decode() for one in found[field.name].to_pylist()]
            found = found.set_column(place, field.name, pa.array(texts, pa.string()))
    return found


def _fitting(found: CaptureAnswer) -> list[str]:
    """What names a row, then its outputs and inputs, as far as a terminal is wide."""
    others = [name for part in ("output_", "input_") for name in found.columns if name.startswith(part)]
    columns, width = [], 0
    for name in (*SHOWN, *others):
        wide = 2 + max([len(name), *(len(_cell(row.get(name))) for row in found.rows)])
        if name in SHOWN or width + wide <= WIDTH:
            columns.append(name)
            width += wide
    return columns


def _shown(found: CaptureAnswer, columns: list[str]) -> str:
    rows = [[_cell(row.get(name)) for name in columns] for row in found.rows]
    return table(columns, rows, "nothing was captured in this time")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if _TIME.fullmatch(text):
        text = text[:19] + "Z"
    return text if len(text) <= CELL_CHARS_MAX else text[: CELL_CHARS_MAX - 1] + "…"


def _moment(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(
            f"--until {text!r} is no time: give one like 2026-11-29T12:00:00Z", field="until"
        ) from None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
