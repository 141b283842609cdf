"""`predict`: rows from the command line or a file through the gateway; the answer as JSON, or a prediction a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.app import App, command
from tidegate.errors import InvalidArgument

if TYPE_CHECKING:
    from tidegate.client import Client, Prediction

ROWS_PER_REQUEST = 500


@command(
    "predict",
    "tidegate predict churn --data '{\"features\": [5.1, 3.5, 1.4, 0.2]}'",
    "tidegate predict churn --data '[[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3]]' --version 2",
    'tidegate predict churn --data \'{"age": 41, "plan": "gold"}\' --key user-7',
    "tidegate predict churn --file rows.csv > predictions.txt",
)
@click.argument("endpoint")
@click.option("--data", metavar="JSON", help='A row, rows, or a whole request with "features".')
@click.option("--file", "file", type=click.Path(path_type=Path), metavar="F.csv|.json|.jsonl|.parquet", help="Rows.")
@click.option(
    "--rows-per-request",
    type=click.IntRange(1, 10_000),
    default=ROWS_PER_REQUEST,
    show_default=True,
    help="With --file: how many rows one request carries; each request is routed by itself.",
)
@click.option(
    "--version", "version_", metavar="V", help="Ask this version (number, label, or variant), not the traffic split."
)
@click.option("--key", metavar="U", help="The unit (a user, say) whose requests all go to the same version.")
def predict(
    app: App,
    *,
    endpoint: str,
    data: str | None,
    file: Path | None,
    rows_per_request: int,
    version_: str | None,
    key: str | None,
) -> None:
    """Predict rows through the gateway.

    With --data prints the gateway's answer; with --file one prediction a line (with --json: all in one answer). The
    columns of a CSV file are matched by the names in its header where the model knows names, else by their order.
    """
    if (data is None) == (file is None):
        raise InvalidArgument("give rows with --data JSON or with --file FILE, one of the two", field="data")
    if file is not None:
        requests = requests_of(app.client(), endpoint, file, rows_per_request, (version_, key))
        return _print_all(app, file, requests)
    from tidegate.cli.predict.rows import parse_json

    features, in_body = split_request(parse_json(str(data), "--data"))
    version, unit = version_ or in_body.get("model_version"), key or in_body.get("user_id")
    answer = app.client().gateway.predict(endpoint, features, version, unit)
    import orjson

    return app.emit(answer.raw, lambda: orjson.dumps(answer.raw).decode())


def split_request(document: Any) -> tuple[Any, dict[str, Any]]:
    """The features of a bare row, bare rows or a whole request, and what else the request says."""
    if isinstance(document, dict) and "features" in document:
        return document["features"], {k: v for k, v in document.items() if k in ("model_version", "user_id")}
    if isinstance(document, dict | list):
        return document, {}
    raise InvalidArgument(f"--data is {document!r}: give a row (a list, or an object by column) or rows", field="data")


def requests_of(
    client: Client, endpoint: str, file: Path, rows_per_request: int, choice: tuple[str | None, str | None]
) -> Iterator[Prediction]:
    """Send the file's rows, so many a request; `choice` is (version, key)."""
    from tidegate.cli.predict.rows import batched, read_rows

    for batch in batched(read_rows(file, client.gateway.metadata(endpoint)), rows_per_request):
        yield client.gateway.predict(endpoint, batch, *choice)


def _print_all(app: App, file: Path, requests: Iterator[Prediction]) -> None:
    answers: list[Prediction] = []
    versions: Counter[str] = Counter()
    for answer in requests:
        versions[answer.model_version] += len(answer.prediction)
        if app.json:
            answers.append(answer)
        else:
            click.echo("\n".join(_line(item) for item in answer.prediction))
    if not versions:
        raise InvalidArgument(f"{file} holds no rows", field="file")
    split = ", ".join(f"{count} by version {version}" for version, count in sorted(versions.items()))
    app.note(f"{versions.total()} rows predicted: {split}")
    if app.json:
        app.emit(_merged(answers, versions), str)


def _line(item: Any) -> str:
    import orjson

    return item if isinstance(item, str) else orjson.dumps(item).decode()


def _merged(answers: list[Prediction], versions: Counter[str]) -> dict[str, Any]:
    """All answers as one of the same shape; `model_version` is null when several versions answered."""
    merged: dict[str, Any] = {"prediction": [item for answer in answers for item in answer.prediction]}
    if all(answer.confidence is not None for answer in answers):
        per_answer = (answer.confidence for answer in answers)
        merged["confidence"] = [c for each in per_answer for c in (each if isinstance(each, list) else [each])]
    merged["model_version"] = next(iter(versions)) if len(versions) == 1 else None
    merged["id"] = answers[0].id
    merged["ids"] = [answer.id for answer in answers]
    merged["rows_by_version"] = dict(versions)
    return merged
