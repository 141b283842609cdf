"""`apply` and `export`: endpoints as a file, made so and written down."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.app import App, command
from tidegate.cli.endpoints.change import accept_option, end_option, waiting_options
from tidegate.errors import EXIT_FAILED, InvalidArgument, TidegateError
from tidegate.wire.endpoints.declared import AppliedDocument, ApplyAnswer, ExportAnswer

if TYPE_CHECKING:
    from tidegate.core.declared.yaml_text import TextDocument

STDIN, WIDTH = "-", 80
FORMATS = ("tidegate", "kubernetes", "ecs", "cloudrun")
AUTOSCALERS = ("engine", "none")
_OUTCOMES = {"created": "created", "changed": "changed", "unchanged": "no change"}
_DRY = {"created": "would be created", "changed": "would change", "unchanged": "no change"}


@command(
    "apply",
    "tidegate apply -f endpoint.yaml --dry-run",
    "tidegate apply -f endpoint.yaml",
    "tidegate apply -f endpoint.yaml --dry-run --fail-on-change",
)
@click.option("-f", "--file", "file", required=True, metavar="FILE", help="Documents in YAML or JSON; - reads them.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--fail-on-change", is_flag=True, help="With --dry-run: end with 1 where something would change.")
@accept_option
@end_option
@click.option("--no-guard", is_flag=True, help="Do not watch versions that get all of the traffic, as 'deploy' does.")
@waiting_options
def apply(
    app: App, *, file: str, dry_run: bool, fail_on_change: bool, no_guard: bool, no_wait: bool, **options: Any
) -> None:
    """Make endpoints as a file says: all of its documents, or none where one cannot be.

    What a document leaves out stays as it is; a section that it has (placement, serving, capture, monitor, alerts,
    experiment, canary, shadow) is whole: what that leaves out is as by default. The same file again changes nothing.
    Fields that are not known are refused, with their line. 'tidegate export' writes such a file, and 'tidegate export
    --schema' the JSON Schema by which editors complete it.
    """
    if fail_on_change and not dry_run:
        raise InvalidArgument("--fail-on-change goes with --dry-run")
    documents = _documents(file)
    with app.progress() as report:
        try:
            done = app.client().apply(
                [_fields(file, one.data, one.line) for one in documents],
                dry_run=dry_run,
                wait=not no_wait,
                guard=not no_guard,
                on_progress=report,
                **options,
            )
        except TidegateError as error:
            _add_line(error, file, documents)
            raise
    app.emit(done, lambda: _text(done))
    if fail_on_change and any(one.outcome != "unchanged" for one in done.documents):
        sys.exit(EXIT_FAILED)


@command(
    "export",
    "tidegate export churn > endpoint.yaml",
    "tidegate export",
    "tidegate export churn --format kubernetes > churn.k8s.yaml",
    "tidegate export -f endpoint.yaml --format kubernetes",
    "tidegate export churn --format kubernetes --version 3 --image r.example.com/churn:3",
    "tidegate export churn --format ecs --out churn-on-ecs",
    "tidegate export churn --format cloudrun > churn.run.yaml",
    "tidegate export --schema",
)
@click.argument("endpoint", required=False)
@click.option(
    "--format", "form", type=click.Choice(FORMATS), default="tidegate", help="The format [default: tidegate]."
)
@click.option("-f", "--file", "file", metavar="FILE", help="Manifests of these documents; asks no platform.")
@click.option("--version", metavar="V", help="In a manifest: this version, where the traffic is split.")
@click.option(
    "--autoscaler",
    type=click.Choice(AUTOSCALERS),
    default="engine",
    help="In a manifest: engine counts replicas by their load, none fixes them [default: engine].",
)
@click.option("--image", metavar="IMAGE", help="In a manifest: this image; asks no platform, and takes --version.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="With ecs: a file here for each request.")
@click.option("--schema", is_flag=True, help="Write the JSON Schema of documents, for editors.")
def export(
    app: App,
    *,
    endpoint: str | None,
    form: str,
    file: str | None,
    image: str | None,
    out: Path | None,
    schema: bool,
    **options: Any,
) -> None:
    """Write endpoints as a file that 'tidegate apply -f FILE' makes so again: one, or all.

    Secrets are not in it: an address of a webhook is cut to its host, and means the one that is set when it is applied.
    The first line names the schema beside the file: 'tidegate export --schema > tidegate.schema.json'.

    With --format kubernetes, write what runs a version's image ('tidegate build') in a cluster by itself: Deployment,
    Service, HorizontalPodAutoscaler. With --format cloudrun, a service for 'gcloud run services replace'; with ecs, the
    requests that 'aws … --cli-input-json' takes (--out writes each to a file and says what to type). Region, subnets,
    roles and accounts are the platform's settings; with -f or --image, which ask no platform, this command's. The same
    endpoint always gives the same text. Warnings are in it as comments, and go to standard error.
    """
    if schema:
        import orjson

        from tidegate.core.declared.endpoint import schema as schema_of

        return click.echo(orjson.dumps(schema_of(), option=orjson.OPT_INDENT_2))
    if out is not None and form != "ecs":
        raise InvalidArgument("--out goes with --format ecs: other formats are one file, to standard output")
    if form != "tidegate":
        answer = _manifests(app, endpoint, (file, image), form, options)
        return _emit_manifests(app, answer, form, out)
    if file is not None or image is not None or options["version"] is not None or options["autoscaler"] != "engine":
        raise InvalidArgument(
            "--file, --image, --version and --autoscaler go with --format kubernetes, ecs or cloudrun"
        )
    documents = app.client().documents.export(endpoint)

    def text() -> str:
        from tidegate.core.declared.yaml_text import write_text

        return write_text(documents).rstrip() if documents else "# no endpoint yet"

    return app.emit(documents, text)


def _manifests(
    app: App, endpoint: str | None, alone: tuple[str | None, str | None], form: str, options: dict[str, Any]
) -> ExportAnswer:
    """From the platform, or (`alone`) from a file, or an image and a name, without it."""
    file, image = alone
    if file is None and image is None:
        return app.client().documents.manifests(endpoint, form, **options)
    if file is not None:
        return _manifests_of_file(endpoint, file, image, form, options)
    if endpoint is None or options["version"] is None:
        raise InvalidArgument(
            "--image takes the endpoint's name and --version too, or -f FILE: no platform is asked what it serves",
            field="image",
        )
    document = {"endpoint": endpoint, "model": endpoint}
    return _manifests_alone([document], image, form, options)


def _emit_manifests(app: App, answer: ExportAnswer, form: str, out: Path | None) -> None:
    for warning in answer.warnings:
        app.note(textwrap.fill(f"warning: {warning}", WIDTH, subsequent_indent="  ", break_on_hyphens=False))

    def text() -> str:
        from tidegate.core.manifests.text import write_manifests

        if not answer.documents:
            return "# no endpoint yet"
        return write_manifests(answer.documents, answer.warnings, form).rstrip()

    told = None if out is None else _written(answer, out)
    app.emit(answer, text if told is None else lambda: told)


def _written(answer: ExportAnswer, out: Path) -> str:
    """A file for each request of AWS, and what to type."""
    from tidegate.core.manifests.text import files_of, key_commands

    lines = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content, taken_by in files_of(answer.documents):
            (out / name).write_text(content, encoding="utf-8")
            lines.append(f"aws {taken_by} --cli-input-json file://{out / name}")
    except OSError as error:
        raise InvalidArgument(f"{out} cannot be written: {error.strerror}", field="out") from None
    keys = [f"  {line}" for line in key_commands(answer.documents)]
    return "\n".join(["make the key that clients send, once:", *keys, "then:", *(f"  {line}" for line in lines)])


def _manifests_alone(
    documents: Sequence[dict[str, Any]], image: str | None, form: str, options: dict[str, Any]
) -> ExportAnswer:
    """Without a platform: by what documents, the image and this command's settings say. Raises `InvalidArgument`."""
    from tidegate.core.manifests.export import known_by_image, known_by_name, manifests_of
    from tidegate.core.manifests.served import ExportSettings, ServedRequest
    from tidegate.settings import Settings

    if image is not None and len(documents) != 1:
        raise InvalidArgument(f"--image is of one endpoint, and there are {len(documents)}: name it", field="image")
    lookup = known_by_name if image is None else known_by_image(image)
    return manifests_of(documents, form, ServedRequest(**options), ExportSettings.of(Settings.from_env()), lookup)


