"""Tells what the machine could not give (descriptors, memory, processes, disk) from what is wrong with a model.

Called wherever an error is about to be blamed on a model or a replica. Changes nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator

from tidegate.errors import DiskFull, OutOfResources, TidegateError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_SHORT = {
    errno.EMFILE: "this process has no file descriptor left",
    errno.ENFILE: "the machine has no file descriptor left",
    errno.ENOMEM: "the machine has no memory left",
}
_NO_PROCESS = "the machine starts no further process"
_NO_SPACE = "no space"
_NO_THREAD = "can't start new thread"
_CHAIN_MAX = 20


def exhausted(error: BaseException, *, spawning: bool = False) -> TidegateError | None:
    """`OutOfResources` or `DiskFull` where that is behind the error, or behind what it came of; else None.

    `spawning`: it came of starting a process, where EAGAIN says that there may be no more of them.
    """
    for one in _chain(error):
        if isinstance(one, OutOfResources | DiskFull):
            return one
        why = _why(one, spawning)
        if why == _NO_SPACE:
            return DiskFull()
        if why is not None:
            return OutOfResources(f"{why}: it goes on by itself once there is room; 'ulimit -n' shows and sets limits")
    return None


def no_descriptor_left() -> bool:
    """Whether nothing can be opened now: for failures of libraries that do not say why."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return exhausted(error) is not None
    return False


def _why(error: BaseException, spawning: bool) -> str | None:
    if isinstance(error, OSError):
        if error.errno in _FULL or _in_copying(error):
            return _NO_SPACE
        return _NO_PROCESS if spawning and error.errno == errno.EAGAIN else _SHORT.get(error.errno or 0)
    if isinstance(error, RuntimeError) and _NO_THREAD in str(error):
        return _NO_PROCESS
    if isinstance(error, ImportError):  # of a shared library: the loader has text alone
        return next((why for number, why in _SHORT.items() if os.strerror(number) in str(error)), None)
    return None


def _in_copying(error: OSError) -> bool:
    """`shutil` copies a whole folder and tells all failures at the end, as text."""
    return isinstance(error, shutil.Error) and any(os.strerror(number) in str(error) for number in _FULL)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_CHAIN_MAX):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
