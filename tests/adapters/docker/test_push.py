"""What a registry says of an image that was pushed, by a docker command that answers as the real one does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.adapters.docker.build import DockerCli
from tidegate.core.images.contents import named_by_digest

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
TAG = "registry.example.com:5000/team/churn:3"


@pytest.mark.parametrize(
    ("printed", "digest"),
    [
        (f"5f70bf18a086: Pushed\\n3: digest: {DIGEST} size: 1234", DIGEST),
        ("5f70bf18a086: Pushed", None),
    ],
)
def test_the_digest_that_a_push_prints_names_the_image(tmp_path: Path, printed: str, digest: str | None) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\nprintf '{printed}\\n'\n")
    docker.chmod(0o755)
    cli = DockerCli({**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    found = cli.push(TAG, lambda _line: None)
    assert found == digest
    wanted = None if digest is None else f"registry.example.com:5000/team/churn@{digest}"
    assert named_by_digest(TAG, found) == wanted


def test_a_registry_with_a_port_and_no_tag_keeps_its_port() -> None:
    assert named_by_digest("localhost:5000/churn", DIGEST) == f"localhost:5000/churn@{DIGEST}"
    assert named_by_digest("churn:3", DIGEST) == f"churn@{DIGEST}"
