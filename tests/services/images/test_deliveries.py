"""How a version reaches an engine elsewhere: in an image of exactly it, by a fetch, or once an image was pushed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.control import ME, add_version, container_at
from tidegate.adapters.artifacts.packed import packed_version
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery, Fetch, Pushed, choose
from tidegate.core.workloads import WorkloadKey, WorkloadSpec
from tidegate.errors import ImageBuildFailed, ImagePending, ImagePushFailed, InvalidArgument, MissingLibrary
from tidegate.fetch.unpack import unpack
from tidegate.services.images.deliveries import DeliverySettings, Needs, VersionDelivery
from tidegate.services.images.replica_images import PUSHED_AGAIN_S, ReplicaImages
from tidegate.settings import Settings
from tidegate.store.models import pushed_images
from tidegate.store.tables import JobRow
from tidegate.store.tables.images import PushedImageRow
from tidegate.version import __version__
from tidegate.wire import rest
from tidegate.wire.replicas.manifest import Accelerated
from tidegate.wiring import Container
from tidegate.wiring.deliveries import version_delivery

REGISTRY = "registry.example.com/team"
REFERENCE = f"{REGISTRY}/churn@sha256:{'1' * 64}"
SETTINGS = DeliverySettings("http://10.0.0.1:8800", registry=REGISTRY, pull_secret="pull-it")
SPEC = WorkloadSpec(WorkloadKey("at-risk", "1", Placement("elsewhere")), "churn", Path("unused"), 1, 1)
FETCHES, STARTS_FROM_IMAGES = Needs(fetches=True), Needs(fetches=False, platform="linux/amd64")


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    made = container_at(tmp_path / "data")
    add_version(made, "churn", "1")
    yield made
    made.close()


def delivery(container: Container, needs: Needs, **settings: Any) -> VersionDelivery:
    images = ReplicaImages(container.jobs, lambda: 0.0)
    return VersionDelivery(container.models, images, replace(SETTINGS, **settings), lambda _: needs)


def note(container: Container, **fields: Any) -> None:
    """A build job pushed an image."""
    digest = container.manifests.read("churn", "1").digest
    row: dict[str, Any] = {
        "model": "churn",
        "version": "1",
        "tag": f"{REGISTRY}/churn:1",
        "form": "",
        "platform": "linux/amd64",
    }
    row |= {"digest": digest, "release": __version__, "reference": REFERENCE, "pushed_at": 1.0}
    with container.store.transaction() as tx:
        tx.add(PushedImageRow(**(row | fields)))


def builds(container: Container) -> list[rest.Job]:
    return [job for job in container.jobs.find(None, "churn", 10)[0] if job.kind == "build"]


def end(container: Container, state: str, result: Any = None, error: Any = None) -> None:
    """What the job pool writes."""
    with container.store.transaction() as tx:
        row = tx.get(JobRow, builds(container)[0].id)
        assert row is not None
        row.state, row.error, row.result = state, error, result


@pytest.mark.parametrize("needs", [FETCHES, STARTS_FROM_IMAGES])
def test_an_image_of_exactly_this_version_is_started_by_its_digest(container: Container, needs: Needs) -> None:
    note(container)
    found = delivery(container, needs).deliver(SPEC)
    assert found == Delivery(REFERENCE, None, "pull-it", "linux/amd64")
    assert builds(container) == []


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"digest": "0" * 64}, id="of other files"),
        pytest.param({"form": "trees"}, id="of another form"),
        pytest.param({"release": "0.0.1"}, id="of another release"),
        pytest.param({"reference": f"elsewhere.example/churn@sha256:{'1' * 64}"}, id="of another registry"),
    ],
)
def test_an_image_of_anything_else_is_left_alone(container: Container, other: dict[str, str]) -> None:
    note(container, **other)
    found = delivery(container, FETCHES).deliver(SPEC)
    path = "/internal/v1/packages/churn/1?form="
    digest = container.manifests.read("churn", "1").digest
    image = f"tidegate/tidegate:{__version__}"
    assert found.fetch is not None
    assert found == Delivery(image, Fetch("http://10.0.0.1:8800", path, digest, found.fetch.disk_bytes), "pull-it")


def test_a_fetch_says_how_much_room_the_files_take(container: Container, tmp_path: Path) -> None:
    found = delivery(container, FETCHES).deliver(SPEC)
    assert found.fetch is not None
    packed = packed_version(container.manifests.read("churn", "1"), container.models.artifacts.path(found.fetch.digest))
    into = tmp_path / "model"
    into.mkdir()
    unpack(io.BytesIO(b"".join(packed.chunks())), into, found.fetch.digest)
    taken = sum(path.stat().st_blocks * 512 for path in into.rglob("*"))
    assert 0 < taken <= found.fetch.disk_bytes <= 10 * 4096


def test_a_form_is_fetched_by_its_name(container: Container) -> None:
    found = delivery(container, FETCHES, runtime_image="own/runtime:7").deliver(
        replace(SPEC, key=replace(SPEC.key, form="trees"))
    )
    assert found.fetch is not None
    assert (found.image, found.fetch.version_path) == ("own/runtime:7", "/internal/v1/packages/churn/1?form=trees")


def test_replicas_elsewhere_cannot_fetch_from_loopback(container: Container) -> None:
    with pytest.raises(InvalidArgument, match="TIDEGATE_CONTROL_URL_INSIDE"):
        delivery(container, FETCHES, control_url="http://127.0.0.1:8800").deliver(SPEC)
    inside = {"control_url": "http://127.0.0.1:8800", "control_url_inside": "http://tidegate-control:8800/"}
    found = delivery(container, FETCHES, **inside).deliver(SPEC)
    assert found.fetch is not None
    assert found.fetch.url == "http://tidegate-control:8800"


def test_a_version_that_the_runtime_image_cannot_load_needs_its_own(container: Container) -> None:
    manifest = container.manifests.read("churn", "1")
    container.manifests.write(msgspec.structs.replace(manifest, environment="e" * 64))
    with pytest.raises(MissingLibrary, match=r"libraries of its own.*'tidegate build churn:1 --push'"):
        delivery(container, FETCHES).deliver(SPEC)
    with pytest.raises(MissingLibrary, match="set TIDEGATE_IMAGE_REGISTRY"):
        delivery(container, FETCHES, registry=None).deliver(SPEC)
    container.manifests.write(msgspec.structs.replace(manifest, framework="torch"))
    with pytest.raises(MissingLibrary, match="needs torch"):
        delivery(container, FETCHES).deliver(SPEC)
    assert delivery(container, FETCHES, runtime_image="own/runtime:7").deliver(SPEC).image == "own/runtime:7"
    fast = msgspec.structs.replace(manifest, framework="torch", accelerated=Accelerated("onnx", "x"))
    container.manifests.write(fast)
    form = container.models.artifacts.path(manifest.digest).parent / "x"
    form.mkdir()
    (form / "model.onnx").write_bytes(b"graph")
    assert delivery(container, FETCHES).deliver(replace(SPEC, key=replace(SPEC.key, form="onnx"))).fetch


def test_an_image_is_built_and_pushed_where_replicas_start_from_one(container: Container) -> None:
    asked = delivery(container, STARTS_FROM_IMAGES)
    for spec in (SPEC, replace(SPEC, key=replace(SPEC.key, endpoint="other"))):
        with pytest.raises(ImagePending, match="tidegate jobs"):
            asked.deliver(spec)
    (job,) = builds(container)
    with container.store.reading() as tx:
        row = tx.get(JobRow, job.id)
        assert row is not None
        assert row.payload["request"] == {
            "tag": f"{REGISTRY}/churn:1",
            "base": None,
            "push": True,
            "platform": "linux/amd64",
        }
    note(container)
    end(container, "succeeded", {"pushed": True})
    assert asked.deliver(SPEC).image == REFERENCE
    assert len(builds(container)) == 1


def test_what_comes_of_a_build_is_said(container: Container) -> None:
    now = [0.0]
    images = ReplicaImages(container.jobs, lambda: now[0])
    asked = VersionDelivery(container.models, images, SETTINGS, lambda _: STARTS_FROM_IMAGES)
    with pytest.raises(ImagePending):
        asked.deliver(SPEC)
    end(container, "failed", error={"code": "image_push_failed", "error": "log in with 'docker login X'"})
    with pytest.raises(ImagePending, match="docker login X"):
        asked.deliver(SPEC)
    now[0] = PUSHED_AGAIN_S - 1
    with pytest.raises(ImagePending, match="docker login X"):
        asked.deliver(SPEC)
    now[0] = PUSHED_AGAIN_S
    with pytest.raises(ImagePending, match="tidegate jobs"):
        asked.deliver(SPEC)
    assert len(builds(container)) == 2
    end(container, "failed", error={"code": "image_build_failed", "error": "no base"})
    with pytest.raises(ImageBuildFailed, match="no base"):
        asked.deliver(SPEC)
    with pytest.raises(ImagePending):
        asked.deliver(SPEC)
    end(container, "succeeded", {"pushed": True})
    with pytest.raises(ImagePushFailed, match="under which digest"):
        asked.deliver(SPEC)


def test_a_build_that_pushes_nothing_is_waited_for_and_another_one_asked_for(container: Container) -> None:
    container.jobs.build("churn", "1", rest.BuildRequest(), ME)
    asked = delivery(container, STARTS_FROM_IMAGES)
    with pytest.raises(ImagePending):
        asked.deliver(SPEC)
    end(container, "succeeded", {"pushed": False})
    with pytest.raises(ImagePending, match="in a moment"):
        asked.deliver(SPEC)
    with pytest.raises(ImagePending, match="tidegate jobs"):
        asked.deliver(SPEC)
    assert len(builds(container)) == 2


def test_without_a_registry_it_is_said_what_to_type(container: Container) -> None:
    with pytest.raises(InvalidArgument, match=r"set TIDEGATE_IMAGE_REGISTRY.*tidegate build churn:1 --tag .*--push"):
        delivery(container, STARTS_FROM_IMAGES, registry=None).deliver(SPEC)
    with pytest.raises(ImagePending, match="another form"):
        delivery(container, STARTS_FROM_IMAGES).deliver(replace(SPEC, key=replace(SPEC.key, form="trees")))
    assert builds(container) == []


def test_images_that_were_pushed_go_with_their_version(container: Container) -> None:
    add_version(container, "churn", "2")
    note(container)
    note(container, version="2", tag="other")
    image = rest.Image(
        "churn", "1", "d", f"{REGISTRY}/churn:1", "i", "b", 1, [], False, True, 2.0, pushed_as="X@sha256:1"
    )
    with container.store.transaction() as tx:
        pushed_images.note(tx, replace(image, platform="linux/amd64"), __version__, 5.0)  # again, of other files
    with container.store.reading() as tx:
        assert [row.reference for row in pushed_images.of_version(tx, "churn", "1")] == ["X@sha256:1"]
        pushed_images.forget_pushed(tx, "churn", "1")
        assert pushed_images.of_version(tx, "churn", "1") == []
        assert len(pushed_images.of_version(tx, "churn", "2")) == 1


def test_of_several_platforms_the_one_that_is_asked_for_is_taken() -> None:
    arm, amd = Pushed(f"{REGISTRY}/a@1", "linux/arm64"), Pushed(f"{REGISTRY}/a@2", "linux/amd64")
    assert choose([arm, amd], REGISTRY, None) == amd
    assert choose([arm, amd], None, "linux/arm64") == arm
    assert choose([arm], REGISTRY, "linux/amd64") is None
    assert choose([], None, None) is None
    assert choose([amd], "registry.example.com/te", None) is None


def test_each_engine_gets_what_it_can_start_from(container: Container) -> None:
    settings = Settings.from_env({"TIDEGATE_ECS_ARCHITECTURE": "ARM64", "TIDEGATE_IMAGE_REGISTRY": f"{REGISTRY}/"})
    made = version_delivery(settings, container.models, ReplicaImages(container.jobs), "http://10.0.0.1:8800")
    assert made.settings.registry == REGISTRY
    assert {name: made.needs(Placement(name)) for name in ("kubernetes", "ecs", "cloudrun")} == {
        "kubernetes": Needs(fetches=True),
        "ecs": Needs(fetches=False, platform="linux/arm64"),
        "cloudrun": Needs(fetches=False, platform="linux/amd64"),
    }
