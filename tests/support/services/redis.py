"""A Redis server of a test session: in memory alone, on a free port, with a password."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import redis

from support.services import missing
from support.wait import free_ports, until

PASSWORD = "only-for-tests"


class RedisServer:
    """One server. `kill` and `start` may follow one another: the port stays, what it held does not."""

    def __init__(self) -> None:
        self._program = _program()
        self.port = free_ports(1)[0]
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-redis-"))
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As users write it."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> RedisServer:
        """Start it, and wait until it answers."""
        argv = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", PASSWORD]
        argv += ["--save", "", "--appendonly", "no", "--dir", str(self._folder), "--daemonize", "no"]
        with (self._folder / "log").open("ab") as log:
            # By the first argument: Debian's redis-tools has the same program under another name.
            self._server = subprocess.Popen(argv, executable=self._program, stdout=log, stderr=log)
        until(self._answers, what="Redis")
        return self

    def client(self) -> redis.Redis:
        """A client with short patience."""
        return redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=5)

    def keys(self, pattern: str) -> list[bytes]:
        """The keys it holds now."""
        with self.client() as client:
            return sorted(client.scan_iter(pattern))

    def _answers(self) -> bool:
        assert self._server is not None
        assert self._server.poll() is None, (self._folder / "log").read_text()
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    @property
    def running(self) -> bool:
        """Whether it was started, and not killed since."""
        return self._server is not None

    def pause(self) -> None:
        """It holds its connections and says nothing any more."""
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on."""
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGCONT)

    def kill(self) -> None:
        """As a crash would."""
        server, self._server = self._server, None
        if server is not None:
            server.send_signal(signal.SIGKILL)
            server.wait(10)

    def remove(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder)


def _program() -> str:
    found = shutil.which("redis-server") or shutil.which("redis-check-rdb")
    if found is None:
        missing("Redis")
    return found
