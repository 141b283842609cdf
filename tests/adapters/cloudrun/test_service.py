"""What a workload is on Cloud Run, as values: names, facts, traffic, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.cloudrun.rules import refusals
from support.cloudrun.schema import faults
from tidegate.adapters.cloudrun import service as s
from tidegate.core.engines.cloudrun_size import SIZES, cloudrun_size
from tidegate.core.engines.placement import Placement
from tidegate.core.workloads import EngineScaling, WorkloadKey, WorkloadSpec
from tidegate.errors import InvalidArgument

PLACEMENT = Placement("cloudrun", 1.5, 3 << 30)
KEY = WorkloadKey("churn", "12", PLACEMENT, "trees")
SPEC = WorkloadSpec(KEY, "churn", Path("unused"), 2, 7)
REPLICA = s.ReplicaContainer("image@sha256:1", "secret", "d" * 64, "r@p.iam.gserviceaccount.com", 4, 5.0)
BOUNDS = s.InstanceBounds(1, 3)


def facts(revision: str = "tidegate-churn-v12-1", **changed: object) -> s.Facts:
    return s.told_of(replace(SPEC, **changed), BOUNDS, REPLICA, revision)  # type: ignore[arg-type]


def test_a_service_says_which_workloads_it_has() -> None:
    tag = s.tag_of(KEY)
    service = {"labels": {s.ENDPOINT: "churn"}, "annotations": {"of": "others", f"{s.FACTS}odd": "{}"}}
    service["annotations"] = s.annotated(service, {tag: facts()})
    assert service["annotations"]["of"] == "others"
    assert list(s.facts_of(service)) == [tag]
    found = s.facts_of(service)[tag]
    assert s.workload_of(service, found) == KEY
    assert (found.token, found.count, found.pool) == (7, 2, 12)
    assert s.annotated(service, {}) == {"of": "others"}


def test_what_is_sent_is_what_googles_own_description_knows() -> None:
    template = s.template_of(SPEC, BOUNDS, REPLICA, "tidegate-churn-v12-1")
    sent = s.service_of("0a1b2c3d", "churn", {"etag": "1", "labels": {"team": "ml"}}, template, {"v12": facts()})
    sent["traffic"] = s.traffic_of({"v12": facts()}, {}, [])
    assert list(refusals("tidegate-churn", sent, (), anew=True)) == []
    assert sent["labels"]["team"] == "ml"
    assert list(faults("Service", sent | {"replicas": 3}))
    assert list(faults("Service", sent | {"uri": "https://"})) == ["uri is output only"]


def test_another_shape_is_what_makes_another_revision_and_nothing_else() -> None:
    shape = s.shape_of(PLACEMENT, BOUNDS, REPLICA)
    assert shape == facts(cold_start_s=99.0, token=8, routed={"12": 5.0}).shape
    others = [
        s.shape_of(replace(PLACEMENT, cpus=4.0), BOUNDS, REPLICA),
        s.shape_of(PLACEMENT, s.InstanceBounds(1, 4), REPLICA),
        s.shape_of(PLACEMENT, s.InstanceBounds(1, 3, cpu=0.6), REPLICA),
        s.shape_of(PLACEMENT, BOUNDS, replace(REPLICA, image="other")),
        s.shape_of(PLACEMENT, BOUNDS, replace(REPLICA, key="other")),
        s.shape_of(PLACEMENT, BOUNDS, replace(REPLICA, concurrency=8)),
    ]
    assert len({shape, *others}) == 1 + len(others)


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.floats(0.001, 1e6), min_size=1, max_size=8))
def test_percents_are_whole_and_add_up(weights: dict[str, float]) -> None:
    whole = s.whole_percents(weights)
    total = sum(weights.values())
    assert sum(whole.values()) == 100
    assert all(abs(whole[name] - 100 * weight / total) < 1 for name, weight in weights.items())


def test_traffic_stays_as_it_was_where_no_weight_is_known() -> None:
    two = {"v1": facts("r1"), "v2": replace_version(facts("r2"), "13")}
    before = [{"tag": "v1", "percent": 30}, {"tag": "v2", "percent": 70}, {"tag": "gone", "percent": 0}]
    percents = {one["tag"]: one["percent"] for one in s.traffic_of(two, {}, before)}
    assert percents == {"v1": 30, "v2": 70}
    percents = {one["tag"]: one["percent"] for one in s.traffic_of(two, {"13": 100.0, "other": 3.0}, before)}
    assert percents == {"v1": 0, "v2": 100}
    assert s.traffic_of({"v1": facts("r1")}, {}, before[1:])[0]["percent"] == 100


def replace_version(one: s.Facts, version: str) -> s.Facts:
    return msgspec.structs.replace(one, version=version)


@pytest.mark.parametrize(
    ("scaling", "bounds"),
    [
        (None, s.InstanceBounds(2, 2)),
        (EngineScaling(0, 5, "cpu", 60), s.InstanceBounds(0, 5, cpu=0.6)),
        (EngineScaling(1, 5, "concurrency", 2), s.InstanceBounds(1, 5, concurrency=0.5)),
    ],
)
def test_bounds_are_googles(scaling: EngineScaling | None, bounds: s.InstanceBounds) -> None:
    assert s.bounds_of(replace(SPEC, scaling=scaling), 4) == bounds


@pytest.mark.parametrize(
    ("scaling", "says"),
    [
        (EngineScaling(1, 5, "cpu", 5), "cannot keep cpu=5: give cpu=10 to cpu=90"),
        (
            EngineScaling(1, 5, "concurrency", 70),
            r"cannot keep concurrency=70: give concurrency=0.4 to concurrency=3.8",
        ),
        (EngineScaling(1, 5, "latency_p95", 70), "not by latency_p95"),
        (EngineScaling(1, 2000, "cpu", 60), "up to 1000 instances"),
    ],
)
def test_bounds_that_google_does_not_keep_are_refused(scaling: EngineScaling, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        s.bounds_of(replace(SPEC, scaling=scaling), 4)


def test_sizes_are_rounded_up_to_those_there_are() -> None:
    assert cloudrun_size(None, None) == (1, 1024)
    assert cloudrun_size(0.25, 100 << 20) == (1, 512)
    assert cloudrun_size(3, None) == (4, 2048)
    assert cloudrun_size(1, 10 << 30) == (4, 10240)
    for cpus, (least, most) in SIZES.items():
        assert cloudrun_size(cpus, least << 20) == (cpus, least)
        assert cloudrun_size(cpus, most << 20) == (cpus, most)
    for cpus, memory in ((9, None), (1, 33 << 30)):
        with pytest.raises(InvalidArgument, match="up to 8 CPUs and 32 GiB"):
            cloudrun_size(cpus, memory)


def test_a_name_that_leaves_no_room_for_the_tag_is_refused_with_what_fits() -> None:
    fits = WorkloadKey("e" * 25, "12", PLACEMENT)
    assert len(s.service_name(fits)) + len(s.tag_of(fits)) == 46
    with pytest.raises(InvalidArgument, match="Give it a name of up to 25"):
        s.service_name(replace(fits, endpoint="e" * 26))


@pytest.mark.parametrize(
    "image",
    [
        "europe-west1-docker.pkg.dev/p/m/churn@sha256:1",
        "eu.gcr.io/p/churn:1",
        "gcr.io/p/churn",
        "docker.io/a/b",
        "a/b:1",
    ],
)
def test_images_of_registries_that_cloud_run_knows_are_taken(image: str) -> None:
    s.check_image(image, "p", "europe-west1")


@pytest.mark.parametrize(
    "image",
    [
        "registry.example.com/team/churn@sha256:1",
        "localhost/churn",
        "127.0.0.1:5000/churn",
        "foogcr.io/p/churn:1",
        "notdocker.io/a/b",
    ],
)
def test_an_image_in_the_wrong_place_is_refused_with_the_right_one(image: str) -> None:
    with pytest.raises(InvalidArgument, match=r"\(europe-west1-docker.pkg.dev/p/REPOSITORY\)"):
        s.check_image(image, "p", "europe-west1")
