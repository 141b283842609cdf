"""How a process ends: nothing that was written is lost, and nothing is waited for."""

from __future__ import annotations

import subprocess
import sys

ENDS = """
import atexit, sys, threading, time
from tidegate.ending import end

atexit.register(lambda: print("exit function", flush=True))
threading.Thread(target=time.sleep, args=(3600,)).start()  # of a library that never ends it
sys.stdout.write("unflushed output\\n")
sys.stderr.write("unflushed error")
end(7)
"""


def test_what_was_written_is_there_and_a_thread_that_goes_on_is_not_waited_for() -> None:
    ran = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 7
    assert sorted(ran.stdout.splitlines()) == ["exit function", "unflushed output"]
    assert ran.stderr == "unflushed error"


CLOSED = """
import os, sys
from tidegate.ending import end

sys.stdout.write("to nobody")
os.close(1)
end(3)
"""


def test_an_output_that_nobody_takes_any_more_changes_no_exit_code() -> None:
    assert subprocess.run([sys.executable, "-c", CLOSED], check=False, timeout=60).returncode == 3
