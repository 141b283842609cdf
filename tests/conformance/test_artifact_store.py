"""What every `ArtifactStore` must do; runs on each implementation (the directory is the one there is)."""

from pathlib import Path

import pytest

from tidegate.adapters.artifacts.store import DirectoryArtifacts
from tidegate.core.ports import ArtifactStore

DIGEST = "d" * 64


@pytest.fixture
def artifacts(tmp_path: Path) -> ArtifactStore:
    return DirectoryArtifacts(tmp_path / "artifacts")


def _package(folder: Path, text: str = "flavors: {}\n") -> Path:
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text(text)
    (folder / "code" / "a.py").write_text("A = 1\n")
    return folder


def test_a_package_is_moved_in_whole(artifacts: ArtifactStore, tmp_path: Path) -> None:
    path = artifacts.put(DIGEST, _package(tmp_path / "new"))
    assert path == artifacts.path(DIGEST)
    assert (path / "code" / "a.py").read_text() == "A = 1\n"
    assert not (tmp_path / "new").exists()


def test_what_is_there_stays(artifacts: ArtifactStore, tmp_path: Path) -> None:
    artifacts.put(DIGEST, _package(tmp_path / "first", "first"))
    artifacts.put(DIGEST, _package(tmp_path / "second", "second"))
    assert (artifacts.path(DIGEST) / "MLmodel").read_text() == "first"
    assert not (tmp_path / "second").exists()


def _damage(artifacts: ArtifactStore, name: str = DIGEST) -> None:
    (artifacts.path(DIGEST).parent / name / "code" / "a.py").write_text("A = 2\n")


def test_damage_is_told_and_the_same_package_mends_it(artifacts: ArtifactStore, tmp_path: Path) -> None:
    assert artifacts.fault(DIGEST) is not None, "it is not there"
    artifacts.put(DIGEST, _package(tmp_path / "first"))
    assert artifacts.fault(DIGEST) is None
    _damage(artifacts)
    assert "'code/a.py' should be of SHA-256" in str(artifacts.fault(DIGEST))
    artifacts.put(DIGEST, _package(tmp_path / "second"))
    assert artifacts.fault(DIGEST) is None
    assert (artifacts.path(DIGEST) / "code" / "a.py").read_text() == "A = 1\n"


def test_damage_to_a_form_is_told(artifacts: ArtifactStore, tmp_path: Path) -> None:
    folder = artifacts.put_form(DIGEST, "fast.1", _package(tmp_path / "form"))
    assert artifacts.form_fault(folder) is None
    _damage(artifacts, folder)
    assert "code/a.py" in str(artifacts.form_fault(folder))
    assert artifacts.form_fault(f"{DIGEST}.other") is not None, "it is not there"


def test_deleting_can_be_repeated(artifacts: ArtifactStore, tmp_path: Path) -> None:
    artifacts.put(DIGEST, _package(tmp_path / "new"))
    for _ in range(2):
        artifacts.delete(DIGEST)
    assert not artifacts.path(DIGEST).exists()


@pytest.mark.parametrize("digest", ["", ".", "..", "../" + DIGEST, "x" * 64])
def test_what_is_no_digest_leads_nowhere(artifacts: ArtifactStore, tmp_path: Path, digest: str) -> None:
    artifacts.put(DIGEST, _package(tmp_path / "new"))
    with pytest.raises(ValueError, match="digest"):
        artifacts.delete(digest)
    assert artifacts.path(DIGEST).is_dir()
