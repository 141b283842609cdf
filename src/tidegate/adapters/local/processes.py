"""Processes of a platform: start them in sessions of their own, find them again, end them. Knows no replica or gateway.

A process is found again by pid and creation time, so a reused pid is never mistaken for it. Every process of a platform
carries `--data-dir` in its arguments; that is how strays are told from other platforms'.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

CREATED_TOLERANCE_S = 2.0
"""The kernel's boot time, from which creation times are computed, moves a little when the clock is set."""

LOG_BYTES_MAX, LOG_BYTES_KEPT = 8 << 20, 2 << 20


@dataclass(frozen=True)
class ProcessRef:
    """A process's id and start time, which together name it even after its id was used again."""

    pid: int
    created_at: float


@dataclass(frozen=True)
class FoundProcess:
    """A process of this platform that runs: its module (`tidegate.server`) and arguments."""

    ref: ProcessRef
    module: str
    argv: tuple[str, ...]


def spawn(
    argv: Sequence[str], log_file: Path, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> tuple[subprocess.Popen[bytes], ProcessRef]:
    """Start it in a new session, so that it outlives this process; output goes to the end of `log_file`.

    Without `env` it has this process's environment. Raises `OSError` when that is impossible.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log_file.open("ab") as log:
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )
    try:
        return child, ProcessRef(child.pid, _created_at(child.pid) or 0.0)
    except OSError:  # no descriptor left to look it up with: nobody would find this process again
        child.kill()
        child.wait()
        raise


def is_alive(ref: ProcessRef) -> bool:
    """Whether this very process runs; a zombie does not. Raises `OSError` where that cannot be found out now."""
    try:
        process = psutil.Process(ref.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - ref.created_at) < CREATED_TOLERANCE_S
    except psutil.Error:
        return False


def cpu_seconds(refs: Sequence[ProcessRef]) -> list[float | None]:
    """CPU that each process has used, with all that it started; None where it is gone, or cannot be looked at now.

    One look at all processes.
    """
    if not refs:
        return []
    try:
        children = _children()
    except OSError:  # no descriptor is left
        return [None for _ in refs]
    return [_used_by(ref, children) for ref in refs]


def _children() -> dict[int, list[psutil.Process]]:
    """All processes by their parent."""
    found: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found.setdefault(process.ppid(), []).append(process)
    return found


def _used_by(ref: ProcessRef, children: Mapping[int, list[psutil.Process]]) -> float | None:
    try:
        if not is_alive(ref):
            return None
        total, left = 0.0, [psutil.Process(ref.pid)]
        while left:
            process = left.pop()
            left += children.get(process.pid, ())
            with contextlib.suppress(psutil.Error):  # one that has ended is in what its parent waited for
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
    except (psutil.Error, OSError):  # it has ended meanwhile, or no descriptor is left
        return None
    return total


def send(ref: ProcessRef, signum: signal.Signals) -> None:
    """Signal this very process; nothing happens when it is gone."""
    if is_alive(ref):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(ref.pid, signum)


def processes_of(data_dir: Path) -> list[FoundProcess]:
    """Every running `python -m tidegate.…` of this user whose arguments name this data directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            argv = process.cmdline()
            module = _module_of(argv)
            if module and names_data_dir(argv, data_dir) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(FoundProcess(ProcessRef(process.pid, process.create_time()), module, tuple(argv)))
    return found


def names_data_dir(argv: Sequence[str], data_dir: Path) -> bool:
    """Whether the arguments name this data directory, or a file of a job in it."""
    given = option(argv, "--data-dir")
    if given is not None:
        return os.path.realpath(given) == os.path.realpath(data_dir)
    jobs = os.path.join(os.path.realpath(data_dir), "jobs", "")  # noqa: PTH118 (a trailing separator is wanted)
    return any(os.path.realpath(arg).startswith(jobs) for arg in argv if arg.startswith("/"))


def option(argv: Sequence[str], name: str) -> str | None:
    """The value of `--name VALUE` or `--name=VALUE`."""
    for index, arg in enumerate(argv):
        if arg == name and index + 1 < len(argv):
            return argv[index + 1]
        if arg.startswith(f"{name}="):
            return arg.removeprefix(f"{name}=")
    return None


def kill_children() -> None:
    """End whatever this process started and what that started in turn, in whichever session."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()


def read_tail(log_file: Path, lines_max: int, bytes_max: int = 256 << 10) -> list[str]:
    """The last lines of a file, oldest first; empty when there is none."""
    try:
        with log_file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(size - bytes_max, 0))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    return text.splitlines()[-lines_max:] if lines_max > 0 else []


def bound_log(log_file: Path) -> None:
    """Cut a log that grew past its bound down to its end, in place: its writer appends and does not notice."""
    with contextlib.suppress(OSError):
        if log_file.stat().st_size <= LOG_BYTES_MAX:
            return
        with log_file.open("r+b") as log:
            log.seek(-LOG_BYTES_KEPT, os.SEEK_END)
            kept = log.read()
            log.truncate(0)
        with log_file.open("ab") as log:
            log.write(kept[kept.find(b"\n") + 1 :])


def drop_oldest(files: Iterable[Path], keep: int) -> None:
    """Remove all but the newest files."""
    dated = []
    for file in files:
        with contextlib.suppress(OSError):
            dated.append((file.stat().st_mtime, file))
    for _, file in sorted(dated, reverse=True)[keep:]:
        file.unlink(missing_ok=True)


def _created_at(pid: int) -> float | None:
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return None


def _module_of(argv: Sequence[str]) -> str | None:
    module = option(argv, "-m")
    return module if module and module.startswith("tidegate.") else None
