"""Removes the folders of sockets that platforms of this user left behind when they were killed. Called at a start.

Only those in the temporary directory (`system.run_dir`): others lie in their platform's data directory.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from tidegate.clock import now
from tidegate.system import run_dir
from tidegate.system.unix_sockets import listens

log = logging.getLogger(__name__)

UNTOUCHED_S = 3600.0
"""A platform that is about to start has a folder and no socket in it yet."""
FOLDERS_MAX = 10_000


def sweep(own: Path) -> int:
    """Remove what belongs to nobody; `own` and whatever anybody listens in stays. Returns how many folders went."""
    gone = [folder for folder in _of_this_user() if folder != own and _is_left_behind(folder)]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    if gone:
        log.info(
            "removed %d folder(s) of sockets that killed platforms had left in %s", len(gone), run_dir.SHORT_FOLDER
        )
    return len(gone)


def _of_this_user() -> Iterator[Path]:
    prefix = f"{run_dir.SHORT_PREFIX}{os.getuid()}-"
    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(run_dir.SHORT_FOLDER) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
    for name in names[:FOLDERS_MAX]:
        folder = run_dir.SHORT_FOLDER / name
        try:
            found = folder.lstat()
        except OSError:  # another platform that starts was quicker
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
            yield folder


def _is_left_behind(folder: Path) -> bool:
    try:
        inside = [folder, *folder.rglob("*")]
        if any(now() - path.lstat().st_mtime < UNTOUCHED_S for path in inside):
            return False
        return not any(listens(path) for path in inside if stat.S_ISSOCK(path.lstat().st_mode))
    except OSError:  # somebody works in it right now
        return False
