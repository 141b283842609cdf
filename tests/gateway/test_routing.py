from __future__ import annotations

import json
import threading
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from support.gateway_bed import Bed, Gateway, Load
from support.wait import until
from tidegate.core.routing.assign import WeightedVariants
from tidegate.wire.gateways.snapshot import RoutedEndpoint

Shared = tuple[Bed, Gateway]


def test_one_row_is_answered_by_a_version_that_says_who_it_is(shared: Shared) -> None:
    reply = shared[1].ask([1, 2, 3], headers={"X-Request-Id": "abc"})
    version = reply.headers["x-tidegate-version"]
    assert reply.status == 200
    assert reply.json == {
        "prediction": [6.0 * float(version)],
        "confidence": 0.75,
        "model_version": version,
        "id": "abc",
    }
    assert (reply.headers["x-tidegate-endpoint"], reply.headers["x-tidegate-variant"]) == ("sums", version)


def test_traffic_is_split_by_weight(shared: Shared) -> None:
    versions = [shared[1].ask([1, 2, 3]).json["model_version"] for _ in range(400)]
    assert 60 <= versions.count("2") <= 145  # 100 expected; five standard deviations
    assert set(versions) == {"1", "2"}


def test_a_unit_sticks_and_gets_what_anybody_can_work_out(shared: Shared) -> None:
    assignment = WeightedVariants({"1": 75, "2": 25})
    for number in range(40):
        key = f"user-{number}"
        got = {shared[1].ask([1, 2, 3], headers={"X-Tidegate-Key": key}).json["model_version"] for _ in range(3)}
        assert got == {assignment.variant("salt", key)}
        assert shared[1].ask([1, 2, 3], user_id=key).json["model_version"] in got


@pytest.mark.parametrize(("version", "answers"), [("1", "1"), ("2", "2"), ("v1.0.0", "1")])
def test_pinning_by_number_and_by_label(shared: Shared, version: str, answers: str) -> None:
    got = {shared[1].ask([1, 2, 3], model_version=version).json["model_version"] for _ in range(8)}
    assert got == {answers}


def test_an_unknown_version_is_404_and_lists_those_that_run(shared: Shared) -> None:
    reply = shared[1].ask([1, 2, 3], model_version="9")
    assert reply.status == 404
    assert reply.json["details"]["running"] == ["1 (v1.0.0)", "2"]


def test_an_unknown_endpoint_is_404(shared: Shared) -> None:
    reply = shared[1].ask([1, 2, 3], endpoint="nowhere")
    assert (reply.status, reply.json["code"]) == (404, "unknown_endpoint")


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
def test_a_path_without_an_endpoint_is_404_that_says_which_there_are(shared: Shared, path: str) -> None:
    reply = shared[1].request("POST", path, b'{"features": [1, 2, 3]}', {"Content-Type": "application/json"})
    assert (reply.status, reply.json["code"]) == (404, "unknown_endpoint")
    assert reply.json["error"] == "name the endpoint in the path, as /predict/NAME has it; there is: sums"


def test_v2_reaches_the_same_models(shared: Shared) -> None:
    body = {"inputs": [{"name": "input", "shape": [2, 3], "datatype": "FP64", "data": [1, 2, 3, 4, 5, 6]}]}
    path = "/v2/models/sums/versions/2/infer"
    reply = shared[1].request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    outputs = {one["name"]: one["data"] for one in reply.json["outputs"]}
    assert outputs["prediction"] == [12.0, 30.0]


