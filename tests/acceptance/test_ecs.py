"""An endpoint on AWS ECS, typed as a user would: a fake of AWS's API whose tasks are real replicas."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.ecs.replicas import Image
from support.ecs.server import FakeAws
from support.engine_walk import Walk
from support.images import plain_model
from support.platform import Platform
from tidegate import clock
from tidegate.store import pushed_images
from tidegate.store.engine import open_store, store_url
from tidegate.version import __version__
from tidegate.wire import rest
from tidegate.wire.manifest import read_manifest

REGISTRY = "registry.example.com/team"
ENDPOINT, ROW = "churn", (1.0, 2.0)


@pytest.fixture
def aws(tmp_path: Path) -> Iterator[FakeAws]:
    fake = FakeAws(tmp_path / "aws")
    yield fake
    fake.close()


@pytest.fixture
def platform(tmp_path: Path, aws: FakeAws) -> Iterator[Platform]:
    made = Platform(tmp_path / "data", env=aws.env | {"TIDEGATE_GUARD_S": "0"}, options=("--backend", "ecs")).start()
    yield made
    made.stop()


@pytest.fixture
def versions(tmp_path: Path, platform: Platform, aws: FakeAws) -> list[str]:
    """Two versions of one model, each with an image that somebody pushed."""
    sources = [plain_model(tmp_path / f"model-{version}") for version in "12"]
    with (sources[1] / "model.py").open("a") as file:
        file.write("\n# another version\n")
    for version, source in zip("12", sources, strict=True):
        platform.done("register", str(source), "--name", ENDPOINT, "--allow-pickle")
        aws.cluster.images[pushed(platform, version)] = Image(manifest_of(platform, version))
    return [str(source) for source in sources]


def manifest_of(platform: Platform, version: str) -> Path:
    return platform.data_dir / "versions" / ENDPOINT / f"{version}.json"


def pushed(platform: Platform, version: str) -> str:
    """Note in the platform's store what 'build --push' does once a registry has an image; its reference."""
    manifest = read_manifest(manifest_of(platform, version))
    reference = f"{REGISTRY}/{ENDPOINT}@sha256:{int(version):064x}"
    form = manifest.accelerated.form if manifest.accelerated else None
    image = rest.Image(
        model=ENDPOINT,
        version=version,
        image=f"{REGISTRY}/{ENDPOINT}:{version}",
        digest=manifest.digest,
        id="sha256:0",
        base="python:3.11-slim",
        size_bytes=1,
        layers=[],
        pickle_granted=True,
        pushed=True,
        built_at=clock.now(),
        form=form,
        platform="linux/amd64",
        pushed_as=reference,
    )
    store = open_store(store_url(platform.data_dir, None))
    try:
        with store.transaction() as tx:
            pushed_images.note(tx, image, __version__, clock.now())
    finally:
        store.close()
    return reference


def left(aws: FakeAws) -> list[str]:
    cluster = aws.cluster
    with cluster.lock:
        services = [one.name for one in cluster.services.values() if one.status != "INACTIVE"]
        tasks = [one.arn for one in cluster.tasks if not one.is_over]
        revisions = [one for all_of in cluster.definitions.values() for one in all_of]
    return [*services, *tasks, *(one.arn for one in revisions if one.status != "DELETE_IN_PROGRESS")]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_main_job_on_ecs(platform: Platform, aws: FakeAws, versions: list[str]) -> None:
    walk = Walk(platform, "ecs", ENDPOINT, versions, ROW, lambda: left(aws))
    traffic = walk.all(requests_min=5000)
    assert traffic.asked >= 5000
    sys.stdout.write(f"{traffic.asked} requests, {traffic.failed} failed\n")
