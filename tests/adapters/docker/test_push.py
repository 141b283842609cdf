"""What a registry says of an image that was pushed, by a docker command that answers as the real one does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tidegate.adapters.docker.build import DockerCli
from tidegate.core.images.contents import named_by_digest
from tidegate.errors import ImageBuildFailed, ImagePushFailed

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
TAG = "registry.example.com:5000/team/churn:3"


def docker_that(folder: Path, push: str, inspect: str = "[{}]", code: int = 0) -> DockerCli:
    """A docker command whose push prints this and ends so; it knows of one image, and its engine answers."""
    docker = folder / "docker"
    docker.write_text(
        f"#!/bin/sh\ncase $1 in push) printf '{push}\\n'; exit {code};; image) echo '{inspect}';; *) echo 28.0;; esac\n"
    )
    docker.chmod(0o755)
    return DockerCli({**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"})


@pytest.mark.parametrize(
    ("printed", "noted", "digest"),
    [
        (f"5f70bf18a086: Pushed\\n3: digest: {DIGEST} size: 1234", [], DIGEST),
        ("5f70bf18a086: Pushed", [f"registry.example.com:5000/team/churn@{DIGEST}"], DIGEST),
        ("5f70bf18a086: Pushed", [f"elsewhere.example.com/team/churn@{DIGEST}"], None),
        ("5f70bf18a086: Pushed", None, None),
    ],
)
def test_the_digest_of_a_push_names_the_image(
    tmp_path: Path, printed: str, noted: list[str] | None, digest: str | None
) -> None:
    """Printed, or as the engine noted it."""
    cli = docker_that(tmp_path, printed, json.dumps([{"RepoDigests": noted}]))
    found = cli.push(TAG, lambda _line: None)
    assert found == digest
    wanted = None if digest is None else f"registry.example.com:5000/team/churn@{digest}"
    assert named_by_digest(TAG, found) == wanted


@pytest.mark.parametrize(
    ("printed", "told"),
    [
        ("unauthorized: authentication required", "docker login registry.example.com:5000"),
        ("http: server gave HTTP response to HTTPS client", "insecure-registries"),
        ("dial tcp: lookup registry.example.com: no such host", "is the registry there"),
    ],
)
def test_a_push_that_fails_says_what_to_do(tmp_path: Path, printed: str, told: str) -> None:
    with pytest.raises(ImagePushFailed, match=told):
        docker_that(tmp_path, printed, code=1).push(TAG, lambda _line: None)


def test_a_base_image_for_another_processor_is_refused(tmp_path: Path) -> None:
    found = [{"Id": "sha256:1", "Os": "linux", "Architecture": "amd64"}]
    cli = docker_that(tmp_path, "", json.dumps(found))
    with pytest.raises(ImageBuildFailed, match=r"is for linux/amd64, and linux/arm64 was asked for.*--base"):
        cli.base("python:3.11-slim", lambda _line: None, "linux/arm64")


def test_an_engine_that_runs_no_programs_for_another_processor_is_named(tmp_path: Path) -> None:
    found = [{"Id": "sha256:1", "Os": "linux", "Architecture": "arm64"}]
    docker_that(tmp_path, "", json.dumps(found))
    docker = tmp_path / "docker"
    text = docker.read_text().replace("case $1 in", "case $1 in run) echo exec format error >&2; exit 1;;")
    docker.write_text(text)
    cli = DockerCli({**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    with pytest.raises(ImageBuildFailed, match=r"cannot run programs for linux/arm64.*DOCKER_HOST"):
        cli.base("python:3.11-slim", lambda _line: None, "linux/arm64")


def test_a_registry_with_a_port_and_no_tag_keeps_its_port() -> None:
    assert named_by_digest("localhost:5000/churn", DIGEST) == f"localhost:5000/churn@{DIGEST}"
    assert named_by_digest("churn:3", DIGEST) == f"churn@{DIGEST}"
