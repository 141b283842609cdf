"""Bytes on their way to the control plane: a file in chunks, a directory as a tar made on the fly. Opens no connection.

Nothing is ever whole in memory, and no second copy is written to disk.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import InvalidArgument

CHUNK_BYTES = 1 << 20
TAR_BLOCK_BYTES = 512
SKIPPED_DIRS = frozenset({"__pycache__", ".git", ".venv", ".ipynb_checkpoints", ".mypy_cache", ".pytest_cache"})

MODEL_DIRECTORIES = ("MLmodel", "saved_model.pb", "model.py")
"""A directory with one of these is a model."""

OnProgress = Callable[[str, float], None]
"""Called with what is being done and the fraction done, 0 to 1."""


@dataclass(frozen=True)
class Payload:
    """Bytes to upload: `chunks` can be read once and yields exactly `size_bytes`."""

    name: str
    size_bytes: int
    chunks: Iterable[bytes]
    archive: bool = False


def payload_of(path: Path, prefix: str = "") -> Payload:
    """A file as it is, a directory as an uncompressed tar of its files (`prefix` goes before each name).

    Raises `InvalidArgument` when nothing is there or it cannot be read.
    """
    try:
        if path.is_dir():
            return _tar(path.resolve().name, _files_below(path), prefix)
        if path.stat().st_size == 0:
            raise InvalidArgument(f"{path} is empty", field="path")
        return Payload(path.name, path.stat().st_size, _read(path, path.stat().st_size))
    except FileNotFoundError:
        raise InvalidArgument(f"there is no file or directory {path}", field="path") from None
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}", field="path") from None


def model_payload(path: Path) -> Payload:
    """A model file, an MLflow model directory, a SavedModel or a Python model's folder; of any other directory (a home,
    by mistake) no byte is sent.
    """
    if path.is_dir() and not any((path / name).is_file() for name in MODEL_DIRECTORIES):
        raise InvalidArgument(
            f"the folder {path} has no MLmodel file, so it is no MLflow model directory, no saved_model.pb, so it is "
            "no TensorFlow SavedModel, and no model.py with a Python class: give the model's file",
            field="path",
        )
    return payload_of(path)


def code_payload(path: Path) -> Payload:
    """The folder whose modules a model needs, as a tar to be put on the import path.

    A folder that is itself a package (it holds `__init__.py`) keeps its name, so that `import folder` works; a single
    `.py` file is taken too.
    """
    if path.is_file():
        return _tar(path.stem, [(path.name, path)], "")
    is_package = (path / "__init__.py").is_file()
    return payload_of(path, prefix=path.resolve().name + "/" if is_package else "")


def with_progress(payload: Payload, on_progress: OnProgress | None) -> Iterator[bytes]:
    """The payload's chunks, reporting after each."""
    sent_bytes = 0
    for chunk in payload.chunks:
        yield chunk
        sent_bytes += len(chunk)
        if on_progress:
            on_progress(f"uploading {payload.name}", sent_bytes / max(payload.size_bytes, 1))


def _files_below(root: Path) -> list[tuple[str, Path]]:
    found = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name not in SKIPPED_DIRS)
        paths = [Path(folder, name) for name in files if not name.endswith(".pyc")]
        found += [path for path in paths if path.is_file()]  # reading a pipe or a socket would never end
    if not found:
        raise InvalidArgument(f"directory {root} holds no files", field="path")
    return sorted((path.relative_to(root).as_posix(), path) for path in found)


def _tar(name: str, files: list[tuple[str, Path]], prefix: str) -> Payload:
    entries = []
    for member, path in files:
        info = tarfile.TarInfo(prefix + member)
        info.size = path.stat().st_size
        entries.append((info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"), path, info.size))
    size_bytes = sum(len(header) + size + _padding(size) for header, _, size in entries) + 2 * TAR_BLOCK_BYTES
    return Payload(name, size_bytes, _tar_chunks(entries), archive=True)


def _tar_chunks(entries: list[tuple[bytes, Path, int]]) -> Iterator[bytes]:
    for header, path, size in entries:
        yield header
        yield from _read(path, size)
        yield bytes(_padding(size))
    yield bytes(2 * TAR_BLOCK_BYTES)


def _padding(size_bytes: int) -> int:
    return -size_bytes % TAR_BLOCK_BYTES


def _read(path: Path, size_bytes: int) -> Iterator[bytes]:
    left = size_bytes
    with path.open("rb") as stream:
        while left:
            chunk = stream.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise InvalidArgument(f"{path} became shorter while it was being uploaded: try again", field="path")
            left -= len(chunk)
            yield chunk
