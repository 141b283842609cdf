"""What is PostgreSQL's own: how it is opened, how transactions begin, what failures mean. Called by `engine`."""

from __future__ import annotations

import json
from importlib.util import find_spec
from typing import Any

import orjson
from sqlalchemy import URL, Connection, Engine, create_engine, event

from tidegate.errors import DiskFull, InvalidArgument, MissingExtra, StoreUnavailable, TidegateError

READING = "tidegate_reading"
LOCK_TIMEOUT_S = 15
"""How long a writer waits for another's transaction before it fails."""
WRITERS_LOCK = 0x7469_6465_6761_7465
"""Advisory lock of all writing transactions: "tidegate" in ASCII."""
PAUSED_S = 4
"""How long a writer may do nothing within a transaction: one that was stopped there must not hold up its successor."""
CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "tidegate",
    # A host that vanished without a word is noticed in seconds, not by the kernel's two hours.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def make_engine(url: URL) -> Engine:
    """Connects on first use. Raises `MissingExtra` without the driver."""
    if find_spec("psycopg") is None:
        raise MissingExtra("DATABASE_URL names PostgreSQL, whose driver is missing: pip install 'tidegate[postgres]'")
    # What the URL itself says (?connect_timeout=1) stays as it is.
    own = {name: value for name, value in CONNECT.items() if name not in url.query}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        connect_args=own,
        pool_size=5,
        max_overflow=20,
        json_serializer=_json,
        pool_pre_ping=True,  # connections of before a restart are replaced, not handed out
    )
    event.listen(engine, "connect", _prepare_connection)
    event.listen(engine, "begin", _begin)
    return engine


def reader_of(engine: Engine) -> Engine:
    """The same database, each transaction one consistent view."""
    return engine.execution_options(**{READING: True}, isolation_level="REPEATABLE READ")


def _json(value: Any) -> str:
    """PostgreSQL's JSON has no NaN and no Infinity: they become null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _prepare_connection(connection: Any, _record: object) -> None:
    from psycopg.types.string import StrDumper

    class NulFree(StrDumper):
        """PostgreSQL's text has no NUL; the last words of a crashed model may."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd"))

    connection.adapters.register_dumper(str, NulFree)


def _begin(connection: Connection) -> None:
    """Writers take turns, as on SQLite: what one has read is still so when it writes."""
    if not connection.get_execution_options().get(READING, False):
        connection.exec_driver_sql(
            f"SELECT set_config('lock_timeout', '{LOCK_TIMEOUT_S}s', true),"
            f" set_config('idle_in_transaction_session_timeout', '{PAUSED_S}s', true),"
            f" pg_advisory_xact_lock({WRITERS_LOCK})"
        )


def where(url: URL) -> str:
    """The database in words, without its password."""
    host = url.host or url.query.get("host") or "this machine's socket"
    return f"PostgreSQL at {host}:{url.port or url.query.get('port', 5432)}, database {url.database or url.username!r}"


REFUSALS = {
    "password authentication failed": "correct user and password in DATABASE_URL",
    "no password supplied": "give the password in DATABASE_URL",
    "does not exist": "create it (createdb, createuser), or correct DATABASE_URL",
    "pg_hba.conf": "allow this machine in the server's pg_hba.conf, or correct DATABASE_URL",
    "could not translate host name": "correct the host in DATABASE_URL",
    "failed to resolve host": "correct the host in DATABASE_URL",
    "too many clients": "raise max_connections of the server",
    "permission denied": "give this user the right to create and write tables in the database",
    "idle-in-transaction": "nothing was changed; try again",
    "read-only": "DATABASE_URL names a standby: give the primary",
}
REFUSED_STATES = ("42501", "25006", "3F000", "25P03")


def mapped(error: Any, url: URL) -> TidegateError | None:
    """Our error for a failure of the server or the way there; None for one of the program."""
    import psycopg

    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate or ""
    if state == "53100":
        return DiskFull(f"the disk of {where(url)} is full: nothing was changed; free some space there and try again")
    if state == "22001":
        return InvalidArgument(f"a text is longer than the database takes ({str(error).splitlines()[0]}): shorten it")
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) and state not in REFUSED_STATES:
        return None
    said = " ".join(str(error).removeprefix("connection failed: ").split())[:300]
    if url.password:
        said = said.replace(str(url.password), "***")
    advice = next((advice for sign, advice in REFUSALS.items() if sign in said), None)
    if advice:
        return StoreUnavailable(f"{where(url)} refuses ({said}): {advice}")
    return StoreUnavailable(f"{where(url)} does not answer ({said}): start it, or correct DATABASE_URL")
