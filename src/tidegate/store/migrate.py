"""Runs the schema's migrations (Alembic, kept in `store/migrations`); called by the store when a process starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from tidegate.errors import StoreUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class Schema:
    """A database's schema beside this release's. `found` is None for a database without tables of ours."""

    found: str | None
    newest: str
    pending: tuple[str, ...]
    newer: bool

    def refuse_newer(self) -> None:
        """Raises `StoreUnavailable` when a newer release wrote the database."""
        if self.newer:
            raise StoreUnavailable(
                f"the database was written by a newer release of Tidegate (schema {self.found}; this release knows up "
                f"to {self.newest}): install that release, or restore an older backup"
            )


def schema_of(connection: Connection) -> Schema:
    """What the database says of itself; changes nothing."""
    order = known_revisions()
    found = ", ".join(sorted(MigrationContext.configure(connection).get_current_heads())) or None
    newer = found is not None and found not in order
    done = order.index(found) + 1 if found in order else 0
    return Schema(found, order[-1], () if newer else tuple(order[done:]), newer)


def known_revisions() -> list[str]:
    """Every schema this release knows, oldest first."""
    return [revision.revision for revision in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]


def migrate(engine: Engine) -> None:
    """Upgrade to the newest revision, in one transaction. Raises `StoreUnavailable` for a newer release's schema."""
    with engine.begin() as connection:
        schema_of(connection).refuse_newer()
        upgrade(connection, "head")


def rehearse(engine: Engine) -> None:
    """The same, taken back. Databases that we keep state in change their schema in transactions as they do rows."""
    with engine.connect() as connection, connection.begin() as transaction:
        schema_of(connection).refuse_newer()
        upgrade(connection, "head")
        transaction.rollback()


def upgrade(connection: Connection, revision: str) -> None:
    """Upgrade to this revision, inside the connection's transaction."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
