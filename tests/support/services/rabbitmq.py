"""A RabbitMQ of a test session: a node of its own name, epmd, cookie and folder, on free ports of loopback."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psutil

from support.services import missing
from support.wait import free_ports, until

STARTS_S = 300.0


class RabbitMQ:
    """One broker, without any plugin. `stop`, `kill` and `start` may follow one another; port and messages stay."""

    def __init__(self) -> None:
        self._server_script, self._epmd_program = _programs()
        self.port, distribution, epmd = free_ports(3)
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-mq-"))
        (self._folder / "empty").touch()
        (self._folder / "plugins").write_text("[].\n")
        (self._folder / "rabbitmq.conf").write_text("log.file.level = warning\n")
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),  # of the cookie
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "empty"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_NODENAME": f"tidegate-{secrets.token_hex(4)}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
        }
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As users write it. Guests are welcome from loopback."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> RabbitMQ:
        """Start it, unless it runs, and wait until it takes connections."""
        if self._server is not None:
            return self
        with (self._folder / "output").open("ab") as log:
            if self._epmd is None:
                argv = [self._epmd_program, "-port", self._env["ERL_EPMD_PORT"], "-address", "127.0.0.1"]
                self._epmd = subprocess.Popen(argv, stdout=log, stderr=log, env=self._env, cwd=self._folder)
            argv = [self._server_script]
            self._server = subprocess.Popen(argv, stdout=log, stderr=log, env=self._env, cwd=self._folder)
        until(self._answers, timeout_s=STARTS_S, what="RabbitMQ")
        return self

    def _answers(self) -> bool:
        """It says its own name to whoever speaks another protocol."""
        assert self._server is not None
        assert self._server.poll() is None, (self._folder / "output").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                connection.sendall(b"AMQP\0\0\0\0")
                return connection.recv(4) == b"AMQP"
        except OSError:
            return False

    def kill(self) -> None:
        """As a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In good order."""
        self._end(signal.SIGTERM)

    def _end(self, signum: signal.Signals) -> None:
        """The script first lets its Erlang machine end, and does not outlive it."""
        server, self._server = self._server, None
        if server is None:
            return
        whole = psutil.Process(server.pid).children(recursive=True)
        for process in whole:
            if process.name().startswith("beam"):
                process.send_signal(signum)
        psutil.wait_procs(whole, timeout=30)
        server.kill()
        server.wait(30)

    def remove(self) -> None:
        """End all of it and remove its folder."""
        self._end(signal.SIGKILL)
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(30)
        shutil.rmtree(self._folder)


def _programs() -> tuple[str, str]:
    """Debian's wrapper in PATH insists on its own user and folders; the script behind it does not."""
    scripts = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    script = str(scripts[-1]) if scripts else shutil.which("rabbitmq-server")
    epmd = shutil.which("epmd")
    if script is None or epmd is None:
        missing("RabbitMQ")
    return script, epmd
