"""How a process of ours ends once its work is done. Called by modules that are run as processes, never by others."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from contextlib import suppress
from typing import NoReturn


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
