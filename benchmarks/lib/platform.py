"""A whole Tidegate platform for the length of a benchmark, driven through its command line as a user would."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from lib import processes


@dataclass(frozen=True)
class Platform:
    """A running platform; `data_dir` is None for one that runs elsewhere."""

    url: str
    gateway_url: str
    data_dir: Path | None

    def cli(self, *args: str, timeout_s: float = 600.0) -> Any:
        """What `tidegate ARGS --json` printed, decoded."""
        where = ["--data-dir", str(self.data_dir)] if self.data_dir else []
        out = processes.run(
            [processes.command("tidegate"), *args, *where, "--json"],
            timeout_s=timeout_s,
            env={"TIDEGATE_URL": self.url},
        )
        return json.loads(out) if out.strip() else None

    def replicas(self, model: str) -> list[psutil.Process]:
        """The replica processes of a model on this machine, found by their arguments."""
        return [process for process in self._processes("tidegate.server") if f"/versions/{model}/" in _argv(process)]

    def gateways(self) -> list[psutil.Process]:
        """The gateway processes on this machine."""
        return self._processes("tidegate.gateway")

    def _processes(self, module: str) -> list[psutil.Process]:
        if self.data_dir is None:
            return []
        wanted = (module, str(self.data_dir))
        return [process for process in psutil.process_iter() if all(part in _argv(process) for part in wanted)]


def _argv(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def memory_mb(found: list[psutil.Process]) -> tuple[float, float]:
    """Resident and proportional set size of some processes, in MB; the second is the first where it is not known."""
    resident = proportional = 0
    for process in found:
        info = process.memory_full_info()
        resident += info.rss
        proportional += getattr(info, "pss", info.rss)
    return resident / 1e6, proportional / 1e6


@contextlib.contextmanager
def platform(work_dir: Path, *, core: int | None = None, grpc_port: int | None = None) -> Iterator[Platform]:
    """Start a platform on free ports in a folder of its own, and stop it at the end."""
    data_dir = work_dir / "data"
    port, free_port, control_port = processes.free_ports(3)
    grpc_port = grpc_port or free_port
    tidegate = processes.command("tidegate")
    ports = ["--port", str(port), "--grpc-port", str(grpc_port), "--control-port", str(control_port)]
    up = processes.pinned([tidegate, "up", "--detach", "--data-dir", str(data_dir), *ports], core)
    try:
        processes.run(up, timeout_s=120)
        yield Platform(f"http://127.0.0.1:{control_port}", f"http://127.0.0.1:{port}", data_dir)
    finally:
        processes.run([tidegate, "down", "--data-dir", str(data_dir)], timeout_s=120)


@contextlib.contextmanager
def existing(url: str, data_dir: Path | None) -> Iterator[Platform]:
    """A platform that runs already (its token comes from its data directory, or TIDEGATE_TOKEN)."""
    found = Platform(url, "", data_dir or Path(os.environ.get("TIDEGATE_DATA_DIR", "~/.tidegate")).expanduser())
    yield Platform(url, found.cli("status")["gateway_url"], found.data_dir)
