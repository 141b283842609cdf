"""Who is taken for a control plane of an earlier release: nobody but one of this data directory, on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.control.checks import holder_of
from tidegate.control.options import Options, parse
from tidegate.control.state import ControlState, write_state
from tidegate.control.succession import succeed

HOLDS = """
import fcntl, os, sys
lock = open(sys.argv[1], "a+")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write(str(os.getpid()))
lock.flush()
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Holds the lock, and is no control plane: its number is that of one in another container, say."""
    argv = [sys.executable, "-c", HOLDS, str(tmp_path / "control.lock")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.terminate()


def _options(data_dir: Path) -> Options:
    return parse(["--data-dir", str(data_dir), "--port", "9000", "--control-port", "9800"])


def test_a_process_that_is_no_control_plane_is_left_alone(tmp_path: Path, stranger: subprocess.Popen[str]) -> None:
    options = _options(tmp_path)
    write_state(tmp_path, ControlState(stranger.pid, options.control_url, options.gateway_url, 0.0))
    assert holder_of(tmp_path) == stranger.pid
    assert not succeed(options, tmp_path)
    assert stranger.poll() is None


def test_nobody_is_succeeded_where_nothing_runs(tmp_path: Path) -> None:
    options = _options(tmp_path)
    write_state(tmp_path, ControlState(1, options.control_url, options.gateway_url, 0.0))
    assert not succeed(options, tmp_path)
