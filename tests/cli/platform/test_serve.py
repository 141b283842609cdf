"""`tidegate serve NAME:VERSION` finds what was registered, wherever the platform keeps it."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.platform import tidegate
from tidegate.wire.replicas.manifest import Manifest, encode_manifest
from tidegate.wire.signature import Signature


def registered(files_dir: Path) -> None:
    """A version with an environment of its own, whose interpreter tells what it is asked to run."""
    python = files_dir / "environments" / "0123" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o700)
    manifest = Manifest(
        "churn", "3", "ab" * 32, "package", "sklearn", Signature("matrix", (), ()), [1], environment="0123"
    )
    file = files_dir / "versions" / "churn" / "3.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(encode_manifest(manifest))


@pytest.mark.parametrize("shared", [False, True], ids=["data directory", "TIDEGATE_FILES_DIR"])
def test_a_registered_version_is_found_with_its_environment(tmp_path: Path, shared: bool) -> None:
    data_dir, files_dir = tmp_path / "data", tmp_path / ("shared" if shared else "data")
    env = {"TIDEGATE_FILES_DIR": str(files_dir)} if shared else {}
    registered(files_dir)
    ran = tidegate("serve", "churn:3", "--data-dir", str(data_dir), "--port", "9000", env=env)
    assert ran.code == 0, ran.said
    said = ran.out.split()
    assert said[:4] == ["-m", "tidegate.server", "--manifest", str(files_dir / "versions" / "churn" / "3.json")]
    assert said[4:6] == ["--data-dir", str(data_dir)]
    ran = tidegate("serve", "churn:4", "--data-dir", str(data_dir), env=env)
    assert ran.code == 1
    assert f"in {files_dir} (versions of 'churn' there: 3)" in ran.err
