"""`register`, and the options that `deploy FILE` shares with it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from tidegate.cli.app import App, command
from tidegate.cli.output import WIDTH, size
from tidegate.errors import InvalidArgument
from tidegate.wire.rest import Job, Version

if TYPE_CHECKING:
    from tidegate.client.registration.request import RegisterOptions

F = TypeVar("F", bound=Callable[..., None])

FILE = click.Path(path_type=Path)

DEVICE_HELP = "Where to run it: cpu, auto, cuda or cuda:N [default: cpu]. A registered version keeps its device."

OPTIONS = (
    click.option("--validation-data", type=FILE, metavar="F.csv|.parquet", help="Rows to score it on before it is in."),
    click.option("--target", metavar="COL", help="The column of the validation data to predict."),
    click.option("--metric", help="What to score [default: accuracy for classifiers, r2 for regressors]."),
    click.option("--min-score", type=float, help="Refuse the version below this score [default: 0.8 with data]."),
    click.option(
        "--baseline", type=FILE, metavar="F.csv|.parquet", help="Rows to compare production with, in their place."
    ),
    click.option("--label", help="A name for the version, such as v1.0.0."),
    click.option("--run-id", metavar="ID", help="The MLflow run that the model comes from."),
    click.option("--tag", "tags", multiple=True, metavar="K=V", help="A tag; may be given several times."),
    click.option("--description", default="", help="What is special about this version."),
    click.option(
        "--allow-pickle",
        is_flag=True,
        help="Grant this version that loading it runs code: of its pickle, or of its folder.",
    ),
    click.option("--code", type=FILE, metavar="DIR", help="Folder (or .py file) with modules that the model needs."),
    click.option(
        "--accelerate/--no-accelerate",
        default=None,
        help="Try faster forms for any kind of model, or for none [default: for kinds known to stay equal].",
    ),
    click.option("--device", help=DEVICE_HELP),
    click.option("--requirements", type=FILE, metavar="FILE", help="The requirements.txt of the model."),
)


def register_options(body: F) -> F:
    """Give a command the options of `register`."""
    for option in reversed(OPTIONS):
        body = option(body)
    return body


def registration_of(options: dict[str, Any]) -> RegisterOptions | None:
    """The options as `Client.deploy` takes them; None where none was given."""
    given = {key: value for key, value in options.items() if value or (key == "accelerate" and value is not None)}
    if "tags" in given:
        given["tags"] = _tags(given["tags"])
    return cast("RegisterOptions", given) if given else None


def start_register(app: App, model: str, name: str, **options: Any) -> Job:
    """Upload and hand in; the job goes on by itself."""
    options["tags"] = _tags(options["tags"])
    with app.progress() as report:
        return app.client().models.register(model, name=name, wait=False, on_progress=report, **options)


def finish_register(app: App, job: Job) -> tuple[Version, bool]:
    """Wait for the job, with progress; returns the version and whether it is new."""
    client = app.client()
    with app.progress() as report:
        ended = client.jobs.wait(job.id, on_progress=report)
    return client.models.registered(ended), bool((ended.result or {}).get("created", True))


@command(
    "register",
    "tidegate register model.onnx --name churn --label v1.0.0",
    "tidegate register model.joblib --name churn --allow-pickle --validation-data test.csv --target left",
    "tidegate register ./my-model --name texts --allow-pickle   # a folder with model.py and requirements.txt",
    "tidegate register models:/churn/3 --name churn --min-score 0.9 --metric f1 --validation-data t.csv --target y",
)
@click.argument("path", metavar="PATH|URI")
@click.option("--name", required=True, help="The model that this is a version of.")
@register_options
@click.option(
    "--no-wait", is_flag=True, help="Return when the file is handed in, and name the job; faster forms follow."
)
def register(app: App, path: str, name: str, no_wait: bool, **options: Any) -> None:
    """Take a model in as a new version of NAME, once it has passed the validation gate.

    PATH is a .joblib, .pkl, .skops, .onnx, .ubj, .pt2, .keras, … file, an MLflow model directory, a TensorFlow
    SavedModel, or a folder whose model.py has a Python class with predict(self, inputs); or models:/NAME/VERSION,
    models:/NAME@ALIAS or runs:/ID/PATH of the registry. The gate loads the model in a process of its own, has it
    predict, and scores it on the validation data. A version that does not pass leaves nothing behind. The same bytes
    under the same name are the same version.

    The version can be deployed before faster forms of it are tried, which this waits for. With --no-wait it does not:
    an endpoint that serves the version by then moves to the faster form by itself. Registering the same bytes again
    tries what failed or was switched off before, and puts back files of the version that were damaged or lost. With
    another --device it is refused: the same bytes are the same version.
    """
    job = start_register(app, path, name, **options)
    if no_wait:
        return app.emit(job, lambda: f"job {job.id}: follow it with 'tidegate jobs {job.id}'")
    version, created = finish_register(app, job)
    app.emit(version, lambda: describe_version(name, version, created))
    return None


def describe_version(name: str, version: Version, created: bool) -> str:
    """What was taken in, in a few lines."""
    head = f"registered {name}:{version.version}" if created else f"{name}:{version.version} already holds these bytes"
    lines = [head + (f" ({version.label})" if version.label else "")]
    if version.score is not None:
        lines.append(f"  score      {version.score:.4f} ({version.metric})")
    lines.append(f"  framework  {version.framework}, {size(version.size_bytes)}")
    lines.append(f"  digest     {version.digest}")
    for line in acceleration_lines(version.acceleration)[:1]:
        lines += textwrap.wrap(f"  fast form  {line}", WIDTH, subsequent_indent=" " * 13, break_long_words=False)
    return "\n".join(lines)


def acceleration_lines(record: dict[str, Any]) -> list[str]:
    """What acceleration came to, and below it each form that was tried."""
    if not record:
        return []
    kept = next((entry for entry in record.get("tried", []) if entry["form"] == record.get("kept")), None)
    why = record.get("reason", "not tried")
    if record.get("state") == "pending":
        return [f"not yet: {why} ('tidegate jobs {record['job']}')"]
    lines = [f"none: {why}" if kept is None else f"{record['kept']}, {_gains(kept)}"]
    tried = record.get("tried", [])
    return lines + [f"{entry['form']}: {_gains(entry) if entry['equal'] else entry['reason']}" for entry in tried]


def _gains(entry: dict[str, Any]) -> str:
    difference = entry["largest_difference"]
    return f"{entry['speedup_1']:.1f} times as fast for 1 row, {entry['speedup_64']:.1f} for 64; " + (
        f"largest difference {difference:.1e}" if difference else "no difference"
    )


def _tags(given: tuple[str, ...]) -> dict[str, str]:
    tags = dict(tag.partition("=")[::2] for tag in given)
    if bad := [tag for tag in given if not tag.partition("=")[0] or "=" not in tag]:
        raise InvalidArgument(f"tag {bad[0]!r} is not KEY=VALUE", field="tag")
    return tags
