"""A ramp as gateways route it: who takes part stays, testers name a variant, and keys that are none are refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from support.gateway_bed import Bed, Gateway
from support.grpc_process import request as grpc_request
from support.grpc_process import stub
from support.wait import until
from tidegate.core.routing.assign import WeightedVariants
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import BatchRecord, list_segments, read_entries

V2_ROW = json.dumps(
    {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [1.0, 2.0, 3.0]}]}
).encode()


def served(bed: Bed) -> Gateway:
    for version in ("1", "2"):
        bed.replica(version)
    return bed.gateway()


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    bed = Bed(tmp_path_factory.mktemp("ramp") / "data")
    try:
        gateway = served(bed)
        ramped(bed, 1.0)
        yield gateway
    finally:
        bed.close()


def assigned(gateway: Gateway, key: str, **headers: str) -> Any:
    return gateway.request("GET", f"/assign/sums?key={key}", headers=headers).json


def recorded(bed: Bed) -> Iterator[BatchRecord]:
    for segment in list_segments(bed.data_dir / "journal"):
        for entry in read_entries(segment):
            record = getattr(entry, "record", None)
            if isinstance(record, BatchRecord):
                yield record


def captured(bed: Bed) -> Iterator[Decision]:
    for record in recorded(bed):
        yield from (record.decision_of(one) for one in record.requests)


def ramped(bed: Bed, coverage: float) -> None:
    one, two = bed.endpoint({"1": 100.0, "2": 0.0}).variants
    arms = (
        replace(one, name="control", weight=100 - 50 * coverage, share=50.0),
        replace(two, name="treatment", weight=50 * coverage, share=50.0),
    )
    made = replace(bed.endpoint({"1": 100.0}), variants=arms, assignment_salt="exp", experiment="blue")
    bed.publish_endpoints(replace(made, phase=2, coverage=coverage, uncovered="control"))


def test_a_ramp_covers_more_units_and_moves_none(bed: Bed) -> None:
    gateway = served(bed)
    keys = [f"user-{number}" for number in range(60)]
    before: dict[str, Any] = {}
    for coverage in (0.1, 0.5, 1.0):
        ramped(bed, coverage)
        table = WeightedVariants({"control": 50, "treatment": 50}, coverage, "control")
        told = {key: assigned(gateway, key) for key in keys}
        for key in keys:
            place = table.places[table.index("exp", key)]
            assert told[key]["variant"] == place.variant
            assert told[key]["experiment"] == ("blue" if place.takes_part else None)
            assert gateway.ask([1, 2, 3], headers={"X-Tidegate-Key": key}).headers["x-tidegate-variant"] == (
                place.variant
            )
        assert all(told[key] == was for key, was in before.items() if was["experiment"]), "who takes part stays"
        before = told
    assert {one["variant"] for one in before.values()} == {"control", "treatment"}
    again = bed.gateway()  # it reads the snapshot anew, as one that was started again does
    assert {key: assigned(again, key) for key in keys} == before


def test_a_tester_names_the_variant_and_is_in_no_experiment(bed: Bed) -> None:
    gateway = served(bed)
    ramped(bed, 0.5)
    for key in ("user-1", "user-2", "user-3"):
        for name, version in (("treatment", "2"), ("control", "1"), ("2", "2")):
            headers = {"X-Tidegate-Key": key, "X-Tidegate-Variant": name, "X-Request-Id": f"{key}-{name}"}
            reply = gateway.ask([1, 2, 3], headers=headers)
            assert (reply.status, reply.headers["x-tidegate-version"]) == (200, version)
            asked = gateway.request("GET", f"/assign/sums?key={key}", headers={"X-Tidegate-Variant": name}).json
            assert (asked["version"], asked["experiment"]) == (version, None)
    v2 = gateway.request("POST", "/v2/models/sums/versions/treatment/infer", V2_ROW)
    assert v2.headers["x-tidegate-variant"] == "treatment"
    with stub(f"127.0.0.1:{gateway.grpc_port}") as calls:
        metadata = (("x-tidegate-variant", "treatment"), ("x-tidegate-key", "user-1"))
        _, call = calls.ModelInfer.with_call(grpc_request("sums", np.array([[1.0, 2.0, 3.0]])), metadata=metadata)
        assert dict(call.initial_metadata())["x-tidegate-variant"] == "treatment"
    decisions = list(captured(bed))
    assert len(decisions) == 11
    for decision in decisions:
        assert (decision.pinned, decision.experiment, decision.phase, decision.propensity) == (True, None, None, None)


@pytest.mark.parametrize(
    ("headers", "body", "status", "told"),
    [
        ({"X-Tidegate-Variant": "nobody"}, {}, 404, "control"),
        ({"X-Tidegate-Variant": "v" * 5000}, {}, 404, "control"),
        ({"X-Tidegate-Variant": "treatment"}, {"model_version": "1"}, 400, "name one of them"),
        ({"X-Tidegate-Key": "k" * 5000}, {}, 422, "4096"),
        ({}, {"user_id": "k" * 1_000_000}, 422, "4096"),
        ({}, {"user_id": 10**1500}, 422, "4096"),
        ({}, {"model_version": "v" * 100_000}, 404, "control"),
    ],
)
def test_a_key_or_a_variant_that_is_none_is_refused_in_a_few_words(
    ramp: Gateway, headers: dict[str, str], body: dict[str, Any], status: int, told: str
) -> None:
    reply = ramp.ask([1, 2, 3], headers=headers, **body)
    assert (reply.status, told in reply.body.decode()) == (status, True), reply.body[:500]
    assert len(reply.body) < 600


@pytest.mark.parametrize("named", [True, 7.5, ["a"], {"a": 1}])
def test_a_unit_that_is_neither_text_nor_a_whole_number_is_refused(ramp: Gateway, named: Any) -> None:
    body = json.dumps(json.loads(V2_ROW) | {"parameters": {"user_id": named}}).encode()
    reply = ramp.request("POST", "/v2/models/sums/infer", body)
    assert (reply.status, reply.json["code"]) == (422, "invalid_argument")


def test_an_empty_key_is_none(ramp: Gateway) -> None:
    asked = [ramp.ask([1, 2, 3], headers={"X-Tidegate-Key": ""}).headers["x-tidegate-version"] for _ in range(60)]
    assert set(asked) == {"1", "2"}, "assigned by the requests' ids"


def counted(gateway: Gateway, name: str, variant: str) -> float:
    """Of a family's samples, those of the variant added up."""
    lines = gateway.request("GET", "/metrics").body.decode().splitlines()
    found = [line for line in lines if line.startswith(f"{name}{{") and f'variant="{variant}"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def test_variants_of_a_version_share_its_batches_and_are_counted_apart(bed: Bed) -> None:
    """A first request that takes a while lets the others come together in batches of both variants."""
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    assert gateway.ask([1, 2, 3]).status == 200
    (one,) = bed.endpoint({"1": 100.0}).variants
    arms = tuple(replace(one, name=name, weight=50.0) for name in ("a", "b"))
    bed.publish_endpoints(replace(bed.endpoint({"1": 100.0}), variants=arms, experiment="same", phase=1))
    with ThreadPoolExecutor(24) as pool:
        slow = pool.submit(gateway.ask, [111, 0.3, 0])
        replies = list(pool.map(lambda n: gateway.ask([n, 1, 1], user_id=f"user-{n}"), range(60)))
        replies.append(slow.result())
    answered = Counter(reply.headers["x-tidegate-variant"] for reply in replies)
    assert min(answered.values()) > 10
    until(
        lambda: all(counted(gateway, "model_requests_total", name) == answered[name] for name in ("a", "b")),
        what="each request counted for the variant that its answer names",
    )
    sizes = Counter(len(record.requests) for record in recorded(bed))
    assert max(sizes) > 1, "some came together"
    mixed = [record for record in recorded(bed) if len({one.decision for one in record.requests}) > 1]
    assert mixed, "and some of those in batches of both"
    captured_by = Counter(decision.variant for decision in captured(bed))
    assert captured_by == answered + Counter({"1": 1})
