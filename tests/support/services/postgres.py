"""A PostgreSQL server of a test session: a cluster in a temporary folder, on a free port, with a password."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg

from support.services import missing
from support.wait import free_ports, until
from tidegate.store.database.engine import open_store

USER, PASSWORD = "tidegate", "only-for-tests"
TEMPLATE = "migrated"
# A crash of the machine, not of the server, may cost a test its data: nothing waits for the disk.
QUICK = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=300")


class Postgres:
    """One server. `stop`, `kill` and `start` may follow one another; the port and the data stay."""

    def __init__(self) -> None:
        self._programs = _programs()
        self.port = free_ports(1)[0]
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-pg-"))
        # The server refuses to run as root: there it runs as the user that the package made.
        self._user = "postgres" if os.getuid() == 0 else None
        self._server: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        self._has_template = False
        self._init()

    def _init(self) -> None:
        word = self._folder / "password"
        word.write_text(PASSWORD)
        if self._user:
            shutil.chown(self._folder, self._user)
            shutil.chown(word, self._user)
        argv = [str(self._programs / "initdb"), "--pgdata", str(self._data), "--username", USER, "--pwfile", str(word)]
        argv += ["--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"]
        subprocess.run(argv, check=True, capture_output=True, user=self._user, cwd=self._folder)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def url(self, database: str, password: str = PASSWORD) -> str:
        """As users write it."""
        return f"postgresql://{USER}:{password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Postgres:
        """Start it, and wait until it answers."""
        argv = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), "-k", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [*argv, "-h", "127.0.0.1", *QUICK], user=self._user, cwd=self._folder, stderr=log, stdout=log
            )
        until(self._answers, what="PostgreSQL")
        return self

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, (self._folder / "log").read_text()
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """As a crash would: connections are cut, nothing is written any more (the server's children end with it)."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """In good order."""
        self._end(signal.SIGINT)

    def _end(self, signum: signal.Signals) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.send_signal(signum)
            server.wait(30)

    def new_database(self) -> str:
        """The URL of an empty database that nobody else uses."""
        return self._create(f"test_{next(self._numbers)}")

    def migrated_database(self) -> str:
        """The URL of one that nobody else uses, as the migrations leave it: they run once on this server."""
        if not self._has_template:
            store = open_store(self._create(TEMPLATE))
            store.migrate()
            store.close()
            self._has_template = True
        return self._create(f"test_{next(self._numbers)}", TEMPLATE)

    def _create(self, name: str, template: str = "template1") -> str:
        with contextlib.closing(psycopg.connect(self.url("postgres"), autocommit=True)) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def remove(self) -> None:
        """End it and remove its folder."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self._folder)


def _programs() -> Path:
    """Debian keeps them out of PATH, by version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("postgres")
    if not found and not on_path:
        missing("PostgreSQL")
    return found[-1].parent if found else Path(str(on_path)).resolve().parent