def test_only_the_wanted_outputs_are_fetched(shared: Shared) -> None:
    body = {
        "inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [1, 2, 3]}],
        "outputs": [{"name": "probabilities"}],
    }
    reply = shared[1].request(
        "POST", "/v2/models/sums/infer", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    assert [one["name"] for one in reply.json["outputs"]] == ["probabilities"]


def test_what_the_model_refuses_is_the_models_failure_and_not_a_traceback(shared: Shared) -> None:
    reply = shared[1].ask([222, 0, 0])
    assert reply.status == 500
    assert "Traceback" not in reply.body.decode()


def test_health_counts_running_versions(shared: Shared) -> None:
    assert shared[1].request("GET", "/health").json == {"status": "healthy", "models_loaded": 2}


def test_docs_show_the_endpoint(shared: Shared) -> None:
    assert "/predict/sums" in shared[1].request("GET", "/openapi.json").json["paths"]


def test_an_experiment_s_variants_share_a_version_and_stick_by_its_salt(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    plain = bed.endpoint({"1": 100})
    half = [replace(plain.variants[0], name=name, weight=50.0) for name in ("control", "treatment")]
    bed.publish_endpoints(replace(plain, variants=tuple(half), assignment_salt="of the experiment"))
    assignment = WeightedVariants({"control": 50, "treatment": 50})
    seen = set()
    for number in range(20):
        reply = gateway.ask([1, 2, 3], headers={"X-Tidegate-Key": f"user-{number}"})
        variant, version = reply.headers["x-tidegate-variant"], reply.headers["x-tidegate-version"]
        assert (variant, version) == (assignment.variant("of the experiment", f"user-{number}"), "1")
        seen.add(variant)
    assert seen == {"control", "treatment"}
    assert gateway.request("GET", "/v2/models/sums").json["versions"] == ["1"]
    assert gateway.request("GET", "/health").json["models_loaded"] == 1
    assert gateway.ask([1, 2, 3], model_version="1").status == 200


def test_an_endpoint_without_replicas_is_503_with_the_reason(bed: Bed) -> None:
    gateway = bed.gateway()
    bed.publish_endpoints(RoutedEndpoint("sums", "salt", (), reason="it is starting"))
    reply = gateway.ask([1, 2, 3])
    assert reply.status == 503
    assert "it is starting" in reply.json["error"]
    assert int(reply.headers["retry-after"]) >= 1


def test_switches_under_load_fail_nobody(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    with Load(gateway) as load:
        bed.replica("2")
        for weights in ({"1": 50, "2": 50}, {"1": 0, "2": 100}, {"2": 100}, {"1": 100, "2": 0}, {"2": 100}):
            bed.publish(dict(weights))
            load.wait_for(100)
    assert load.troubles == []
    assert set(load.versions) == {"1", "2"}


def test_a_version_that_left_the_snapshot_gets_no_new_traffic(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    bed.publish({"2": 100})
    assert {gateway.ask([1, 2, 3]).json["model_version"] for _ in range(20)} == {"2"}
    assert gateway.ask([1, 2, 3], model_version="1").status == 404


def test_what_is_in_flight_on_a_version_that_goes_is_answered(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    slow: list[int] = []
    asking = threading.Thread(target=lambda: slow.append(gateway.ask([111, 1.0, 0]).status))
    asking.start()
    busy = b'model_requests_in_progress{endpoint="sums"} 1.0'
    until(lambda: busy in gateway.request("GET", "/metrics").body, what="the slow request")
    bed.publish({"2": 100})
    assert gateway.ask([1, 2, 3]).json["model_version"] == "2"
    assert bed.publisher.in_use[gateway.id] == {bed.replicas[0].target.id}
    asking.join(20)
    assert slow == [200]
    until(lambda: bed.publisher.in_use[gateway.id] == set(), what="word that nothing is left out and in use")


def test_a_replica_that_leaves_its_version_is_in_use_until_its_last_answer(bed: Bed) -> None:
    leaving, staying = bed.replica("1"), bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100}, without=(staying,))
    slow: list[int] = []
    asking = threading.Thread(target=lambda: slow.append(gateway.ask([111, 2.0, 0]).status))
    asking.start()
    busy = b'model_requests_in_progress{endpoint="sums"} 1.0'
    until(lambda: busy in gateway.request("GET", "/metrics").body, what="the slow request")
    bed.publish({"1": 100}, without=(leaving,))
    assert bed.publisher.in_use[gateway.id] == {leaving.target.id}
    until(lambda: bed.publisher.in_use[gateway.id] == set(), what="word that it is used no more")
    leaving.process.kill()
    asking.join(20)
    assert slow == [200]


def test_units_whose_version_has_no_replica_are_shared_by_weight_and_stay_where_they_went(bed: Bed) -> None:
    bed.replica("2")
    bed.replica("3")
    gateway = bed.gateway()
    bed.publish({"1": 90, "2": 5, "3": 5})  # version 1 is routed and has no replica

    def answered() -> list[str]:
        keys = [f"user-{number}" for number in range(200)]
        return [gateway.ask([1, 2, 3], headers={"X-Tidegate-Key": key}).json["model_version"] for key in keys]

    first = answered()
    assert 65 <= first.count("2") <= 135  # 100 expected; five standard deviations
    assert set(first) == {"2", "3"}
    assert answered() == first


def test_units_whose_own_version_is_up_stay_there_while_another_is_down(bed: Bed) -> None:
    bed.replica("2")
    bed.replica("3")
    gateway = bed.gateway()
    bed.publish({"1": 20, "2": 40, "3": 40})
    own = WeightedVariants({"1": 20, "2": 40, "3": 40})
    for number in range(60):
        key = f"user-{number}"
        version = own.variant("salt", key)
        if version != "1":
            assert gateway.ask([1, 2, 3], headers={"X-Tidegate-Key": key}).json["model_version"] == version


def test_another_version_answers_while_a_units_own_has_no_replica(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 50, "2": 50})  # version 2 is routed and has no replica
    replies = [gateway.ask([1, 2, 3], headers={"X-Tidegate-Key": f"user-{n}"}) for n in range(30)]
    assert {(reply.status, reply.json["model_version"]) for reply in replies} == {(200, "1")}


def assigned(gateway: Gateway, key: str) -> Any:
    return json.loads(gateway.request("GET", f"/assign/sums?key={quote(key)}").body)


def test_who_asks_for_a_units_assignment_is_told_what_routing_does(shared: Shared) -> None:
    for key in (*(f"user-{number}" for number in range(40)), "jürgen müller", "&?=#"):
        in_utf8 = {"X-Tidegate-Key": key.encode().decode("latin-1")}
        by_header = shared[1].ask([1, 2, 3], headers=in_utf8).headers
        by_body = shared[1].ask([1, 2, 3], user_id=key).headers
        variant, version = by_header["x-tidegate-variant"], by_header["x-tidegate-version"]
        assert by_body["x-tidegate-variant"] == variant, "the header's unit is the body's"
        assert assigned(shared[1], key) == {"variant": variant, "version": version, "experiment": None}


def test_an_assignment_names_the_experiment_and_the_variant_that_stands_in(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish_endpoints(replace(bed.endpoint({"1": 50, "2": 50}), experiment="blue"))
    assert {json.dumps(assigned(gateway, f"user-{n}")) for n in range(30)} == {
        json.dumps({"variant": "1", "version": "1", "experiment": "blue"})
    }


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/assign/sums", 422, "invalid_argument"),
        ("/assign/sums?key=", 422, "invalid_argument"),
        (f"/assign/sums?key={'u' * 5000}", 422, "invalid_argument"),
        ("/assign/nowhere?key=u", 404, "unknown_endpoint"),
    ],
)
def test_an_assignment_of_nobody_is_refused(shared: Shared, path: str, status: int, code: str) -> None:
    reply = shared[1].request("GET", path)
    assert (reply.status, reply.json["code"]) == (status, code)


def test_an_assignment_that_nobody_could_answer_is_503(bed: Bed) -> None:
    gateway = bed.gateway()
    bed.publish({"1": 1})
    reply = gateway.request("GET", "/assign/sums?key=u")
    assert (reply.status, reply.json["code"], reply.headers["retry-after"]) == (503, "no_ready_replica", "1")
