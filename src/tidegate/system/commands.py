"""Runs another program to its end, within a deadline, telling each line as it comes. Never through a shell."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

LINES_KEPT = 40
_LINE_CHARS_MAX = 400

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """What a program starts with beside its arguments and environment; `keep_open` are descriptors that it inherits."""

    cwd: Path | None = None
    umask: int = -1
    keep_open: tuple[int, ...] = ()


@dataclass(frozen=True)
class Ran:
    """How a program ended. `lines` are the last it wrote, to either stream."""

    code: int
    lines: tuple[str, ...]
    timed_out: bool = False

    @property
    def text(self) -> str:
        """All lines, joined by newlines."""
        return "\n".join(self.lines)

    def last(self, count: int = 4) -> str:
        """The last lines, for a message."""
        return " | ".join(self.lines[-count:]) or "it said nothing"


def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    timeout_s: float,
    on_line: OnLine | None = None,
    start: Start = Start(),
) -> Ran:
    """Standard output and error as one. Raises `FileNotFoundError` when there is no such program."""
    kept: deque[str] = deque(maxlen=LINES_KEPT)
    process = subprocess.Popen(
        list(argv),
        cwd=start.cwd,
        umask=start.umask,
        env=dict(env),
        pass_fds=start.keep_open,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    with process, _deadline(process, timeout_s) as fired:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        for line in process.stdout:
            if line.strip():
                kept.append(line.strip()[:_LINE_CHARS_MAX])
                if on_line is not None:
                    on_line(kept[-1])
    return Ran(process.returncode, tuple(kept), bool(fired))


def output(argv: Sequence[str], env: Mapping[str, str], timeout_s: float) -> tuple[Ran, str]:
    """For a short answer: how it ended, and its standard output alone."""
    try:
        done = subprocess.run(
            list(argv),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ran(-9, (f"no answer within {timeout_s:g} s",), timed_out=True), ""
    lines = [line.strip()[:_LINE_CHARS_MAX] for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return Ran(done.returncode, tuple(lines[-LINES_KEPT:])), done.stdout


@contextmanager
def _deadline(process: subprocess.Popen[str], timeout_s: float) -> Iterator[list[bool]]:
    """Kill it, and all that it started in its session, when it takes too long or the block is left before its end."""
    fired: list[bool] = []

    def end() -> None:
        fired.append(True)
        _kill(process)

    timer = Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield fired
    except BaseException:
        _kill(process)
        raise
    finally:
        timer.cancel()


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def is_full(text: str) -> bool:
    """Whether a program said that a disk is full."""
    lowered = text.lower()
    return "no space left on device" in lowered or "disk quota exceeded" in lowered
