"""Writes all rows of a database to a file, and a file's rows to a database of either kind. Called by `tidegate.db`.

The file is gzipped JSON, one line a row, of our own tables only: it moves between SQLite and PostgreSQL and between
releases (an older schema is upgraded on the way in). It holds no artifacts and no passwords.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any
from zlib import error as BadDeflate  # noqa: N812 - the library's own spelling is that of a variable

import orjson
from sqlalchemy import Connection, Integer, MetaData, Table, func, inspect, select, text
from sqlalchemy.orm import Session

from tidegate.errors import Conflict, InvalidArgument, StoreUnavailable
from tidegate.store.database.engine import Store
from tidegate.store.database.migrate import known_revisions, schema_of, upgrade
from tidegate.store.leases import database_time
from tidegate.store.tables import LeaseRow, SnapshotRow
from tidegate.store.tables.base import Base
from tidegate.system.atomic import replacing
from tidegate.version import __version__

FORMAT = "tidegate-backup-1"
ROWS_AT_ONCE = 500
REVISIONS_AHEAD = 1_000_000
"""A restored routing snapshot counts on from here, so that gateways take it for newer than any they have seen."""

OF_THE_DATABASE = {LeaseRow.__tablename__}
"""Who leads on a database, and where its files lie, is not moved to another."""


@dataclass(frozen=True)
class Copied:
    """What went into a backup or came out of it."""

    file: str
    schema: str
    rows: dict[str, int]


def backup(store: Store, path: Path, now: float) -> Copied:
    """Write one moment's rows while the platform goes on. The file appears once it is whole, for its owner alone.

    Raises `Conflict` where the file is there already, `StoreUnavailable` for a database without tables or a newer one.
    """
    if path.exists():
        raise Conflict(f"{path} is there already: a backup overwrites nothing; name another file, or remove it")
    with store.reading() as tx:
        connection = tx.connection()
        schema = schema_of(connection)
        schema.refuse_newer()
        if schema.found is None:
            raise StoreUnavailable(f"{store.where} has no tables of Tidegate yet: there is nothing to back up")
        tables = _tables(connection, set(Base.metadata.tables) - OF_THE_DATABASE)
        header = {"format": FORMAT, "schema": schema.found, "release": __version__, "written_at": now}
        with _staged(path) as file:
            file.write(_line({**header, "tables": [str(table.name) for table in tables]}))
            rows = {str(table.name): _write_rows(connection, table, file) for table in tables}
            file.write(_line({"end": sum(rows.values())}))
    return Copied(str(path), schema.found, rows)


@contextmanager
def _staged(path: Path) -> Iterator[gzip.GzipFile]:
    try:
        with replacing(path, mode=0o600) as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="") as file:
            yield file
    except OSError as error:
        raise InvalidArgument(f"the backup {path} cannot be written: {error.strerror or error}") from error


def _write_rows(connection: Connection, table: Table, file: gzip.GzipFile) -> int:
    count = 0
    for row in connection.execute(select(table)).mappings():
        file.write(_line([str(table.name), {str(name): value for name, value in row.items()}]))
        count += 1
    return count


def _line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def restore(store: Store, path: Path, *, force: bool) -> Copied:
    """Replace the database's rows by the file's, in one transaction: all of it or nothing.

    Raises `Conflict` for a database that has rows, without `force`; `InvalidArgument` for a file that is no whole
    backup; `StoreUnavailable` for a backup, or a database, of a newer release.
    """
    lines = _lines(path)
    header = _header(path, next(lines, None))
    with store.transaction() as tx:
        connection = tx.connection()
        schema_of(connection).refuse_newer()
        lease = _lease(tx, store.where)
        _refuse_rows(connection, store.where, force)
        revision = _snapshot_revision(connection)
        _drop(connection)
        upgrade(connection, header["schema"])
        rows = _insert(connection, header["tables"], lines, path)
        _count_on(connection, header["tables"])
        upgrade(connection, "head")
        ahead = max(revision, _snapshot_revision(connection)) + REVISIONS_AHEAD
        tx.execute(SnapshotRow.__table__.update().values(revision=ahead))  # type: ignore[attr-defined]
        if lease:
            tx.execute(LeaseRow.__table__.insert(), lease)  # type: ignore[attr-defined]
    return Copied(str(path), header["schema"], rows)


def _lease(tx: Session, where: str) -> list[dict[str, Any]]:
    """What the database has of it; raises `Conflict` while a control plane leads."""
    if not inspect(tx.connection()).has_table(LeaseRow.__tablename__):
        return []
    found = [dict(row) for row in tx.execute(select(LeaseRow.__table__)).mappings()]
    for row in found:
        if row["holder"] and row["expires_at"] > database_time(tx):
            raise Conflict(
                f"{where} is in use by the platform on {row['host']} ({row['url']}): stop it with 'tidegate down', and "
                "every other control plane of this database, or give DATABASE_URL another one"
            )
    return found


def _lines(path: Path) -> Iterator[Any]:
    try:
        with gzip.open(path) as file:
            for line in file:
                yield orjson.loads(line)
    except FileNotFoundError:
        raise InvalidArgument(f"there is no file {path}") from None
    except (OSError, EOFError, BadDeflate, orjson.JSONDecodeError) as error:
        raise InvalidArgument(f"{path} is no backup of Tidegate, or was cut short ({error})") from None


def _header(path: Path, first: Any) -> dict[str, Any]:
    if not isinstance(first, dict) or first.get("format") != FORMAT:
        raise InvalidArgument(f"{path} is no backup of Tidegate that this release can read")
    if first["schema"] not in known_revisions():
        raise StoreUnavailable(
            f"{path} was written by a newer release of Tidegate ({first['release']}, schema {first['schema']}; this "
            f"release knows up to {known_revisions()[-1]}): restore it with that release"
        )
    return first


def _refuse_rows(connection: Connection, where: str, force: bool) -> None:
    held = {} if force else count_rows(connection)
    full = [f"{name} {count}" for name, count in held.items() if count and name != "snapshots"]
    if full:
        raise Conflict(f"{where} is not empty ({', '.join(full)}): --force replaces what is in it by the backup")


def count_rows(connection: Connection) -> dict[str, int]:
    """How many rows each of our tables has."""
    tables = _tables(connection, set(Base.metadata.tables) - OF_THE_DATABASE)
    return {str(one.name): connection.scalar(select(func.count()).select_from(one)) or 0 for one in tables}


def _tables(connection: Connection, names: set[str]) -> list[Table]:
    """As the database describes them, each after those it refers to."""
    metadata = MetaData()
    metadata.reflect(connection, only=sorted(names & set(inspect(connection).get_table_names())))
    return list(metadata.sorted_tables)


def _snapshot_revision(connection: Connection) -> int:
    if not inspect(connection).has_table("snapshots"):
        return 0
    return connection.scalar(select(func.max(SnapshotRow.revision))) or 0


def _drop(connection: Connection) -> None:
    for table in reversed(_tables(connection, {*Base.metadata.tables, "alembic_version"})):
        table.drop(connection)


def _insert(connection: Connection, names: list[str], lines: Iterator[Any], path: Path) -> dict[str, int]:
    tables = {str(table.name): table for table in _tables(connection, set(names))}
    rows, end = dict.fromkeys(names, 0), None
    for name, group in groupby(lines, key=lambda line: line[0] if isinstance(line, list) else None):
        if name is None:
            end = next(group)["end"]
            continue
        while some := list(islice(group, ROWS_AT_ONCE)):
            connection.execute(tables[name].insert(), [row for _, row in some])
            rows[name] += len(some)
    if end != sum(rows.values()):
        raise InvalidArgument(f"{path} was cut short: nothing was restored")
    return rows


def _count_on(connection: Connection, names: list[str]) -> None:
    """PostgreSQL's sequences do not notice rows that bring their own number."""
    if connection.dialect.name != "postgresql":
        return
    for table in _tables(connection, set(names)):
        for column in table.primary_key:
            if isinstance(column.type, Integer):
                connection.execute(
                    text("SELECT setval(pg_get_serial_sequence(:t, :c), :n)"),
                    {"t": table.name, "c": column.name, "n": (connection.scalar(select(func.max(column))) or 0) + 1},
                )