def _manifests_of_file(
    endpoint: str | None, file: str, image: str | None, form: str, options: dict[str, Any]
) -> ExportAnswer:
    documents = _documents(file)
    chosen = [one for one in map(partial(_read_alone, file), documents) if endpoint in (None, one.get("endpoint"))]
    if not chosen:
        raise InvalidArgument(f"{file} has no document of endpoint {endpoint!r}", field="endpoint")
    try:
        return _manifests_alone(chosen, image, form, options)
    except InvalidArgument as error:
        error.message = f"{file}: {error.message}"
        raise


def _read_alone(file: str, document: TextDocument) -> dict[str, Any]:
    """The fields of a document that no platform checks. Raises `InvalidArgument`, with the line."""
    from tidegate.core.declared.endpoint import read_endpoint

    fields = _fields(file, document.data, document.line)
    try:
        read_endpoint(fields)
    except InvalidArgument as error:
        error.details["document"] = 0
        _add_line(error, file, [document])
        raise
    return fields


def _documents(file: str) -> list[TextDocument]:
    from tidegate.core.declared.yaml_text import read_text

    try:
        return read_text(_text_of(file))
    except InvalidArgument as error:
        error.message = f"{file}: {error.message}" if "field" not in error.details else error.message
        raise


def _text_of(file: str) -> str:
    try:
        return sys.stdin.read() if file == STDIN else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidArgument(f"{file} cannot be read: {error.strerror}", field="file") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"{file} is no text in UTF-8", field="file") from None


def _fields(file: str, data: Any, line: int) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidArgument(f"{file}:{line}: a document has fields: begin with 'endpoint: NAME'", field="file")
    return {str(name): value for name, value in data.items()}


def _add_line(error: TidegateError, file: str, documents: Sequence[TextDocument]) -> None:
    """Say on which line it stands that an error is about."""
    number, path = error.details.get("document"), error.details.get("field")
    if isinstance(number, int) and number < len(documents):
        error.message = f"{file}:{documents[number].line_of(str(path or ''))}: {error.message}"


def _text(done: ApplyAnswer) -> str:
    lines = [line for one in done.documents for line in _lines(one, done.dry_run)]
    if done.dry_run and any(one.outcome != "unchanged" for one in done.documents):
        lines += ["", "nothing was changed: without --dry-run it is"]
    return "\n".join(lines)


def _lines(one: AppliedDocument, dry_run: bool) -> list[str]:
    words = _DRY if dry_run else _OUTCOMES
    width = max((len(change.path) for change in one.changes), default=0)
    changes = [
        f"  {change.path:<{width}}  {_was(change.before)}{change.after if change.after is not None else 'not any more'}"
        for change in one.changes
    ]
    notes = textwrap.wrap(one.note, WIDTH, initial_indent="  ", subsequent_indent="    ") if one.note else []
    return [f"{one.endpoint}: {words[one.outcome]}", *changes, *notes]


def _was(before: str | None) -> str:
    return "" if before is None else f"{before} → "
