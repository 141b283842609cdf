"""`db` and its verbs: upgrade, check, backup, restore. Each becomes `python -m tidegate.db`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import click

from tidegate.cli.app import CONTEXT, App, LazyGroup, command, common_options, remember
from tidegate.cli.platform.processes import become
from tidegate.errors import MissingExtra
from tidegate.settings import Settings


@click.group("db", cls=LazyGroup, context_settings=CONTEXT, params=common_options())
@click.pass_context
def db(ctx: click.Context, json_: bool, data_dir: Path | None, url: str | None) -> None:
    """Look after the database: the one of DATABASE_URL (SQLite or PostgreSQL), else SQLite in the data directory."""
    remember(ctx, json_, data_dir, url)


db.examples = ("tidegate db check", "tidegate db backup ./tidegate-backup.gz")


@command("upgrade", "tidegate db upgrade", "tidegate db upgrade --data-dir ./state --json")
def upgrade(app: App) -> None:
    """Bring the database's schema to this release's, in one transaction. 'tidegate up' does it too."""
    _become(app, "upgrade")


@command("check", "tidegate db check", "tidegate db check --json")
def check(app: App) -> None:
    """Say whether the database answers and has this release's schema, and what is in it.

    Ends with 1 when it does not answer, refuses user or password, is not upgraded, or is of a newer release.
    """
    _become(app, "check")


@command("backup", "tidegate db backup ./tidegate-backup.gz", "tidegate db backup ./tidegate-backup.gz --json")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def backup(app: App, *, file: Path) -> None:
    """Write all rows of one moment to FILE, while the platform runs.

    The file fits both kinds of database: restored with another DATABASE_URL, it moves the platform from SQLite to
    PostgreSQL or back. Model files and the MLflow registry are not in it: copy the data directory as well.
    """
    _become(app, "backup", str(file.absolute()))


@command("restore", "tidegate db restore ./tidegate-backup.gz", "tidegate db restore ./tidegate-backup.gz --force")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace what the database holds.")
def restore(app: App, *, file: Path, force: bool) -> None:
    """Put the rows of FILE into the database, all or nothing, and upgrade an older schema. Stop the platform first.

    A database that is not empty is refused without --force, and a backup of a newer release always.
    """
    _become(app, "restore", str(file.absolute()), *(["--force"] if force else []))


def _become(app: App, *arguments: str) -> NoReturn:
    if find_spec("sqlalchemy") is None:
        raise MissingExtra("looking after the database needs sqlalchemy: pip install 'tidegate[platform]'")
    data_dir = Settings.from_env(data_dir=app.data_dir).data_dir
    become("tidegate.db", [*arguments, "--data-dir", str(data_dir), *(["--json"] if app.json else [])])


for _verb in (upgrade, check, backup, restore):
    db.add_command(_verb)
