import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from support.control import SIGNATURE
from tidegate.adapters.artifacts.store import DirectoryArtifacts, ManifestFiles
from tidegate.errors import Conflict, DiskFull
from tidegate.wire.replicas.manifest import Manifest, read_manifest

DIGEST = "d" * 64


def _full(*_args: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _package(folder: Path) -> Path:
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    return folder


def _manifest(label: str | None = None) -> Manifest:
    return Manifest("churn", "1", DIGEST, f"../../artifacts/{DIGEST}", "sklearn", SIGNATURE, [0.0, 1.0], label=label)


@pytest.mark.parametrize("step", ["shutil.move", "os.fsync"])
def test_a_full_disk_leaves_nothing_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    artifacts = DirectoryArtifacts(tmp_path / "artifacts")
    package = _package(tmp_path / "new")
    with monkeypatch.context() as patch:
        patch.setattr(step, _full)
        with pytest.raises(DiskFull):
            artifacts.put(DIGEST, package)
    assert list((tmp_path / "artifacts").iterdir()) == []


def test_a_full_disk_leaves_what_was_to_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts = DirectoryArtifacts(tmp_path / "artifacts")
    kept = artifacts.put(DIGEST, _package(tmp_path / "old"))
    (kept / "tidegate-files.json").unlink()  # as an older release kept it: good, but nobody can tell
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", _full)
        with pytest.raises(DiskFull):
            artifacts.put(DIGEST, _package(tmp_path / "new"))
    assert [path.name for path in kept.iterdir()] == ["MLmodel"]
    assert list((tmp_path / "artifacts").iterdir()) == [kept]


def test_a_full_disk_leaves_the_manifest_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = ManifestFiles(tmp_path)
    path = manifests.write(_manifest("v1"))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", _full)
        with pytest.raises(DiskFull):
            manifests.set_label("churn", "1", "v2")
    assert read_manifest(path).label == "v1"
    assert list(path.parent.iterdir()) == [path]


def test_a_manifest_that_cannot_be_read_is_a_conflict_that_says_what_to_do(tmp_path: Path) -> None:
    manifests = ManifestFiles(tmp_path)
    manifests.write(_manifest("v1")).write_text("{")
    with pytest.raises(Conflict, match="models delete churn:1"):
        manifests.set_label("churn", "1", "v2")


def test_what_a_crash_left_is_swept_and_whole_packages_stay(tmp_path: Path) -> None:
    artifacts = DirectoryArtifacts(tmp_path / "artifacts")
    whole = artifacts.put(DIGEST, _package(tmp_path / "new"))
    _package(tmp_path / "artifacts" / f".part-{DIGEST}-12")
    artifacts.sweep()
    assert list((tmp_path / "artifacts").iterdir()) == [whole]


def test_a_manifest_can_be_read_back_and_deleted_twice(tmp_path: Path) -> None:
    manifests = ManifestFiles(tmp_path)
    assert read_manifest(manifests.write(_manifest("v1"))) == _manifest("v1")
    for _ in range(2):
        manifests.delete("churn", "1")
    assert not manifests.path("churn", "1").exists()
