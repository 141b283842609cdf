"""Unpacks a tar that a client sent: plain files and folders only, inside its folder, within a bound."""

from __future__ import annotations

import errno
import shutil
import tarfile
from pathlib import Path, PurePosixPath

from tidegate.errors import NotAModel, TooLarge
from tidegate.packaging.keras_files import SAVED_MODEL
from tidegate.packaging.mlmodel import MLMODEL

MEMBERS_MAX = 100_000
_OF_THE_ARCHIVE = frozenset(
    {errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ, errno.ELOOP}
)
"""What the names in an archive bring about; all other failures are the machine's."""


def extract_tar(archive: Path, into: Path, *, bytes_max: int) -> Path:
    """Unpack `archive` into the folder `into`; returns `into`, or its only subfolder when that holds a model.

    Raises `NotAModel` for anything but an uncompressed tar of files and folders with plain relative names, and
    `TooLarge` past `bytes_max` bytes of content. What was unpacked by then stays for the caller to remove.
    """
    into.mkdir(parents=True, exist_ok=True)
    left_bytes, members = bytes_max, 0
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                left_bytes -= max(member.size, 0)
                members += 1
                if left_bytes < 0 or members > MEMBERS_MAX:
                    raise TooLarge(f"the archive holds more than {bytes_max} bytes or {MEMBERS_MAX} files")
                _extract(tar, member, into)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, IndexError) as error:
        raise NotAModel(f"the archive is no tar file, or was cut off: {error}") from None
    except OSError as error:
        if error.errno not in _OF_THE_ARCHIVE:
            raise
        raise NotAModel(f"the archive cannot be unpacked: {error.strerror} (a name in it, or one name twice)") from None
    return _root(into)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, into: Path) -> None:
    if member.size < 0:
        raise NotAModel(f"the archive says that {member.name!r} has {member.size} bytes")
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\x00" in member.name:
        raise NotAModel(f"the archive names {member.name!r}, which lies outside its folder")
    target = into.joinpath(*name.parts)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        raise NotAModel(
            f"the archive holds {member.name!r}, which is neither a file nor a folder (links are not taken)"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
        if file.tell() != member.size:
            raise NotAModel(f"the archive was cut off inside {member.name!r}")


def _root(into: Path) -> Path:
    children = list(into.iterdir())
    if len(children) == 1 and any((children[0] / name).is_file() for name in (MLMODEL, SAVED_MODEL)):
        return children[0]
    return into
