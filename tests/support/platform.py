"""A platform as its users meet it: through the command line and HTTP, on free ports and a data directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import httpx
import psutil

from support.wait import free_ports
from tidegate.settings import Settings
from tidegate.system.run_dir import run_dir

TIDEGATE = Path(sys.executable).with_name("tidegate")
OWN_SETTINGS = ("TIDEGATE_", "MLFLOW_", "AWS_", *(item.metadata["env"] for item in fields(Settings)))


def clean_env(**more: str) -> dict[str, str]:
    """The environment without anything that leads to another platform."""
    return {key: value for key, value in os.environ.items() if not key.startswith(OWN_SETTINGS)} | more


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, decoded."""
        return json.loads(self.out)

    @property
    def said(self) -> str:
        """Everything it printed."""
        return self.out + self.err


def tidegate(
    *args: str,
    timeout_s: float = 90.0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    command: Sequence[str] = (str(TIDEGATE),),
) -> Ran:
    """Run the command line to its end, away from whatever platform this machine runs."""
    done = subprocess.run(
        [*command, *args],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
        env=clean_env(**(env or {})),
        cwd=cwd,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


@dataclass
class Platform:
    """One platform. `start` and `stop` may be called again and again; ports and data directory stay."""

    data_dir: Path
    env: dict[str, str] = field(default_factory=dict)
    ports: list[int] = field(default_factory=lambda: free_ports(3))
    host: str = "127.0.0.1"
    gateways: int = 1
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = (str(TIDEGATE),)

    @property
    def gateway_url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[2]}"

    @property
    def token(self) -> str:
        return (self.data_dir / "token").read_text().strip()

    @property
    def control_pid(self) -> int:
        return int(json.loads((self.data_dir / "control.json").read_text())["pid"])

    def up(self) -> Ran:
        """`tidegate up --detach`, whatever comes of it."""
        port, grpc_port, control_port = map(str, self.ports)
        ports = ["--port", port, "--grpc-port", grpc_port, "--control-port", control_port]
        where = ["--data-dir", str(self.data_dir), "--gateways", str(self.gateways)]
        return tidegate(
            "up", "--detach", "--host", self.host, *ports, *where, *self.options, env=self.env, command=self.command
        )

    def start(self) -> Platform:
        """`up`, which must succeed."""
        ran = self.up()
        assert ran.code == 0, ran.said + self.log()
        return self

    def stop(self) -> Ran:
        """`tidegate down`; afterwards nothing of this platform runs, whatever the command did."""
        ran = tidegate("down", "--data-dir", str(self.data_dir), env=self.env)
        for process in self.processes():
            process.kill()
        shutil.rmtree(run_dir(self.data_dir), ignore_errors=True)
        return ran

    def processes(self, module: str = "tidegate.") -> list[psutil.Process]:
        """What runs of this platform, found by its argument lists."""
        found = []
        for process in psutil.process_iter():
            try:
                argv = process.cmdline()
            except psutil.Error:
                continue
            if str(self.data_dir) in argv and any(part.startswith(module) for part in argv):
                found.append(process)
        return found

    def replica_pids(self) -> set[int]:
        return {process.pid for process in self.processes("tidegate.server")}

    def log(self) -> str:
        """The end of the control plane's log, for a failing test."""
        path = self.data_dir / "logs" / "control.log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def cli(self, *args: str, timeout_s: float = 90.0) -> Ran:
        """A command that talks to this platform."""
        where = ("--data-dir", str(self.data_dir))
        env = {**self.env, "TIDEGATE_URL": self.url}
        return tidegate(*args, *where, timeout_s=timeout_s, env=env, command=self.command)

    def done(self, *args: str, timeout_s: float = 90.0) -> Any:
        """What a command that must succeed printed with --json, decoded."""
        ran = self.cli(*args, "--json", timeout_s=timeout_s)
        assert ran.code == 0, f"tidegate {' '.join(args)}: {ran.said}\n{self.log()}"
        return ran.json if ran.out.strip() else None

    def failed(self, *args: str, timeout_s: float = 90.0) -> Any:
        """The error body of a command that must fail with exit code 1."""
        ran = self.cli(*args, "--json", timeout_s=timeout_s)
        assert ran.code == 1, f"tidegate {' '.join(args)} ended with {ran.code}: {ran.said}"
        return ran.json

    def api(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """A call of the control plane's API with its token."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return httpx.request(method, self.url + path, json=body, headers=headers, timeout=30, **options)

    def ask(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """A POST to the gateway."""
        given = {"content": body} if isinstance(body, bytes) else {"json": body}
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return httpx.post(self.gateway_url + path, headers=headers, timeout=30, **given, **options)

    def predict(self, endpoint: str, features: Any, **more: Any) -> httpx.Response:
        """Plain JSON."""
        return self.ask(f"/predict/{endpoint}", {"features": features, **more})

    def endpoint(self, name: str) -> Any:
        answer = self.api("GET", f"/api/v1/endpoints/{name}")
        assert answer.status_code == 200, answer.text
        return answer.json()
