"""Manifests of what a platform has: aliases, splits, and the images that it knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.control import ME, NewDatabase, add_version, container_at
from tidegate.core.manifests.served import ServedRequest
from tidegate.errors import InvalidArgument, UnknownEndpoint, UnknownVersion
from tidegate.wire.rest import DeployRequest, Image, TrafficRequest
from tidegate.wiring import Container

PUSHED_AS = f"registry.example.com/team/churn@sha256:{'a' * 64}"


@pytest.fixture
def platform(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    add_version(container, "churn", "1", label="v1")
    add_version(container, "churn", "2", label="v2")
    container.endpoints.deploy("churn", DeployRequest("churn", "1"), ME)
    yield container
    container.close()


def _container(platform: Container, version: str | None = None) -> Any:
    deployment = platform.documents.export("churn", "kubernetes", ServedRequest(version)).documents[0]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return container


def _built(platform: Container, version: str, digest: str, pushed_as: str | None) -> None:
    image = Image(
        model="churn",
        version=version,
        digest=digest,
        image="registry.example.com/team/churn:1",
        id="sha256:1",
        base="python:3.11-slim",
        size_bytes=1,
        layers=[],
        pickle_granted=False,
        pushed=pushed_as is not None,
        built_at=0.0,
        pushed_as=pushed_as,
    )
    platform.images.files.write(image)


def test_the_image_that_was_pushed_is_named_by_its_digest(platform: Container) -> None:
    digest = platform.models.version("churn", "1").digest
    assert _container(platform)["image"] == "tidegate/churn:1"
    _built(platform, "1", digest, None)
    assert _container(platform)["image"] == "registry.example.com/team/churn:1"
    _built(platform, "1", digest, PUSHED_AS)
    assert _container(platform)["image"] == PUSHED_AS
    answer = platform.documents.export("churn", "kubernetes")
    assert answer.warnings == []
    assert answer.documents[0]["metadata"]["annotations"] == {"tidegate.io/digest": digest}
    _built(platform, "1", "of other files", PUSHED_AS)
    assert _container(platform)["image"] == "tidegate/churn:1"


def test_a_split_wants_a_version_which_may_be_a_label(platform: Container) -> None:
    platform.endpoints.set_traffic("churn", TrafficRequest({"1": 90, "2": 10}), ME)
    with pytest.raises(InvalidArgument, match=r"splits its traffic \(1=90 2=10\).* say with --version which"):
        _container(platform)
    for named in ("2", "v2"):
        assert _container(platform, named)["env"][1] == {"name": "MODEL_VERSION", "value": "2"}
    with pytest.raises(UnknownVersion):
        _container(platform, "9")
    with pytest.raises(UnknownEndpoint):
        platform.documents.export("nobody", "kubernetes")
    with pytest.raises(InvalidArgument, match="give --format kubernetes, ecs or cloudrun"):
        platform.documents.export("churn", "tidegate", ServedRequest("1"))


def test_a_version_on_a_gpu_asks_for_one(platform: Container) -> None:
    manifest = platform.models.manifests.read("churn", "1")
    platform.models.manifests.write(msgspec.structs.replace(manifest, device="cuda"))
    assert _container(platform)["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_all_endpoints_are_one_file(platform: Container) -> None:
    platform.endpoints.deploy("another", DeployRequest("churn", "2"), ME)
    answer = platform.documents.export(None, "kubernetes")
    named = [one["metadata"]["name"] for one in answer.documents if one["kind"] == "Deployment"]
    assert named == ["tidegate-another", "tidegate-churn"]
    assert [one.partition(":")[0] for one in answer.warnings] == ["another", "churn"]
