"""Runs the schema's migrations (Alembic, kept in `store/migrations`); called by the store when a process starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, column, literal_column, select, table

from tidegate.errors import StoreUnavailable

MIGRATIONS = Path(__file__).parent.parent / "migrations"
PAUSED_S = 60
"""How long a migration may do nothing within its transaction: on a busy machine it thinks longer than writers may."""
_LEASES = "0004"
"""Since this revision the database says who leads."""


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


def migrate(engine: Engine, host: str) -> None:
    """Upgrade to the newest revision, in one transaction.

    Raises `StoreUnavailable` for a newer release's schema, and while a control plane of another host than `host` leads
    with an earlier release: it could not go on with the new one.
    """
    with engine.begin() as connection:
        _upgrade_all(connection, host)


def rehearse(engine: Engine, host: str) -> None:
    """The same, taken back. Databases that we keep state in change their schema in transactions as they do rows."""
    with engine.connect() as connection, connection.begin() as transaction:
        _upgrade_all(connection, host)
        transaction.rollback()


def _upgrade_all(connection: Connection, host: str) -> None:
    _may_pause(connection)  # from the start: reading the migrations' files takes a while too
    schema = schema_of(connection)
    schema.refuse_newer()
    leader = _leader(connection) if schema.pending and _LEASES not in schema.pending else None
    if leader not in (None, host):
        raise StoreUnavailable(
            f"the control plane of {leader} leads with an earlier release, and could not go on with this one's schema: "
            "upgrade it first ('tidegate up' there), or stop it"
        )
    upgrade(connection, "head")


def _leader(connection: Connection) -> str | None:
    """The host whose control plane leads. By columns that every release has, and by the database's clock."""
    clock = "(julianday('now') - 2440587.5) * 86400.0"
    if connection.dialect.name == "postgresql":
        clock = "extract(epoch FROM clock_timestamp())::float8"
    leads = column("holder") != "", column("expires_at") > literal_column(clock)
    return connection.scalar(select(column("host")).select_from(table("leases")).where(*leads))


def upgrade(connection: Connection, revision: str) -> None:
    """Upgrade to this revision, inside the connection's transaction."""
    _may_pause(connection)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _may_pause(connection: Connection) -> None:
    """Have the server wait for the rest of this transaction, once its settings would have it end a writer's."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = '{PAUSED_S}s'")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
