from __future__ import annotations

import os
import sys
from pathlib import Path

import psutil
import pytest

from support.wait import until
from tidegate.system.commands import Start, run


def python(program: str) -> list[str]:
    return [sys.executable, "-I", "-c", program]


def test_lines_are_told_as_they_come_and_the_code_at_the_end() -> None:
    told: list[str] = []
    ran = run(
        python("import sys; print('one'); print('two', file=sys.stderr, flush=True); sys.exit(3)"), {}, 60, told.append
    )
    assert (ran.code, ran.timed_out) == (3, False)
    assert sorted(told) == sorted(ran.lines) == ["one", "two"]


def test_what_takes_too_long_is_killed_and_one_that_was_killed_by_others_did_not() -> None:
    ran = run(python("import time; time.sleep(600)"), {}, 0.2)
    assert (ran.code, ran.timed_out) == (-9, True)
    ran = run(python("import os; os.kill(os.getpid(), 9)"), {}, 60)
    assert (ran.code, ran.timed_out) == (-9, False)


def test_what_it_started_ends_with_it_and_keeps_nobody_waiting() -> None:
    told: list[str] = []
    ran = run(["sh", "-c", "sleep 600 & echo $!; wait"], dict(os.environ), 3.0, told.append)
    assert ran.timed_out
    (child,) = told
    until(lambda: not psutil.pid_exists(int(child)) or psutil.Process(int(child)).status() == "zombie", 10, "its end")


def test_it_ends_with_the_block_that_reads_it() -> None:
    def refuse(line: str) -> None:
        pids.append(int(line))
        raise ValueError(line)

    pids: list[int] = []
    with pytest.raises(ValueError, match=r"\d+"):
        run(python("import os, time; print(os.getpid(), flush=True); time.sleep(600)"), {}, 60, refuse)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_it_starts_where_and_with_what_it_is_told(tmp_path: Path) -> None:
    read, write = os.pipe()
    program = f"import os; os.write({write}, os.getcwd().encode()); os.close(os.open('made', os.O_CREAT, 0o666))"
    try:
        assert run(python(program), {}, 60, start=Start(tmp_path, umask=0o077, keep_open=(write,))).code == 0
        assert os.read(read, 1000) == os.fsencode(tmp_path)
    finally:
        os.close(read)
        os.close(write)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600
