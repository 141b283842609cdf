"""Runs the schema's migrations (Alembic, kept in `store/migrations`); called by the store when a process starts."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from tidegate.errors import StoreUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Upgrade to the newest revision, in one transaction. Raises `StoreUnavailable` for a newer release's schema."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        _refuse_newer(connection, ScriptDirectory.from_config(config))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _refuse_newer(connection: Connection, script: ScriptDirectory) -> None:
    known = {revision.revision for revision in script.walk_revisions()}
    unknown = set(MigrationContext.configure(connection).get_current_heads()) - known
    if unknown:
        raise StoreUnavailable(
            f"the database was written by a newer release of Tidegate (schema {', '.join(sorted(unknown))}; "
            f"this release knows up to {script.get_current_head()}): install that release, or restore an older backup"
        )
