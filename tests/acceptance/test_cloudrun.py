"""A platform whose replicas run on Google Cloud Run, as its users meet it; Google is a fake of its API and fronts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.cloudrun.instances import Image
from support.cloudrun.server import FakeServer, fake_cloud_run
from support.engine_walk import Walk
from support.images import PLAIN_MODEL
from support.platform import Platform
from support.wait import until
from tidegate.store.database.engine import open_store, store_url
from tidegate.store.tables.images import PushedImageRow
from tidegate.version import __version__
from tidegate.wire.replicas.manifest import read_manifest

REGISTRY = "europe-west1-docker.pkg.dev/demo-project/models"
ROW = (1.0, 2.0)


@dataclass
class Ground:
    """A platform, and a Cloud Run."""

    google: FakeServer
    platform: Platform
    folder: Path

    def register(self, version: str) -> str:
        """The next version of `churn`, with its image in the registry, as `tidegate build --push` notes it."""
        source = self.folder / f"model-{version}"
        source.mkdir()
        (source / "model.py").write_text(PLAIN_MODEL.replace("sum(axis=1)", f"sum(axis=1) + {version}"))
        self.platform.done("register", str(source), "--name", "churn", "--allow-pickle")
        manifest = self.platform.data_dir / "versions" / "churn" / f"{version}.json"
        digest = read_manifest(manifest).digest
        reference = f"{REGISTRY}/churn@sha256:{version * 64}"
        self.google.fake.images[reference] = Image(manifest)
        store = open_store(store_url(self.platform.data_dir, None))
        row = ("churn", version, f"{REGISTRY}/churn:{version}", "", __version__, "linux/amd64", digest, reference, 1.0)
        names = ("model", "version", "tag", "form", "release", "platform", "digest", "reference", "pushed_at")
        with store.transaction() as tx:
            tx.add(PushedImageRow(**dict(zip(names, row, strict=True))))
        store.close()
        return f"churn:{version}"

    def left(self) -> list[str]:
        fake = self.google.fake
        return [*fake.services, *map(str, fake.processes())]


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with fake_cloud_run(tmp_path / "google") as google:
        env = google.env() | {"TIDEGATE_IMAGE_REGISTRY": REGISTRY, "TIDEGATE_DRAIN_S": "1"}
        platform = Platform(tmp_path / "data", env, options=("--backend", "cloudrun"))
        try:
            yield Ground(google, platform.start(), tmp_path)
        finally:
            platform.stop()


@pytest.mark.slow
def test_an_endpoint_on_cloud_run_follows_its_load_there_and_answers_through_its_fronts(ground: Ground) -> None:
    platform, fake = ground.platform, ground.google.fake
    platform.done("deploy", ground.register("1"))
    assert platform.endpoint("churn")["backend"] == "cloudrun"
    answer = platform.predict("churn", list(ROW))
    assert (answer.status_code, answer.json()["prediction"]) == (200, [4.0]), answer.text + platform.log()
    heads = "".join(head for door in fake.doors.values() for head in door.heads).lower()
    assert "x-serverless-authorization: bearer " in heads
    kept = next((platform.data_dir / "gateways").glob("*.snapshot.json")).read_text()
    assert "audience" in kept
    assert "bearer" not in kept.lower()

    refused = platform.cli(
        "scale", "churn", "--min", "1", "--max", "3", "--target", "cpu=60", "--autoscaler", "tidegate"
    )
    assert (refused.code, "give --autoscaler engine" in refused.said) == (2, True)
    platform.done("scale", "churn", "--min", "1", "--max", "3", "--target", "cpu=60", "--autoscaler", "engine")

    def scaling() -> object:
        return fake.service("tidegate-churn")["template"]["scaling"]

    wanted = {"minInstanceCount": 1, "maxInstanceCount": 3, "cpuUtilization": 0.6}
    until(lambda: scaling() == wanted, what="the bounds on Cloud Run")
    until(lambda: len(fake.service("tidegate-churn")["traffic"]) == 1, what="one revision")
    assert platform.predict("churn", list(ROW)).status_code == 200

    platform.done("scale", "churn", "--replicas", "2")
    until(lambda: scaling() == {"minInstanceCount": 2, "maxInstanceCount": 2}, what="two instances, fixed")
    until(lambda: not fake.service("tidegate-churn")["reconciling"], what="the tag on them")

    tag = next(at for at in fake.doors if at.endswith(fake.service("tidegate-churn")["traffic"][0]["tag"]))
    fake.doors[tag].turn_away = 3
    answer = platform.ask("/predict/churn", {"features": list(ROW)}, headers={"X-Tidegate-Timeout-Ms": "20000"})
    assert answer.status_code == 200, answer.text
    assert fake.doors[tag].turned_away >= 3

    with ground.google.away():
        assert [platform.predict("churn", list(ROW)).status_code for _ in range(20)] == [200] * 20
    platform.done("delete", "churn", "--yes")
    until(lambda: not ground.left(), what="the end of everything on Cloud Run")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_whole_walk_without_a_failed_request(ground: Ground) -> None:
    versions = [ground.register(version) for version in ("1", "2")]
    walk = Walk(ground.platform, "cloudrun", "churn", versions, ROW, ground.left, pooled=True)
    traffic = walk.all(requests_min=int(os.environ.get("TIDEGATE_WALK_REQUESTS", "5000")))
    assert traffic.asked >= 5000
