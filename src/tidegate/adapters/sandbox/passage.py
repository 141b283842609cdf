"""Lets users of models pass through the platform's closed folders to what they need, by modes and a group of their own.

Called by `confinement` as root, where such folders cannot be hidden. What else lies in them is closed to these users.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path


def closed_above(roots: Iterable[Path]) -> Path | None:
    """A folder around the platform's own that others may not enter, and that is not the platform's to open."""
    real = [Path(os.path.realpath(root)) for root in roots]
    for root in real:
        for folder in root.parents:
            ours = any(folder.is_relative_to(one) for one in real)
            if not ours and folder.exists() and not folder.stat().st_mode & stat.S_IXOTH:
                return folder
    return None


def let_through(needed: Sequence[Path], shared: Sequence[Path], roots: Iterable[Path], group: int) -> None:
    """Have the group pass (not list) each folder of the platform around what is needed, and `shared` ones themselves.

    What lies beside them in the platform's `roots` is closed to all others. Raises `OSError`.
    """
    own = [Path(os.path.realpath(root)) for root in roots]
    ways_there = [way for path in (*needed, *shared) for way in (path, Path(os.path.realpath(path)))]
    around = {folder for way in ways_there for folder in way.parents}
    passed = {folder for folder in (*around, *shared) if _is_in(folder, own) and folder.is_dir()}
    real = {Path(os.path.realpath(folder)) for folder in passed}
    for folder in real:
        if {folder, folder.parent}.intersection(own) or not folder.stat().st_mode & stat.S_IXOTH:
            _open_to(folder, group)
    for root in real.intersection(own):
        _close_beside(root, real)


def _is_in(path: Path, roots: Sequence[Path]) -> bool:
    return any(Path(os.path.realpath(path)).is_relative_to(root) for root in roots)


def _open_to(folder: Path, group: int) -> None:
    found = folder.stat()
    if found.st_gid != group or stat.S_IMODE(found.st_mode) != 0o710:
        os.chown(folder, -1, group)
        folder.chmod(0o710)


def _close_beside(root: Path, passed: set[Path]) -> None:
    """But what everybody may write to: that is open for a reason (the folder of a container's socket)."""
    for child in list(root.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            found = child.lstat()
            if child not in passed and not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o007 not in (0, 0o007):
                child.chmod(stat.S_IMODE(found.st_mode) & ~0o007)
