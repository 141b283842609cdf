"""Tells a full disk from what else goes wrong with files: it is the machine's trouble, and no internal error."""

from __future__ import annotations

import errno
import os
import shutil

_FULL = (errno.ENOSPC, errno.EDQUOT)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether this error, or what it was raised from, says that a disk (or its owner's share of it) is full."""
    while error is not None:
        if isinstance(error, OSError) and (error.errno in _FULL or _in_copying(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _in_copying(error: OSError) -> bool:
    """`shutil` copies a whole folder and tells all failures at the end, as text."""
    return isinstance(error, shutil.Error) and any(os.strerror(number) in str(error) for number in _FULL)
