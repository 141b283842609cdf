"""V2 over gRPC through a gateway: versions by weight and pinned, who answered, sticky units, ports."""

import numpy as np
from tritonclient.grpc import service_pb2

from support.gateway_bed import Bed, Gateway
from support.grpc_process import client, refusal, request, stub, tensor
from support.wait import free_ports, until

ROW = np.array([[1.0, 2.0, 3.0]])


def address(gateway: Gateway) -> str:
    return f"127.0.0.1:{gateway.grpc_port}"


def test_an_endpoint_is_asked_like_a_model(shared: tuple[Bed, Gateway]) -> None:
    with client(address(shared[1])) as made:
        assert made.is_server_live()
        assert made.is_server_ready()
        assert made.is_model_ready("sums")
        assert made.get_model_metadata("sums").versions == ["1", "2"]
        versions = set()
        for _ in range(40):
            result = made.infer("sums", [tensor("input", ROW)])
            response = result.get_response()
            versions.add(response.model_version)
            assert response.model_name == "sums"
            assert result.as_numpy("prediction").tolist() == [6.0 * int(response.model_version)]
        assert versions == {"1", "2"}


def test_versions_are_pinned_by_number_and_label(shared: tuple[Bed, Gateway]) -> None:
    with client(address(shared[1])) as made:
        assert made.infer("sums", [tensor("input", ROW)], "2").as_numpy("prediction").tolist() == [12.0]
        assert made.infer("sums", [tensor("input", ROW)], "v1.0.0").as_numpy("prediction").tolist() == [6.0]
        code, message = refusal(made.infer, "sums", [tensor("input", ROW)], "9")
        assert code == "NOT_FOUND"
        assert "1" in message
        assert refusal(made.infer, "unknown", [tensor("input", ROW)])[0] == "NOT_FOUND"


def test_a_unit_stays_with_its_variant_on_every_protocol(shared: tuple[Bed, Gateway]) -> None:
    gateway = shared[1]
    with stub(address(gateway)) as calls:
        for unit in ("anna", "ben", "carla", "dirk"):
            over_http = gateway.ask([1, 2, 3], headers={"X-Tidegate-Key": unit}).headers["x-tidegate-version"]
            _, call = calls.ModelInfer.with_call(request("sums", ROW), metadata=[("x-tidegate-key", unit)])
            assert dict(call.initial_metadata())["x-tidegate-version"] == over_http
            named = request("sums", ROW, parameters={"user_id": service_pb2.InferParameter(string_param=unit)})
            assert calls.ModelInfer(named).model_version == over_http


def test_zero_rows_need_no_replica(shared: tuple[Bed, Gateway]) -> None:
    with client(address(shared[1])) as made:
        assert made.infer("sums", [tensor("input", np.empty((0, 3)))]).as_numpy("probabilities").shape == (0, 2)


def test_without_replicas_it_is_unavailable(bed: Bed) -> None:
    replica = bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    with client(address(gateway)) as made:
        assert made.infer("sums", [tensor("input", ROW)]).as_numpy("prediction").tolist() == [6.0]
        replica.process.kill()
        until(lambda: not made.is_model_ready("sums"), what="the loss of the replica")
        assert refusal(made.infer, "sums", [tensor("input", ROW)])[0] == "UNAVAILABLE"


def test_gateways_share_the_port_and_strangers_are_refused(bed: Bed) -> None:
    bed.replica("1")
    port, grpc_port = free_ports(2)
    options = ("--reuse-port", "--grpc-port", str(grpc_port))
    bed.gateway(*options, id="gateway-0", port=port)
    bed.gateway(*options, id="gateway-1", port=port)
    bed.publish({"1": 100})
    for _ in range(6):
        with client(f"127.0.0.1:{grpc_port}") as made:
            assert made.infer("sums", [tensor("input", ROW)]).as_numpy("prediction").tolist() == [6.0]
    alone = bed.spawn_gateway("--grpc-port", str(grpc_port), id="gateway-9")
    assert alone.process.wait(20) == 1
    assert f"port {grpc_port} on 127.0.0.1 is in use" in bed.log("gateway-9")
    assert "--grpc-port" in bed.log("gateway-9")
