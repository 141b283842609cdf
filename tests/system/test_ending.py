"""How a process ends: it hears that it shall, nothing that was written is lost, and nothing is waited for."""

from __future__ import annotations

import subprocess
import sys

ENDS = """
import atexit, sys, threading, time
from tidegate.system.ending import end

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
from tidegate.system.ending import end

sys.stdout.write("to nobody")
os.close(1)
end(3)
"""


def test_an_output_that_nobody_takes_any_more_changes_no_exit_code() -> None:
    assert subprocess.run([sys.executable, "-c", CLOSED], check=False, timeout=60).returncode == 3


# A signal that comes while the main thread is inside `Event.wait`, at the step where that holds the event's lock.
ASKED = """
import signal, threading
from tidegate.system.ending import StopSignals

signals, called = StopSignals(), threading.Semaphore(0)
signals.then = called.release
signals.install()
signal.signal(signal.SIGUSR1, lambda *_: None)  # of somebody else: it asks for nothing
for event in (signals.stop, signals.at_once):
    with event._cond:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)
    assert event.wait(30), "not told"
    assert called.acquire(timeout=30)
    print(signals.stop.is_set(), signals.at_once.is_set())
"""


def test_a_signal_that_interrupts_the_wait_for_it_is_heard_and_the_second_one_too() -> None:
    ran = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=False, timeout=90)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "True False\nTrue True\n", "")
