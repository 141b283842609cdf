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
from support.wait import until
from tidegate import clock
from tidegate.store.database.engine import open_store, store_url
from tidegate.store.models import pushed_images
from tidegate.version import __version__
from tidegate.wire import rest
from tidegate.wire.replicas.manifest import read_manifest

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
@pytest.mark.timeout(300)
def test_an_endpoint_on_ecs_sleeps_is_woken_and_serves_on_while_aws_is_silent(
    platform: Platform, aws: FakeAws, versions: list[str]
) -> None:
    platform.done("deploy", versions[0], "--name", ENDPOINT, "--allow-pickle")
    platform.done("scale", ENDPOINT, "--min", "0", "--max", "1", "--target", "concurrency=4", "--idle", "2s")
    until(lambda: platform.endpoint(ENDPOINT)["status"] == "asleep", 60, "its sleep")
    until(lambda: not [task for task in aws.cluster.tasks if not task.is_over], 60, "no task")
    woken = platform.ask(f"/predict/{ENDPOINT}", {"features": list(ROW)}, headers={"X-Tidegate-Timeout-Ms": "60000"})
    assert (woken.status_code, woken.headers["X-Tidegate-Cold-Start"]) == (200, "true"), woken.text + platform.log()
    platform.done("scale", ENDPOINT, "--replicas", "1")
    until(lambda: platform.endpoint(ENDPOINT)["status"] == "ready", 60, "one that stays")

    with aws.away():
        assert [platform.predict(ENDPOINT, list(ROW)).status_code for _ in range(20)] == [200] * 20
        until(lambda: "AWS does not answer" in platform.cli("status").said, 60, "the word of it in the status")
        refused = platform.cli("deploy", f"{ENDPOINT}:2", "--no-wait")
        assert "AWS does not answer in region eu-west-1" in refused.said

    broken = pushed(platform, "2")
    del aws.cluster.images[broken]
    until(lambda: "AWS does not answer" not in platform.cli("status").said, 60, "AWS")
    failed = platform.cli("deploy", f"{ENDPOINT}:2", timeout_s=120.0)
    assert failed.code == 1
    assert "is not in its registry" in failed.said
    assert platform.predict(ENDPOINT, list(ROW)).json()["model_version"] == "1"
    platform.done("delete", ENDPOINT, "--yes")
    until(lambda: not left(aws), 60, "the end of everything that was made for it")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_main_job_on_ecs(platform: Platform, aws: FakeAws, versions: list[str]) -> None:
    walk = Walk(platform, "ecs", ENDPOINT, versions, ROW, lambda: left(aws))
    traffic = walk.all(requests_min=5000)
    assert traffic.asked >= 5000
    sys.stdout.write(f"{traffic.asked} requests, {traffic.failed} failed\n")
