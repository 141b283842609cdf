"""A stored version as one stream: what `tidegate.fetch` unpacks where a replica starts. Reads, and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidegate.errors import ArtifactDamaged
from tidegate.packaging.filelist import FILES, list_of, read_list
from tidegate.wire.replicas.manifest import Accelerated, Manifest, encode_manifest
from tidegate.wire.replicas.package_tar import END, FOLDERS, MANIFEST, head_of, padding_bytes

CHUNK_BYTES = 1 << 20
DISK_BLOCK_BYTES = 4096
_PACKAGE, _FORM = FOLDERS


@dataclass(frozen=True)
class PackedVersion:
    """`files` are what is sent beside the texts: the name in the tar, where it lies, and its size in bytes."""

    digest: str
    texts: tuple[tuple[str, bytes], ...]
    files: tuple[tuple[str, Path, int], ...]

    @property
    def size_bytes(self) -> int:
        """Of the whole stream."""
        sizes = [(name, len(content)) for name, content in self.texts] + [(name, size) for name, _, size in self.files]
        return sum(len(head_of(name, size)) + size + padding_bytes(size) for name, size in sizes) + len(END)

    @property
    def disk_bytes(self) -> int:
        """What its files take where they are unpacked, at most: whole blocks, and one more for each file or folder."""
        sizes = [*(len(content) for _, content in self.texts), *(size for _, _, size in self.files)]
        return sum((math.ceil(size / DISK_BLOCK_BYTES) + 2) * DISK_BLOCK_BYTES for size in sizes)

    def chunks(self) -> Iterator[bytes]:
        """The tar, a piece at a time. A file that is not as it was listed any more ends it early: `ArtifactDamaged`."""
        for name, content in self.texts:
            yield head_of(name, len(content)) + content + bytes(padding_bytes(len(content)))
        for name, path, size in self.files:
            yield head_of(name, size)
            yield from _content(path, size)
            yield bytes(padding_bytes(size))
        yield END


def packed_version(manifest: Manifest, package_dir: Path) -> PackedVersion:
    """A version as its manifest says it is served: the faster form alone where it names one, else the package.

    Raises `ArtifactDamaged` where the folder, or a file of it, is gone.
    """
    accelerated, folder, name = None, package_dir, _PACKAGE
    if manifest.accelerated is not None:
        accelerated, name = Accelerated(manifest.accelerated.form, _FORM), _FORM
        folder = package_dir.parent / manifest.accelerated.folder
    served = msgspec.structs.replace(manifest, package_dir=_PACKAGE, accelerated=accelerated, environment=None)
    try:
        listed = list_of(folder)
        files = tuple((f"{name}/{one}", folder / one, kept.size_bytes) for one, kept in read_list(listed).items())
        if (missing := next((path for _, path, _ in files if not path.is_file()), None)) is not None:
            raise _damaged(missing, "it is gone")
        if not folder.is_dir():
            raise _damaged(folder, "it is gone")
    except (OSError, msgspec.DecodeError) as error:
        raise _damaged(folder, str(error)) from None
    return PackedVersion(manifest.digest, ((MANIFEST, encode_manifest(served)), (f"{name}/{FILES}", listed)), files)


def _content(path: Path, size: int) -> Iterator[bytes]:
    left = size
    try:
        with path.open("rb") as file:
            while left and (chunk := file.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise _damaged(path, str(error)) from None
    if left:
        raise _damaged(path, f"it lacks {left} of its {size} bytes")


def _damaged(path: Path, why: str) -> ArtifactDamaged:
    return ArtifactDamaged(
        f"the version cannot be sent to replicas: {path} is not as it was kept ({why}). Register the same file again "
        "under the same name ('tidegate register FILE --name NAME'), which puts it back"
    )
