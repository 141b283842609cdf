"""Where Parquet of captured rows lies, behind one seam: in a folder of this machine, or in object storage (`s3_files`).

Names are relative to the store, with slashes: `predictions/endpoint=churn/hour=2026-11-29T01/SEGMENT-SHAPE.parquet`.
A file appears whole or not at all, and one that is written again takes the other's place. Locks, the compactor's state,
requests to forget and quarantined segments are no files of this kind: they are on this machine's disk always.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from tidegate.system.atomic import replacing

Between = tuple[str, str]
"""Only what lies in subfolders whose names are from the one to the other, both included."""


@dataclass(frozen=True)
class CaptureFile:
    """One file. `written_s`: seconds since the epoch, by the clock of what holds it.

    `put_s` is when what it has now was put there, also where that was written as if it were older.
    """

    name: str
    size_bytes: int
    written_s: float
    put_s: float


class CaptureUnavailable(OSError):
    """Object storage that cannot be used; `strerror` says in a sentence why, and what to do."""


@runtime_checkable
class Files(Protocol):
    """What a store of captured rows asks of the place it lies in. Everything raises `OSError` where that is away."""

    readers: int
    """How many files are best read at a time."""

    def below(self, folder: str = "", between: Between | None = None) -> list[CaptureFile]:
        """Every file below a folder, by name; none where there is no such folder."""

    def where(self, name: str) -> str:
        """A file as messages name it."""

    def folders(self, folder: str) -> list[str]:
        """Names of the folders right below it that have something in them, in order."""

    def open(self, name: str) -> Any:
        """A file for `pyarrow.parquet`, to be closed. Raises `FileNotFoundError`."""

    def write(self, name: str, fill: Callable[[Any], object], written_s: float | None = None) -> None:
        """Put what `fill` writes into a binary file in the place of `name`, whole; where `fill` raises, nothing.

        With `written_s`, as if it had been written then.
        """

    def delete(self, names: Iterable[str]) -> None:
        """Those that are there; folders that are empty then go with them."""


class LocalFiles:
    """In a folder of this machine."""

    readers = 1

    def __init__(self, root: Path) -> None:
        self._root = root

    def below(self, folder: str = "", between: Between | None = None) -> list[CaptureFile]:
        """See `Files`."""
        top = self._root / folder
        parts = [top] if between is None else [top / name for name in self.folders(folder) if _within(name, between)]
        return sorted((file for part in parts for file in self._walked(part)), key=lambda file: file.name)

    def _walked(self, top: Path) -> Iterator[CaptureFile]:
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):  # it is deleted, or took its place, just now
                    found = path.stat()
                    name_here = path.relative_to(self._root).as_posix()
                    yield CaptureFile(name_here, found.st_size, found.st_mtime, found.st_ctime)

    def where(self, name: str) -> str:
        """See `Files`."""
        return str(self._root / name)

    def folders(self, folder: str) -> list[str]:
        """See `Files`."""
        try:
            with os.scandir(self._root / folder) as entries:  # which knows folders without asking about each
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def open(self, name: str) -> BinaryIO:
        """See `Files`."""
        return (self._root / name).open("rb")

    def write(self, name: str, fill: Callable[[Any], object], written_s: float | None = None) -> None:
        """See `Files`."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(path, mode=0o600) as file:
            fill(file)
        if written_s is not None:
            os.utime(path, (written_s, written_s))

    def sweep(self, name: str) -> None:
        """Remove what one that was killed left while it wrote this file. For whoever holds the store's lock."""
        path = self._root / name
        for half_written in path.parent.glob(f".{path.name}-*"):
            half_written.unlink()

    def delete(self, names: Iterable[str]) -> None:
        """See `Files`."""
        for folder in {self._unlinked(name) for name in names}:
            with contextlib.suppress(OSError):  # something else is there, or is written there just now
                folder.rmdir()
                folder.parent.rmdir()

    def _unlinked(self, name: str) -> Path:
        path = self._root / name
        path.unlink(missing_ok=True)
        return path.parent


def files_in(root: Path | Files) -> Files:
    """A folder's files, where a folder is given."""
    return LocalFiles(root) if isinstance(root, Path) else root


def endpoints_of(files: Files) -> list[str]:
    """Endpoints that have rows in a store, and the place of those that name none."""
    found = (one for table in files.folders("") for one in files.folders(table))
    return sorted({name.removeprefix("endpoint=") for name in found if name.startswith("endpoint=")})


def is_parquet(name: str) -> bool:
    """Whether a file has rows: others are half written, or nobody's business."""
    last = name.rpartition("/")[2]
    return last.endswith(".parquet") and not last.startswith(".")


def _within(name: str, between: Between) -> bool:
    return between[0] <= name <= between[1]
