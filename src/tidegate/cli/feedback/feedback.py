"""`feedback`: what came true of an endpoint's predictions, out of a file or from the command line."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate import clock
from tidegate.cli.app import App, command
from tidegate.errors import EXIT_FAILED, InvalidArgument, TidegateError
from tidegate.errors.kinds import Kind

if TYPE_CHECKING:
    from tidegate.cli.feedback.files import LabelLine
    from tidegate.client import Client

REASONS_SHOWN_MAX, REASONS_KEPT_MAX = 20, 1000
TRIES_MAX, PAUSE_S_MAX = 8, 5.0
STEPS = 10


@command(
    "feedback",
    'tidegate feedback churn --data \'{"id": "9c0f7c2b6e0c00000001", "label": 1}\'',
    "tidegate feedback churn --file labels.csv",
    "tidegate feedback churn --file orders.parquet --key-column user --label-column churned --at-column closed_at",
    "tidegate feedback churn --file visits.csv --key-column user --metric revenue --metric minutes",
)
@click.argument("endpoint")
@click.option("--data", metavar="JSON", help='An event, or a list: {"id" or "key", "label", "metrics", "row", "at"}.')
@click.option("--file", type=click.Path(path_type=Path), metavar="F.csv|.json|.jsonl|.parquet", help="An event a row.")
@click.option("--id-column", metavar="C", help="Has the ids of requests [default: id].")
@click.option("--key-column", metavar="C", help="Has the units' keys, where there is no id [default: key].")
@click.option("--label-column", metavar="C", help="Has the labels [default: label].")
@click.option("--at-column", metavar="C", help="Has the time at which it came true, UTC without a zone [default: at].")
@click.option("--row-column", metavar="C", help="Has the row of a request of many [default: row].")
@click.option("--event-column", metavar="C", help="Makes a repetition the same event [default: event].")
@click.option("--metric", "metrics", metavar="C", multiple=True, help="A column with values of the metric of its name.")
def feedback(app: App, *, endpoint: str, data: str | None, file: Path | None, **columns: Any) -> None:
    """Say what came true of an endpoint's predictions: labels, values of metrics, or both.

    Each event names a prediction by the id that it was answered with, or a unit by its key, whose newest prediction is
    meant. Rows of a file that are no event are listed with their line and the reason, the others are sent, and the
    command ends with 1. Sending a file again changes nothing where its rows have times or events.
    """
    if (data is None) == (file is None):
        raise InvalidArgument("give events with --data JSON or with --file FILE, one of the two", field="data")
    if file is None:
        from tidegate.cli.predict.rows import parse_json

        answer = app.client().feedback(endpoint, parse_json(str(data), "--data"))
        return app.emit(answer, lambda: _events(answer.accepted) + " taken")
    return _send_file(app, endpoint, file, columns)


@dataclass
class _Refused:
    """Rows that are no event: how many, and the first of them."""

    rows: int = 0
    first: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: LabelLine) -> None:
        self.rows += 1
        if len(self.first) < REASONS_KEPT_MAX:
            self.first.append((line.number, line.reason))


def _send_file(app: App, endpoint: str, file: Path, columns: dict[str, Any]) -> None:
    from tidegate.cli.feedback.files import read_lines

    lines = read_lines(file, _columns(columns), endpoint, clock.now())
    client, accepted, refused = app.client(), 0, _Refused()
    with app.progress() as report:
        for batch in _batches(lines, refused):
            accepted += _send(client, file, batch)
            report(f"feedback: {int(batch[-1].share * STEPS) * 100 // STEPS} %", batch[-1].share)
    if not accepted and not refused.rows:
        raise InvalidArgument(f"{file} holds no rows", field="file")
    for number, reason in refused.first[:REASONS_SHOWN_MAX]:
        app.note(f"{file}, line {number}: {reason}")
    if refused.rows > REASONS_SHOWN_MAX:
        app.note(f"and {refused.rows - REASONS_SHOWN_MAX} more")
    shown = [{"line": number, "reason": reason} for number, reason in refused.first]
    app.emit(
        {"accepted": accepted, "refused": refused.rows, "reasons": shown},
        lambda: f"{_events(accepted)} taken" + (f", {refused.rows:,} refused" if refused.rows else ""),
    )
    if refused.rows:
        raise click.exceptions.Exit(EXIT_FAILED)


def _columns(given: dict[str, Any]) -> Any:
    from tidegate.cli.feedback.files import Columns

    metrics = tuple(given.pop("metrics"))
    named = {name.removesuffix("_column"): value for name, value in given.items() if value is not None}
    return Columns(**named, metrics=metrics, given=frozenset({*named.values(), *metrics}))


def _batches(lines: Iterator[LabelLine], refused: _Refused) -> Iterator[list[LabelLine]]:
    """Sound rows in requests of a size that gateways take; the others are `refused`."""
    from tidegate.client.resources.feedback import BYTES_A_REQUEST, EVENTS_A_REQUEST

    batch: list[LabelLine] = []
    size_bytes = 0
    for line in lines:
        if line.event is None:
            refused.add(line)
            continue
        if batch and (len(batch) == EVENTS_A_REQUEST or size_bytes + len(line.event) > BYTES_A_REQUEST):
            yield batch
            batch, size_bytes = [], 0
        batch.append(line)
        size_bytes += len(line.event) + 1
    if batch:
        yield batch


def _send(client: Client, file: Path, batch: list[LabelLine]) -> int:
    """Send one request; again, for a while, where the gateway cannot take it just now (it has taken nothing then)."""
    body = b"[" + b",".join(line.event for line in batch if line.event is not None) + b"]"
    for tried in range(TRIES_MAX):
        try:
            return client.gateway.send_feedback(body).accepted
        except TidegateError as error:
            if error.retry_after_s is None or tried == TRIES_MAX - 1:
                error.message = f"{file}, lines {batch[0].number} to {batch[-1].number}: {error.message}"
                raise
            if error.kind not in (Kind.UNAVAILABLE, Kind.OVERLOADED):
                raise
            time.sleep(min(error.retry_after_s, PAUSE_S_MAX))
    return 0


def _events(count: int) -> str:
    return f"{count:,} event{'' if count == 1 else 's'}"
