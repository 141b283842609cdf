"""Model packages and serving manifests as files in the data directory, each written whole or not at all.

All that a replica's restart needs lies here; called by services and loops.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tidegate.adapters.sandbox.confinement import make_readable, take_back
from tidegate.errors import Conflict, DiskFull
from tidegate.packaging.filelist import FileFault, find_fault, is_listed, write_list
from tidegate.system.atomic import sweep, write_whole
from tidegate.wire.replicas.manifest import Accelerated, Manifest, encode_manifest, read_manifest

_FULL = (errno.ENOSPC, errno.EDQUOT)
_TEMPORARY = ".part-"
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DirectoryArtifacts:
    """`ArtifactStore` on a directory: one folder per digest, which stays as it is while its files are as listed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, digest: str) -> Path:
        """Raises `ValueError` for anything but a digest: a name with a slash, or none, would lead elsewhere."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{digest!r} is no SHA-256 digest")
        return self._root / digest

    def put(self, digest: str, package_dir: Path) -> Path:
        """Move (from another file system: copy) a package in; one that is there and whole wins. Raises `DiskFull`."""
        return self._move_in(self.path(digest).name, package_dir, replaces=self.fault(digest) is not None)

    def fault(self, digest: str) -> str | None:
        """What is wrong with a package; None: it is there as it was put. Reads all of it."""
        folder = self.path(digest)
        fault = find_fault(folder)
        if fault is None and not is_listed(folder):
            return "it was kept by an older release, without a list of its files"
        return _words(fault)

    def form_fault(self, folder: str) -> str | None:
        """As `fault`, of the folder that `put_form` returned; one without a list is taken for whole."""
        return _words(find_fault(self._root / folder))

    def put_form(self, digest: str, form: str, form_dir: Path) -> str:
        """Move an accelerated form in beside its package; the one that is there wins. Returns its folder's name.

        Raises `ModelLoadFailed` where it is a link or holds more than plain files and folders.
        """
        name = f"{self.path(digest).name}.{form}"
        take_back(form_dir)
        self._move_in(name, form_dir, left_behind=True)
        return name

    def _move_in(self, name: str, folder: Path, *, replaces: bool = False, left_behind: bool = False) -> Path:
        final = self._root / name
        if final.is_dir() and not replaces:
            shutil.rmtree(folder)
            return final
        staged = self._root / f"{_TEMPORARY}{name}-{secrets.token_hex(4)}"
        with _disk_full(staged):
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.move(folder, staged)
            if left_behind:
                take_back(staged)  # again, where its maker cannot come: it may have been another one until now
            make_readable(staged)
            write_list(staged)
            _sync_tree(staged)
            replaced = self._out_of_sight(final)
            staged.rename(final)
            _sync(self._root)
        if replaced is not None:
            shutil.rmtree(replaced, ignore_errors=True)
        return final

    def delete(self, digest: str) -> None:
        """The package and its forms. Out of sight at once, then gone: a crash leaves no folder that looks whole."""
        for folder in (self.path(digest), *self._root.glob(f"{digest}.*")):
            doomed = self._out_of_sight(folder)
            if doomed is not None:
                shutil.rmtree(doomed)

    def _out_of_sight(self, folder: Path) -> Path | None:
        """Where it lies now, for the next sweep if not for the caller; None: it was not there."""
        doomed = self._root / f"{_TEMPORARY}{folder.name}-{secrets.token_hex(4)}"
        try:
            return folder.rename(doomed)
        except FileNotFoundError:
            return None

    def sweep(self) -> None:
        """Remove what a crash left half-moved; called when a platform starts, before anything is put."""
        if self._root.is_dir():
            for left in self._root.glob(f"{_TEMPORARY}*"):
                shutil.rmtree(left)


class ManifestFiles:
    """`versions/NAME/VERSION.json`: what `python -m tidegate.server --manifest` reads."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str, version: str) -> Path:
        """Where the manifest of this version lies (or would lie)."""
        return self._root / name / f"{version}.json"

    def write(self, manifest: Manifest) -> Path:
        """Write or replace. Raises `DiskFull`."""
        path = self.path(manifest.name, manifest.version)
        with _disk_full():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, encode_manifest(manifest))
        return path

    def set_label(self, name: str, version: str, label: str | None) -> None:
        """Rewrite the label alone. Raises `Conflict` when there is no manifest that can be read, and `DiskFull`."""
        manifest = self.read(name, version)
        if manifest.label != label:
            self.write(msgspec.structs.replace(manifest, label=label))

    def set_accelerated(self, name: str, version: str, accelerated: Accelerated | None) -> None:
        """Rewrite the form that is served alone: replicas started from now on load it. Raises as `set_label`."""
        manifest = self.read(name, version)
        if manifest.accelerated != accelerated:
            self.write(msgspec.structs.replace(manifest, accelerated=accelerated))

    def read(self, name: str, version: str) -> Manifest:
        """The manifest. Raises `Conflict`, with what to do, when there is none that can be read."""
        path = self.path(name, version)
        try:
            return read_manifest(path)
        except (OSError, msgspec.DecodeError) as error:
            raise Conflict(
                f"the manifest {path} cannot be read ({error}): restore it, or delete the version "
                f"('tidegate models delete {name}:{version}') and register it again"
            ) from error

    def environments(self) -> set[str]:
        """Keys of the environments that manifests name. Raises `OSError` or `msgspec.DecodeError`."""
        found = (read_manifest(path).environment for path in self._root.glob("*/*.json"))
        return {key for key in found if key is not None}

    def delete(self, name: str, version: str) -> None:
        """With what is kept of its image. Deleting what is gone is no error."""
        self.path(name, version).unlink(missing_ok=True)
        shutil.rmtree(self.image_dir(name, version), ignore_errors=True)

    def sweep(self, now: float) -> None:
        """Remove what a crash left half-written; called when a term begins."""
        if self._root.is_dir():
            for folder in self._root.iterdir():
                sweep(folder, now)

    def image_dir(self, name: str, version: str) -> Path:
        """Where what is kept of this version's image lies (or would lie)."""
        return self._root / name / f"{version}.image"


def _words(fault: FileFault | None) -> str | None:
    return None if fault is None else f"{fault.file!r} should be {fault.expected}, and is {fault.found}"


@contextmanager
def _disk_full(staged: Path | None = None) -> Iterator[None]:
    """On any failure nothing staged stays; a full disk is `DiskFull`."""
    try:
        yield
    except BaseException as error:
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise DiskFull from error
        raise


def _sync_tree(root: Path) -> None:
    for folder, _folders, files in os.walk(root):
        for name in files:
            _sync(Path(folder, name))
        _sync(Path(folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
