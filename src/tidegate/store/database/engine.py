"""The database behind the store: opens it, migrates it, hands out transactions, and turns its failures into ours.

Called by wiring (open, migrate, close) and by services, loops and jobs (transactions).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from tidegate.errors import DataDirUnusable, DiskFull, InvalidArgument, StoreUnavailable, TidegateError
from tidegate.store.database import postgres
from tidegate.store.database.migrate import Schema, migrate, rehearse, schema_of
from tidegate.system.exhaustion import no_descriptor_left

BUSY_TIMEOUT_S = 15.0
"""How long a writer waits for another process's transaction (a `tidegate down`, a backup) before it fails."""

BACKENDS = {"sqlite": "sqlite", "postgresql": "postgresql", "postgres": "postgresql"}
"""How users begin the URL, and what it means. The driver is this module's business."""
EXAMPLES = "sqlite:////absolute/path/tidegate.db or postgresql://user:password@host:5432/tidegate"


Fence = Callable[[Session], None]
"""Raises where the caller may not write (any more)."""


class Store:
    """One database. Safe to share between threads; each transaction has a connection of its own."""

    def __init__(self, engine: Engine, fence: Fence | None = None) -> None:
        self._engine = engine
        self._fence = fence
        unlocked = engine.execution_options(**{postgres.READING: True})
        self._reader = unlocked if engine.dialect.name == "sqlite" else postgres.reader_of(engine)
        self._aside = engine if engine.dialect.name == "sqlite" else unlocked

    def fenced(self, fence: Fence) -> Store:
        """The same database, for a writer that may come too late: `fence` speaks in each transaction before it writes.

        After the fences that are there already.
        """
        before = self._fence

        def both(tx: Session) -> None:
            if before is not None:
                before(tx)
            fence(tx)

        return Store(self._engine, both)

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database."""
        name = self._engine.url.database
        return Path(name) if name and self._engine.dialect.name == "sqlite" else None

    @property
    def where(self) -> str:
        """The database in words, without its password."""
        url = self._engine.url
        return f"SQLite file {url.database}" if self._engine.dialect.name == "sqlite" else postgres.where(url)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction that may write: it holds the write lock from its start, commits at the end, or changes nothing.

        Keep it short, and call nothing outside the database within. Raises `StoreUnavailable`, `DiskFull`.
        """
        with self._mapped_errors(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            if self._fence is not None:
                self._fence(session)
            yield session

    def joined(self, tx: Session) -> Store:
        """The same store for use cases that are to be part of `tx`: theirs is committed, or taken back, with it."""
        return _Joined(self._engine, self._fence, tx)

    def check(self) -> None:
        """Before a change outside the database: raises what the fence raises, where this writer was replaced."""
        with self.transaction():
            pass

    @contextmanager
    def aside(self) -> Iterator[Session]:
        """A transaction that changes one row and does not wait for its turn among the writers."""
        with self._mapped_errors(), Session(self._aside, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view for reading; it never waits for writers. Raises `StoreUnavailable`."""
        with self._mapped_errors(), Session(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session
            session.expunge_all()

    def migrate(self, host: str = "") -> None:
        """Bring the schema to this release's.

        Raises `StoreUnavailable` for one that a newer release wrote, and while another host's control plane leads with
        an earlier one.
        """
        with self._mapped_errors():
            migrate(self._engine, host)

    def rehearse_migration(self, host: str = "") -> None:
        """Try `migrate` and take it back. Raises `StoreUnavailable` also for what the migrations would fail on."""
        try:
            with self._mapped_errors():
                rehearse(self._engine, host)
        except SQLAlchemyError as error:
            why = str(getattr(error, "orig", error)).partition("\n")[0]
            raise StoreUnavailable(f"{self.where} cannot be brought to this release's schema: {why}") from error

    def schema(self) -> Schema:
        """Which schema the database has, and which this release wants. Changes nothing. Raises `StoreUnavailable`."""
        with self._mapped_errors(), self._reader.connect() as connection:
            return schema_of(connection)

    def close(self) -> None:
        """Give the connections back; the store can be opened again."""
        self._engine.dispose()

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        try:
            yield
        except PoolTimeout as error:
            raise StoreUnavailable(f"{self.where} is overloaded (every connection is in use): try again") from error
        except (DBAPIError, sqlite3.Error) as error:
            origin = getattr(error, "orig", error)
            sqlite = self._engine.dialect.name == "sqlite"
            ours = _mapped(origin) if sqlite else postgres.mapped(origin, self._engine.url)
            if ours is None:
                raise
            raise ours from error


class _Joined(Store):
    """Every transaction of it is part of one that is open already."""

    def __init__(self, engine: Engine, fence: Fence | None, tx: Session) -> None:
        super().__init__(engine, fence)
        self._tx = tx

    def fenced(self, fence: Fence) -> Store:
        return super().fenced(fence).joined(self._tx)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        if self._fence is not None:
            self._fence(self._tx)
        yield self._tx
        self._tx.flush()

    @contextmanager
    def aside(self) -> Iterator[Session]:
        yield self._tx
        self._tx.flush()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        self._tx.flush()
        yield self._tx


def open_store(url: str) -> Store:
    """A store at a URL (`sqlite:////absolute/tidegate.db`, `postgresql://user@host/name`). Connects on first use.

    Raises `InvalidArgument` for a URL that cannot be read or a database that the store does not speak, `MissingExtra`.
    """
    parsed = _parsed(url)
    if BACKENDS[parsed.get_backend_name()] == "postgresql":
        return Store(postgres.make_engine(parsed))
    if not parsed.database or parsed.database == ":memory:":
        raise InvalidArgument("DATABASE_URL names no file: several processes share the database")
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S}, pool_size=10, max_overflow=30)
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    return Store(engine)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # a port that is no number is a ValueError
        raise InvalidArgument(f"DATABASE_URL cannot be read: give for example {EXAMPLES}") from None
    if parsed.get_backend_name() not in BACKENDS:
        raise InvalidArgument(
            f"DATABASE_URL names {parsed.get_backend_name()!r}: the state is kept in SQLite or PostgreSQL "
            f"({EXAMPLES}); unset it to use the data directory"
        )
    return parsed


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
    reading = connection.get_execution_options().get(postgres.READING, False)
    connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _mapped(error: Any) -> TidegateError | None:
    """Our error for a failure of the machine; None for one of the program (a constraint, a wrong statement)."""
    text = str(error)
    if "full" in text and "disk" in text:
        return DiskFull()
    if "unable to open" in text and no_descriptor_left():
        return StoreUnavailable(f"the database cannot be opened ({text}): this process has no file descriptor left")
    if "readonly" in text or "unable to open" in text:
        return DataDirUnusable(f"the database cannot be written ({text}): check the data directory's owner and mode")
    if isinstance(error, sqlite3.DatabaseError) and "not a database" in text:
        return DataDirUnusable("the file tidegate.db is no database: restore it from a backup or move it away")
    if isinstance(error, sqlite3.OperationalError) and ("locked" in text or "I/O" in text or "busy" in text):
        return StoreUnavailable(f"the database does not answer ({text}): try again")
    return None
