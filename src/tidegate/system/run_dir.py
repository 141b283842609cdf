"""The folder in which a platform's Unix sockets lie: what it is called, and that nobody else owns it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from tidegate.errors import DataDirUnusable

SOCKET_PATH_BYTES_MAX = 100
"""Unix socket paths end at 108 bytes on Linux and 104 on macOS."""
SHORT_PREFIX = "tidegate-"
SHORT_FOLDER = Path("/tmp")  # noqa: S108 - `make_run_dir` makes sure of the owner of what lies in it


def run_dir(data_dir: Path) -> Path:
    """Where this platform's Unix sockets lie: in the data directory, or in a short folder when that is too deep.

    Only names the folder; `make_run_dir` creates it. Not in TMPDIR: whoever looks for the platform may have another.
    """
    inside = data_dir / "run"
    longest_name = "r-" + 32 * "x" + ".sock"
    if len(os.fsencode(inside / longest_name)) <= SOCKET_PATH_BYTES_MAX:
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return SHORT_FOLDER / f"{SHORT_PREFIX}{os.getuid()}-{digest}"


def make_run_dir(data_dir: Path) -> Path:
    """Create `run_dir` for this user alone. Raises `DataDirUnusable` where somebody else was first.

    Anyone can guess the name of a folder below /tmp, and its owner could put sockets in the place of ours.
    """
    folder = run_dir(data_dir)
    with contextlib.suppress(FileExistsError):  # a file, or a link that leads nowhere: refused below
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    inside = folder.parent == data_dir
    if not inside and not (stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o067):
        raise DataDirUnusable(
            f"the folder for sockets, {folder}, is not this user's alone: remove it, or choose a data directory with a "
            "shorter path"
        )
    return folder
