"""Takes over what a process that ran a model's code left: its folder may hold links, pipes and files of any size.

Called once the process has ended. Whatever is opened here is opened past no link, and looked at before it is used.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tidegate.errors import ModelLoadFailed

RESULT_BYTES_MAX, DEPTH_MAX = 16 << 20, 16
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Without O_NONBLOCK, a pipe that nobody writes to would be opened for ever."""


def read_left(path: Path, bytes_max: int = RESULT_BYTES_MAX) -> bytes:
    """A plain file's content. Raises `ValueError` for anything else and for more than `bytes_max`, and `OSError`."""
    with os.fdopen(os.open(path, _LOOK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path.name} is no plain file")
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise ValueError(f"{path.name} has more than {bytes_max} bytes")
    return content


def own_tree(folder: Path, *, give: bool) -> None:
    """Make sure that a folder holds plain files and folders alone, each under one name; with `give` own them.

    Raises `ModelLoadFailed` for anything else, which is left as it is. A folder that is not there is no error.
    """
    try:
        top = os.open(folder, _LOOK | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _refused(folder.name) from error
        raise
    try:
        _own(top, give, DEPTH_MAX)
    finally:
        os.close(top)


def _own(folder: int, give: bool, depth: int) -> None:
    """Itself before what is in it is looked at, so that nobody can put something else there meanwhile."""
    _give(folder, give, 0o700)
    for name in os.listdir(folder):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not (stat.S_ISREG(mode) or (stat.S_ISDIR(mode) and depth)):
            raise _refused(name)
        one = os.open(name, _LOOK, dir_fd=folder)
        try:
            found = os.fstat(one)
            if stat.S_ISDIR(found.st_mode):
                _own(one, give, depth - 1)
            elif not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                raise _refused(name)
            else:
                _give(one, give, 0o600)
        finally:
            os.close(one)


def _give(descriptor: int, give: bool, mode: int) -> None:
    if give:
        os.fchown(descriptor, os.getuid(), os.getgid())
        os.fchmod(descriptor, mode)


def _refused(name: str) -> ModelLoadFailed:
    return ModelLoadFailed(
        f"the model's code left {name!r}, which is neither a folder nor a plain file of one name: nothing of it is kept"
    )
