"""The list of a stored folder's files, each with size and SHA-256, and the check against it before a model is read.

Written by the artifact store, read by replicas and jobs. A folder without a list (an older release kept it) passes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidegate.errors import ArtifactDamaged
from tidegate.wire.decoding import json_decoder

FILES = "tidegate-files.json"
"""No part of what was handed in: digests leave it out."""
_CACHE = "__pycache__"
"""Replicas write it when they import a model's own code."""
_HEX_SHOWN = 16


class KeptFile(msgspec.Struct, frozen=True):
    """A file as it was kept."""

    size_bytes: int
    sha256: str


class _FileList(msgspec.Struct, frozen=True):
    files: dict[str, KeptFile]


_lists = json_decoder(_FileList)


@dataclass(frozen=True)
class FileFault:
    """What is wrong with a folder: the first file that is not as it was kept."""

    file: str
    expected: str
    found: str


def write_list(folder: Path) -> None:
    """List what is in the folder now. The caller makes it durable, and visible as a whole."""
    (folder / FILES).write_bytes(_list_now(folder))


def list_of(folder: Path) -> bytes:
    """The list that the folder has, else (an older release kept it) one of what is in it now. Raises `OSError`."""
    return (folder / FILES).read_bytes() if is_listed(folder) else _list_now(folder)


def read_list(content: bytes) -> dict[str, KeptFile]:
    """The files of a list, by their names in the folder. Raises `msgspec.DecodeError`."""
    return _lists.decode(content).files


def _list_now(folder: Path) -> bytes:
    files = {path.relative_to(folder).as_posix(): _kept(path) for path in _files(folder)}
    return msgspec.json.format(msgspec.json.encode(_FileList(dict(sorted(files.items())))), indent=1) + b"\n"


def is_listed(folder: Path) -> bool:
    """Whether the folder has a list to be checked against."""
    return (folder / FILES).is_file()


def find_fault(folder: Path) -> FileFault | None:
    """The first file that is not as listed: sizes of all first, which cost nothing, then contents. None: as kept.

    Contents are read once, in pieces, at the speed of SHA-256.
    """
    if not folder.is_dir():
        return FileFault(folder.name, "a folder", "nothing")
    try:
        listed = _lists.decode((folder / FILES).read_bytes()).files
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        return FileFault(FILES, "the list of the files", f"what cannot be read ({error})")
    return next(_faults(folder, listed), None)


def check_files(folder: Path, what: str = "stored copy") -> None:
    """Raises `ArtifactDamaged`, which names the file, what was expected and found, and what to do."""
    fault = find_fault(folder)
    if fault is None:
        return
    raise ArtifactDamaged(
        f"the {what} of this model is damaged: {fault.file!r} in {folder} should be {fault.expected}, and is "
        f"{fault.found}. Register the same file again under the same name ('tidegate register FILE --name NAME'), "
        "which puts it back",
        file=fault.file,
        expected=fault.expected,
        found=fault.found,
        folder=str(folder),
    )


def _faults(folder: Path, listed: dict[str, KeptFile]) -> Iterator[FileFault]:
    for name, kept in listed.items():
        try:
            found = (folder / name).stat().st_size
        except OSError as error:
            yield FileFault(name, f"{kept.size_bytes} bytes", f"missing ({error.strerror})")
            continue
        if found != kept.size_bytes:
            yield FileFault(name, f"{kept.size_bytes} bytes", f"{found} bytes")
    for name, kept in listed.items():
        try:
            sha256 = _sha256(folder / name)
        except OSError as error:
            yield FileFault(name, f"{kept.size_bytes} bytes", f"not to be read ({error.strerror})")
            continue
        if sha256 != kept.sha256:
            yield FileFault(name, f"of SHA-256 {_short(kept.sha256)}", f"of SHA-256 {_short(sha256)}")


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != _CACHE]
        yield from (Path(parent, name) for name in names if Path(parent, name) != folder / FILES)


def _kept(path: Path) -> KeptFile:
    return KeptFile(path.stat().st_size, _sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(sha256: str) -> str:
    return f"{sha256[:_HEX_SHOWN]}…"
