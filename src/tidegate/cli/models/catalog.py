"""`models` and its verbs: list, show, trust, alias, delete."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.app import CONTEXT, App, LazyGroup, command, common_options, paging_options, remember, yes_option
from tidegate.cli.models.register import acceleration_lines
from tidegate.cli.output import moment, size, table
from tidegate.core.names import parse_ref
from tidegate.errors import InvalidArgument
from tidegate.wire.rest import Model, Version


@click.group("models", cls=LazyGroup, invoke_without_command=True, context_settings=CONTEXT, params=common_options())
@click.pass_context
def models(ctx: click.Context, json_: bool, data_dir: Path | None, url: str | None) -> None:
    """List the registered models (without a further command), show, trust, alias or delete them."""
    app = remember(ctx, json_, data_dir, url)
    if ctx.invoked_subcommand is None:
        _list(app, None, None)


models.examples = ("tidegate models", "tidegate models show churn", "tidegate models delete churn:2 --yes --json")


def _list(app: App, limit: int | None, cursor: str | None) -> None:
    page, none = app.client().models.page(limit, cursor), "no models: 'tidegate register PATH --name NAME'"
    app.emit_page("models", page, lambda: table(HEADERS, _rows(page.rows), none))


HEADERS = ("model", "version", "label", "aliases", "score", "framework", "size", "registered")


def _rows(found: list[Model]) -> list[list[str]]:
    return [row for model in found for row in _rows_of(model)]


def _rows_of(model: Model) -> list[list[str]]:
    listed = [[model.name, *_cells(version)] for version in model.versions]
    older = (model.version_count or 0) - len(listed)
    return [*listed, [model.name, f"and {older} older", *[""] * (len(HEADERS) - 2)]] if older > 0 else listed


def _cells(version: Version) -> list[str]:
    score = "-" if version.score is None else f"{version.score:.4f} {version.metric or ''}".rstrip()
    aliases = ", ".join(version.aliases) or "-"
    return [
        version.version,
        version.label or "-",
        aliases,
        score,
        version.framework,
        size(version.size_bytes),
        moment(version.created_at),
    ]


@command("list", "tidegate models list", "tidegate models list --json", "tidegate models list --limit 1000")
@paging_options
def list_(app: App, limit: int | None, cursor: str | None) -> None:
    """List models by name, with the newest versions of each: 'tidegate models show NAME' has all of them."""
    _list(app, limit, cursor)


@command("show", "tidegate models show churn", "tidegate models show churn:3", "tidegate models show churn@champion")
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]")
def show(app: App, model: str) -> None:
    """Show a model with its versions, or one version with its signature."""
    ref = parse_ref(model)
    wanted = f"@{ref.alias}" if ref.alias else ref.version
    if wanted is None:
        found = app.client().models.get(ref.name)
        return app.emit(found, lambda: _describe_model(found))
    version = app.client().models.version(ref.name, wanted)
    return app.emit(version, lambda: _describe(ref.name, version))


def _describe_model(model: Model) -> str:
    trust = "\nits pickles are trusted: loading a version may run code from its file" if model.pickle_trusted else ""
    return table(HEADERS, _rows([model]), f"model {model.name} has no versions") + trust


def _describe(name: str, version: Version) -> str:
    names = HEADERS[1:]
    lines = [f"{name}:{version.version}"]
    lines += [f"  {key:<11}{value}" for key, value in zip(names[1:], _cells(version)[1:], strict=True)]
    lines.append(f"  {'digest':<11}{version.digest}")
    lines += [f"  {'run':<11}{version.run_id}"] if version.run_id else []
    lines += [f"  {'about':<11}{version.description}"] if version.description else []
    lines += [f"  {'tags':<11}" + " ".join(f"{k}={v}" for k, v in version.tags.items())] if version.tags else []
    for index, line in enumerate(acceleration_lines(version.acceleration)):
        lines.append(f"  {'fast form' if index == 0 else '':<11}{'' if index == 0 else '  '}{line}")
    for side in ("inputs", "outputs"):
        lines += [f"  {side:<11}" + ", ".join(_tensor(spec) for spec in version.signature.get(side, []))]
    return "\n".join(lines)


def _tensor(spec: dict[str, object]) -> str:
    return f"{spec.get('name')} {spec.get('datatype')}{spec.get('shape')}"


@command("trust", "tidegate models trust churn --pickle", "tidegate models trust churn --no-pickle")
@click.argument("name")
@click.option("--pickle/--no-pickle", default=None, help="Whether its versions may be loaded by running their code.")
def trust(app: App, name: str, pickle: bool | None) -> None:
    """Grant (or withdraw) for all versions to come that loading them runs code from their files."""
    if pickle is None:
        raise InvalidArgument("say what to trust: --pickle, or --no-pickle to withdraw it", field="pickle")
    model = app.client().models.trust(name, pickle=pickle)
    granted = "may load pickles" if model.pickle_trusted else "may not load pickles without --allow-pickle"
    app.emit(model, lambda: f"new versions of {name} {granted}")


@command("alias", "tidegate models alias churn champion 3")
@click.argument("name")
@click.argument("alias")
@click.argument("version")
def alias(app: App, name: str, alias: str, version: str) -> None:
    """Point an alias of the registry at a version."""
    model = app.client().models.set_alias(name, alias, version)
    app.emit(model, lambda: f"{name}@{alias} is version {version}")


@command("delete", "tidegate models delete churn:2", "tidegate models delete churn --yes")
@click.argument("model", metavar="NAME[:VERSION]")
@yes_option
def delete(app: App, model: str, yes: bool) -> None:
    """Remove a version, or a model with all its versions; refused while an endpoint needs it."""
    ref = parse_ref(model)
    wanted = f"@{ref.alias}" if ref.alias else ref.version
    what = f"model {ref.name} with all its versions" if wanted is None else f"version {model}"
    app.confirm(f"Remove {what}, files included?", yes=yes)
    if wanted is None:
        app.client().models.delete(ref.name)
    else:
        app.client().models.delete_version(ref.name, wanted)
    app.emit({"deleted": model}, lambda: f"deleted {model}")


for _command in (list_, show, trust, alias, delete):
    models.add_command(_command)
