"""`python -m tidegate.down --data-dir D`: ends all that runs on a data directory, its control plane dead or alive.

Finds processes by their arguments alone, so it needs no database, and never touches those of another data directory.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep

from tidegate.adapters.local.processes import FoundProcess, ProcessRef, is_alive, processes_of, send
from tidegate.clock import monotonic
from tidegate.errors import TidegateError
from tidegate.settings import Settings
from tidegate.system.run_dir import run_dir

CONTROL = "tidegate.control"
JOBS = ("tidegate.runtimes.inspect", "tidegate.runtimes.accelerate")
NAMES = {
    "tidegate.worker": "worker",
    "tidegate.gateway": "gateway",
    "tidegate.compactor": "compactor",
    "tidegate.server": "replica",
    **dict.fromkeys(JOBS, "job process"),
}
PATIENT = (CONTROL, "tidegate.worker")
ORDER = (CONTROL, *NAMES)
POLL_S, KILL_S = 0.05, 5.0
GRACE_S = 10.0
"""What gateways and replicas get when no control plane ends them."""

Say = Callable[[str], object]


def main(argv: list[str] | None = None) -> int:
    """0: nothing runs any more; 1: it could not be ended; 2: wrong use."""
    parser = argparse.ArgumentParser(prog="tidegate down", description="Stop the platform of a data directory.")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--timeout-s", type=float, default=30.0, help="how long the control plane may take to stop")
    given = parser.parse_args(argv)
    try:
        data_dir = Settings.from_env(data_dir=given.data_dir).data_dir
        return stop_platform(data_dir, given.timeout_s, _say)
    except TidegateError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return error.exit_code


def stop_platform(data_dir: Path, timeout_s: float, say: Say) -> int:
    """End control plane, workers, gateways, replicas and jobs, in this order, and say what was ended.

    Raises `EngineUnavailable` when there may be containers on an engine that does not answer.
    """
    before = _running(data_dir)
    for module in ORDER:
        grace_s = timeout_s if module in PATIENT else min(GRACE_S, timeout_s)
        _end([found.ref for found in _running(data_dir) if found.module == module], grace_s)
    (data_dir / "control.json").unlink(missing_ok=True)
    left = _running(data_dir)
    for found in left:
        sys.stderr.write(f"error: process {found.ref.pid} ({found.module}) could not be ended\n")
    if left:
        return 1
    containers = _end_containers(data_dir, min(GRACE_S, timeout_s))
    _remove_sockets(data_dir)
    ended = _counted(before, containers)
    say(f"stopped {ended}; the data stays in {data_dir}" if ended else f"nothing is running on {data_dir}")
    return 0


def _end_containers(data_dir: Path, grace_s: float) -> int:
    """Those that no control plane ended; how many there were."""
    mark = data_dir / "containers"
    if not mark.exists():
        return 0
    from tidegate.adapters.docker.backend import end_containers  # only where there may be some

    count = end_containers(data_dir, mark.read_text().strip(), grace_s)
    mark.unlink(missing_ok=True)
    return count


def _remove_sockets(data_dir: Path) -> None:
    """What killed processes left behind; a run directory outside the data directory goes with them."""
    folder = run_dir(data_dir)
    with contextlib.suppress(OSError):
        for socket in folder.glob("*.sock"):
            socket.unlink(missing_ok=True)
        shutil.rmtree(folder / "local", ignore_errors=True)
        if folder.parent != data_dir:
            folder.rmdir()


def _running(data_dir: Path) -> list[FoundProcess]:
    """The platform's processes; a `tidegate down` (this one) is none of them."""
    return [found for found in processes_of(data_dir) if found.module in ORDER]


def _end(refs: list[ProcessRef], grace_s: float) -> None:
    """SIGTERM, and SIGKILL for those that are still there when the time is over."""
    deadline = monotonic() + grace_s
    for ref in refs:
        send(ref, signal.SIGTERM)
    while any(map(is_alive, refs)) and monotonic() < deadline:
        sleep(POLL_S)
    for ref in refs:
        send(ref, signal.SIGKILL)
    while any(map(is_alive, refs)) and monotonic() < deadline + KILL_S:
        sleep(POLL_S)


def _counted(ended: list[FoundProcess], containers: int) -> str:
    """`the control plane (process 12), 2 gateways, 3 replicas`."""
    parts = [f"the control plane (process {found.ref.pid})" for found in ended if found.module == CONTROL]
    for name in dict.fromkeys(NAMES.values()):
        if count := sum(NAMES.get(found.module) == name for found in ended):
            plural = "es" if name.endswith("s") else "s"
            parts.append(f"{count} {name}{plural if count > 1 else ''}")
    if containers:
        parts.append(f"{containers} container{'s' if containers > 1 else ''}")
    return ", ".join(parts)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
