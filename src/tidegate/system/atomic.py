"""Writes files whole or not at all: readers, and a machine that loses power, find the old content or the new."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

LEFT_S = 3600.0
"""A staged file that nothing was written to for so long belongs to a process that was killed."""
_STAGED = re.compile(r"\..+-[0-9a-f]{8}", re.DOTALL)


@contextmanager
def replacing(path: Path, *, mode: int = 0o666, durable: bool = True, first_wins: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which takes `path`'s place when the block ends, and is gone when it fails.

    `mode` is what the umask leaves something of. Without `durable` a loss of power may lose the content, which is
    right for what is written often and easily done without. `first_wins`: a file that is there by then stays.
    """
    staged = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if first_wins:
            with suppress(FileExistsError):
                os.link(staged, path)
        else:
            staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes, *, mode: int = 0o666, durable: bool = True, first_wins: bool = False) -> None:
    """Put `data` at `path`, as `replacing`. Raises `OSError`, and leaves what was there."""
    with replacing(path, mode=mode, durable=durable, first_wins=first_wins) as file:
        file.write(data)


def sweep(folder: Path, now: float) -> None:
    """Remove what processes that were killed staged in this folder; called when a platform starts."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):  # another start was quicker
                if _STAGED.fullmatch(entry.name) and entry.is_file(follow_symlinks=False) and _is_old(entry, now):
                    Path(entry.path).unlink()


def _is_old(entry: os.DirEntry[str], now: float) -> bool:
    return now - entry.stat(follow_symlinks=False).st_mtime > LEFT_S
