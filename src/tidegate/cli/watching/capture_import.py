"""`capture-import`: rows that were predicted elsewhere, as captured rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tidegate.cli.app import App, command
from tidegate.errors import InvalidArgument

SHOWN_MAX = 10


@command(
    "capture-import",
    "tidegate capture-import flights july.csv --model flights:3 --time-column at --id-column id",
    "tidegate capture-import flights months/ --format parquet --time-column at --id-column id",
    "tidegate capture-import flights july.csv --time-column at --id-column id --label-column was_late",
)
@click.argument("endpoint")
@click.argument("path", type=click.Path(exists=True, path_type=Path), metavar="FILE|DIR")
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "sagemaker", "kserve"]),
    help="Of the file, or of which files in DIR [default: by their names].",
)
@click.option("--time-column", required=True, metavar="C", help="When each row was predicted.")
@click.option("--id-column", required=True, metavar="C", help="What tells rows apart; labels find them by it.")
@click.option("--model", metavar="NAME[:VERSION|@ALIAS]", help="Who predicted them; needed for a new endpoint.")
@click.option("--output-column", "outputs", multiple=True, metavar="C", help="An output that is not called like one.")
@click.option("--label-column", metavar="C", help="What came true.")
@click.option("--label-time-column", metavar="C", help="When that was known [default: with the row].")
@click.option("--key-column", metavar="C", help="The unit that each row is about.")
@click.option("--timezone", default="UTC", show_default=True, metavar="TZ", help="Of times that name none.")
def capture_import(
    app: App,
    endpoint: str,
    path: Path,
    *,
    form: str | None,
    time_column: str,
    id_column: str,
    **options: Any,
) -> None:
    """Make captured rows of a file, or of every file in a folder, each row once.

    Importing a file again changes nothing. An endpoint that is not there yet is made, without replicas: monitors, SQL
    and reports work on it as on any other. Columns called like an input or output of the model (or input_NAME,
    output_NAME) are those. Rows without a time or an id, with a repeated id, or with a value that is none of its
    column's are left out, and the first of them are shown with their lines.
    """
    from tidegate.client.resources.imports import files_of

    if form in ("sagemaker", "kserve"):
        raise InvalidArgument(f"--format {form} is not read yet: make it Parquet or CSV first", field="format")
    model, outputs = options.pop("model"), list(options.pop("outputs"))
    done = []
    for file in files_of(path, form):  # type: ignore[arg-type]  # one of the formats that are read
        with app.progress() as report:
            done.append(
                app.client().imports.run(
                    endpoint,
                    file,
                    time_column=time_column,
                    id_column=id_column,
                    on_progress=report,
                    format=form,  # type: ignore[arg-type]
                    model=model,
                    output_columns=outputs,
                    **options,
                )
            )
    app.emit(done, lambda: "\n".join(_told(one, file) for one, file in zip(done, files_of(path, form), strict=True)))  # type: ignore[arg-type]


def _told(done: Any, file: Path) -> str:
    when = "" if done.first_at is None else f", {_at(done.first_at)} to {_at(done.last_at)}"
    lines = [f"{file.name}: {done.rows:,} rows and {done.labels:,} labels of {done.model}:{done.version}{when}"]
    if done.created:
        lines.append(f"  endpoint {done.endpoint} is new, without replicas")
    lines += [f"  line {bad.line}: {bad.reason}" for bad in done.bad[:SHOWN_MAX]]
    if done.refused > min(len(done.bad), SHOWN_MAX):
        lines.append(f"  {done.refused:,} rows were left out in all")
    for columns, told in ((done.absent, "has no column for"), (done.ignored, "was not taken: its columns")):
        if columns:
            lines.append(f"  {told} {', '.join(columns[:SHOWN_MAX])}{' and more' if len(columns) > SHOWN_MAX else ''}")
    return "\n".join(lines)


def _at(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M}"
