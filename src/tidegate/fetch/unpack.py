"""A stream of `wire.replicas.package_tar` into a folder: each file checked as it is written, none outside the folder.

Nothing that comes is believed: not names, not sizes, not kinds of entries, not how many there are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from tidegate.packaging.filelist import FILES, KeptFile, read_list
from tidegate.wire.decoding import decode_json
from tidegate.wire.replicas.manifest import Manifest
from tidegate.wire.replicas.package_tar import (
    BLOCK_BYTES,
    MANIFEST,
    BadEntry,
    TarEntry,
    check_name,
    padding_bytes,
    read_head,
    read_name,
)

MANIFEST_BYTES_MAX, LIST_BYTES_MAX = 64 << 20, 256 << 20
"""A manifest holds the signature and one example row, a list a line for each file."""
CHUNK_BYTES = 1 << 20


class Source(Protocol):
    """What an answer is read from."""

    def read(self, amount: int) -> bytes:
        """Up to `amount` bytes; none at the end."""


class Incomplete(Exception):
    """The stream ended before the version did."""


@dataclass(frozen=True)
class Unpacked:
    """What came: the manifest, the folder beside it, and the bytes of its files."""

    manifest: Manifest
    folder: str
    size_bytes: int


def unpack(source: Source, into: Path, digest: str) -> Unpacked:
    """Write the version of `digest` into the folder, which is empty.

    Raises `BadEntry` for what is no such version, `Incomplete` where the stream ends early, and `OSError`.
    """
    entries = _Entries(source)
    manifest = _manifest(entries, into)
    if manifest.digest != digest:
        raise BadEntry(f"it is the version of digest {manifest.digest[:80]!r}, and {digest!r} was asked for")
    listed = entries.next()
    folder, _, name = listed.name.partition("/")
    if name != FILES or folder != _served_folder(manifest):
        raise BadEntry(f"after the manifest comes {listed.name[:200]!r}, and not the list of the files that it serves")
    content = entries.content(listed, LIST_BYTES_MAX)
    (into / folder).mkdir()
    _write(into / folder / FILES, iter([content]))
    files = _read_list(content)
    for _ in range(len(files)):
        entry = entries.next()
        parts = check_name(entry.name)
        kept = files.pop("/".join(parts[1:]), None) if parts[0] == folder else None
        if kept is None or kept.size_bytes != entry.size_bytes:
            raise BadEntry(f"{entry.name[:200]!r} of {entry.size_bytes} bytes is not in the list, or came before")
        _file(entries, entry, kept, into.joinpath(*parts))
    entries.end()
    return Unpacked(manifest, folder, sum(kept.size_bytes for kept in _read_list(content).values()))


class _Entries:
    """The entries of a stream, each to be read before the next."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def next(self) -> TarEntry:
        """The next file's."""
        entry = read_head(self._exactly(BLOCK_BYTES))
        if entry is not None and entry.names_next:
            name = read_name(self.content(entry, entry.size_bytes))
            entry = read_head(self._exactly(BLOCK_BYTES))
            if entry is not None and not entry.names_next:
                entry = TarEntry(name, entry.size_bytes)
        if entry is None or entry.names_next:
            raise BadEntry("it ends before its files do")
        check_name(entry.name)
        return entry

    def content(self, entry: TarEntry, bytes_max: int) -> bytes:
        """All of a small file."""
        if entry.size_bytes > bytes_max:
            raise BadEntry(f"{entry.name[:200]!r} has {entry.size_bytes} bytes, and {bytes_max} are allowed")
        return b"".join(self.chunks(entry))

    def chunks(self, entry: TarEntry) -> Iterator[bytes]:
        """A file's bytes, and past its padding."""
        left = entry.size_bytes
        while left:
            chunk = self._some(min(CHUNK_BYTES, left))
            left -= len(chunk)
            yield chunk
        self._exactly(padding_bytes(entry.size_bytes))

    def end(self) -> None:
        """Two blocks of zeros, and nothing after them."""
        if read_head(self._exactly(BLOCK_BYTES)) or read_head(self._exactly(BLOCK_BYTES)) or self._source.read(1):
            raise BadEntry("there is more in it than its files")

    def _some(self, bytes_max: int) -> bytes:
        chunk = self._source.read(bytes_max)
        if not chunk:
            raise Incomplete
        return chunk

    def _exactly(self, count: int) -> bytes:
        found = bytearray()
        while len(found) < count:
            found += self._some(count - len(found))
        return bytes(found)


def _manifest(entries: _Entries, into: Path) -> Manifest:
    entry = entries.next()
    if entry.name != MANIFEST:
        raise BadEntry(f"it begins with {entry.name[:200]!r}, and not with a manifest")
    content = entries.content(entry, MANIFEST_BYTES_MAX)
    try:
        manifest = decode_json(content, Manifest)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadEntry(f"its manifest cannot be read: {error}") from None
    _write(into / MANIFEST, iter([content]))
    return manifest


def _served_folder(manifest: Manifest) -> str:
    return manifest.accelerated.folder if manifest.accelerated is not None else manifest.package_dir


def _read_list(content: bytes) -> dict[str, KeptFile]:
    try:
        return read_list(content)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadEntry(f"the list of its files cannot be read: {error}") from None


def _file(entries: _Entries, entry: TarEntry, kept: KeptFile, path: Path) -> None:
    sha256 = hashlib.sha256()

    def hashed() -> Iterator[bytes]:
        for chunk in entries.chunks(entry):
            sha256.update(chunk)
            yield chunk

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BadEntry(f"{entry.name[:200]!r} lies in what is a file") from None
    _write(path, hashed())
    if sha256.hexdigest() != kept.sha256:
        raise BadEntry(f"{entry.name[:200]!r} is not as it was kept: its SHA-256 is another one")


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise BadEntry(f"{path.name[:200]!r} comes twice, or as a file and a folder") from None
    with os.fdopen(descriptor, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
