"""A lock in a file, between threads and processes that share a folder. Its holder's death frees it.

Guards the versions' files and the numbering of versions, which control planes and workers have in common.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tidegate.clock import monotonic
from tidegate.errors import FilesBusy
from tidegate.system.file_lock import open_lock, take


class FileLock:
    """A context manager that waits up to `wait_s`, and raises `FilesBusy` then. Not to be entered twice by a thread."""

    def __init__(self, path: Path, wait_s: float, what: str) -> None:
        self._path, self._wait_s, self._what = path, wait_s, what
        self._here = threading.Lock()
        self._descriptor = -1

    def __enter__(self) -> None:
        if not self.acquire(self._wait_s):
            raise FilesBusy(
                f"{self._what} was not free for {self._wait_s:g} s: another process of the platform holds the lock "
                f"{self._path}, and may be paused; end or wake it, then try again"
            )

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self, wait_s: float) -> bool:
        """Take the lock within `wait_s`; whether it was taken."""
        deadline = monotonic() + wait_s
        if not self._here.acquire(timeout=wait_s):
            return False
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = open_lock(self._path)
            if take(descriptor, max(0.0, deadline - monotonic())):
                self._descriptor = descriptor
                return True
            os.close(descriptor)
        except BaseException:
            self._here.release()
            raise
        self._here.release()
        return False

    def release(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)
        self._here.release()
