"""How a process of ours is asked to end, and ends. Called by modules that are run as processes, never by others."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

LEAVE = signal.SIGUSR2
"""Ends a control plane alone: its gateways and replicas serve on, for the one that comes next."""
_ASKS = (signal.SIGTERM, signal.SIGINT)


def end(code: int) -> NoReturn:
    """End with this exit code: run the exit functions, write out what is buffered, then leave at once.

    An interpreter that leaves by itself first takes all modules apart, a quarter of a second with scikit-learn and more
    than one with MLflow, and waits for threads of libraries that may never end. The system frees all of that anyway.
    """
    with suppress(Exception):
        atexit._run_exitfuncs()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def run_with(begin: Callable[[], int], missing: Callable[[str | None], str]) -> int:
    """The exit code of `begin`, which imports what it needs; 1 where a library of others is not installed.

    `missing` says what to do about that module, which is then one line on standard error.
    """
    try:
        return begin()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "tidegate":
            raise
        sys.stderr.write(f"error: {missing(error.name)}\n")
        return 1


class StopSignals:
    """`stop` is set by the first SIGTERM or SIGINT, `at_once` by the second; `then` is called after each.

    `leave` and `stop` are set by `LEAVE`, for a process that is installed with it.

    All of that in a thread. A handler runs in the main thread between any two of its steps, so also while that holds
    the lock of the very event it waits for: setting the event there would wait for that lock for ever.
    """

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.at_once = threading.Event()
        self.leave = threading.Event()
        self.then: Callable[[], None] = lambda: None

    def install(self, *more: signal.Signals) -> None:
        """Take the signals over, and `more`. Called once, in the main thread."""
        read, write = os.pipe()
        os.set_blocking(write, False)
        threading.Thread(target=self._listen, args=(read,), name="signals", daemon=True).start()
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for signum in (*_ASKS, *more):
            signal.signal(signum, _leave_it_to_the_thread)

    def _listen(self, read: int) -> None:
        while numbers := os.read(read, 64):  # the interpreter writes the number of each signal, before any handler
            for number in numbers:
                self._on_signal(number)

    def _on_signal(self, number: int) -> None:
        if number in _ASKS:
            (self.at_once if self.stop.is_set() else self.stop).set()
            self.then()
        elif number == LEAVE and not self.stop.is_set():
            self.leave.set()
            self.stop.set()
            self.then()


def _leave_it_to_the_thread(_signum: int, _frame: FrameType | None) -> None:
    """Python tells of signals that have a handler."""
