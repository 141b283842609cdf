"""`tidegate baseline`: gives a version rows that its production is compared with, and shows which it has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tidegate.cli.app import App, command
from tidegate.cli.output import moment, table
from tidegate.wire.monitoring.monitoring import BaselineView

FILE = click.Path(path_type=Path)
COLUMNS_SHOWN = 30
_SOURCES = {
    "validation": "its validation data",
    "file": "a file",
    "production": "production itself",
}


@command(
    "baseline",
    "tidegate baseline churn:3",
    "tidegate baseline churn:3 --data last-quarter.parquet --target churned",
    "tidegate baseline churn --data rows.csv --by country",
    "tidegate baseline churn:3 --data spring.parquet --time-column at --timezone Europe/Berlin",
)
@click.argument("model", metavar="NAME[:V]")
@click.option("--data", type=FILE, metavar="F.csv|.parquet", help="The rows; the model answers them first.")
@click.option("--target", metavar="COL", help="The column with the truth, without which performance is not compared.")
@click.option("--by", metavar="COL", help="A column of the model whose values are segments.")
@click.option("--time-column", metavar="COL", help="When each row was: a time, ISO 8601 or seconds since 1970.")
@click.option("--timezone", metavar="TZ", default="UTC", show_default=True, help="Whose hours and weekdays count.")
@click.option("--no-wait", is_flag=True, help="Return when the file is handed in, and name the job.")
def baseline(app: App, model: str, data: Path | None, no_wait: bool, **options: Any) -> None:
    """Show what a version's inputs, outputs and performance are compared with, or give it rows to be compared with.

    A version that was registered with --validation-data has a baseline of that, and one without any gets it of
    production's first day (of 1,000 rows at least). --data replaces it.

    With --time-column the baseline knows how days differ, and of three weeks or more what each hour of the week is
    like: drift is then told from the daily rhythm. The model is asked without that column.
    """
    client = app.client()
    if data is None:
        if any(options[name] for name in ("target", "by", "time_column")):
            what = "--target, --by and --time-column are of rows: give --data"
            raise click.UsageError(what, click.get_current_context())
        found = client.monitoring.baseline(model)
        return app.emit(found, lambda: described(found))
    with app.progress() as report:
        if no_wait:
            job = client.monitoring.set_baseline(model, data, **options, wait=False, on_progress=report)
            return app.emit(job, lambda: f"job {job.id}: follow it with 'tidegate jobs {job.id}'")
        made = client.monitoring.set_baseline(model, data, **options, on_progress=report)
    return app.emit(made, lambda: described(made))


def described(view: BaselineView) -> str:
    """Where it comes from, what performance is compared with, and its columns."""
    lines = [f"baseline of {view.model}:{view.version}: {view.rows} rows of {_SOURCES[view.source]}"]
    if view.source == "production" and view.since is not None and view.until is not None:
        lines.append(f"  taken      from {moment(view.since)} to {moment(view.until)}")
    lines.append(f"  made       {moment(view.made_at)}")
    if view.metric is not None and view.value is not None:
        bound = "" if view.bound is None else f" (as bad as {view.bound:.4g} cannot be ruled out)"
        lines.append(f"  compared   {view.metric.replace('_', ' ')} {view.value:.4g} of {view.labelled} labels{bound}")
    else:
        lines.append("  compared   inputs and outputs alone: it has no labels (--target)")
    if view.by is not None:
        lines.append(f"  segments   by {view.by}: {', '.join(view.segments) or 'none is large enough'}")
    rows = [[one.name, one.role, one.kind, str(one.bins), str(one.missing)] for one in view.columns[:COLUMNS_SHOWN]]
    more = len(view.columns) - len(rows)
    shown = table(("column", "role", "kind", "bins", "missing"), rows, "no columns")
    return "\n".join([*lines, "", shown, *([f"and {more} more columns (--json has all)"] if more else [])])
