"""The database behind the store: opens it, migrates it, hands out transactions, and turns its failures into ours.

Called by wiring (open, migrate, close) and by services, loops and jobs (transactions).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session

from tidegate.errors import DataDirUnusable, DiskFull, InvalidArgument, StoreUnavailable, TidegateError
from tidegate.store.migrate import migrate

BUSY_TIMEOUT_S = 15.0
"""How long a writer waits for another process's transaction (a `tidegate down`, a backup) before it gives up."""

_READING = "tidegate_reading"


class Store:
    """One database. Safe to share between threads; each transaction has a connection of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{_READING: True})

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction that may write: it holds the write lock from its start, commits at the end, or changes nothing.

        Keep it short, and call nothing outside the database within. Raises `StoreUnavailable`, `DiskFull`.
        """
        with _mapped_errors(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view for reading; it never waits for writers. Raises `StoreUnavailable`."""
        with _mapped_errors(), Session(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session
            session.expunge_all()

    def migrate(self) -> None:
        """Bring the schema to this release's. Raises `StoreUnavailable` for one that a newer release wrote."""
        with _mapped_errors():
            migrate(self._engine)

    def close(self) -> None:
        """Give the connections back; the store can be opened again."""
        self._engine.dispose()


def open_store(url: str) -> Store:
    """A store at an SQLAlchemy URL (`sqlite:////absolute/tidegate.db`). Connects on first use.

    Raises `InvalidArgument` for a URL that cannot be read or a database this release does not speak.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InvalidArgument(
            "DATABASE_URL cannot be read: give for example sqlite:////absolute/path/tidegate.db"
        ) from None
    if parsed.get_backend_name() != "sqlite":
        raise InvalidArgument(
            f"DATABASE_URL names {parsed.get_backend_name()!r}: this release keeps its state in SQLite only "
            "(sqlite:////absolute/path/tidegate.db); unset it to use the data directory"
        )
    if not parsed.database or parsed.database == ":memory:":
        raise InvalidArgument("DATABASE_URL names no file: several processes share the database")
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, pool_size=10, max_overflow=30)
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    return Store(engine)


def store_url(data_dir: Path, database_url: str | None) -> str:
    """The URL to open: the one given, else SQLite in the data directory."""
    return database_url or f"sqlite:///{data_dir / 'tidegate.db'}"


def _prepare_connection(connection: sqlite3.Connection, _record: object) -> None:
    # The driver's own transaction control begins late and implicitly; `_begin` does it explicitly instead.
    connection.isolation_level = None
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # A deferred transaction that becomes a writer fails at once when another wrote meanwhile; an immediate one waits.
    reading = connection.get_execution_options().get(_READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        mapped = _mapped(getattr(error, "orig", error))
        if mapped is None:
            raise
        raise mapped from error


def _mapped(error: Any) -> TidegateError | None:
    """Our error for a failure of the machine; None for one of the program (a constraint, a wrong statement)."""
    text = str(error)
    if "full" in text and "disk" in text:
        return DiskFull()
    if "readonly" in text or "unable to open" in text:
        return DataDirUnusable(f"the database cannot be written ({text}): check the data directory's owner and mode")
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in text:
        return DataDirUnusable("the file tidegate.db is no database: restore it from a backup or move it away")
    if isinstance(error, sqlite3.OperationalError) and ("locked" in text or "I/O" in text or "busy" in text):
        return StoreUnavailable(f"the database does not answer ({text}): try again")
    return None
