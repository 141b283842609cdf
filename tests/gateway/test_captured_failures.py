"""Every request that a gateway answers for an endpoint is in its journal exactly once: computed, or as a failure."""

from __future__ import annotations

import json
import socket
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from msgspec.structs import replace

from support.gateway_bed import Bed, Gateway
from support.grpc_process import request as grpc_request
from support.grpc_process import stub
from support.wait import until
from tidegate.core.routing.assign import WeightedVariants
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import BatchRecord, FailedCall, FailureRecord, JournalEntry, list_segments, read_entries


@dataclass
class Captured:
    """What stands in a journal, by the requests' ids."""

    times: Counter[str] = field(default_factory=Counter)
    computed: dict[str, tuple[int, Decision]] = field(default_factory=dict)
    failed: dict[str, tuple[FailedCall, Decision | None]] = field(default_factory=dict)
    omitted: Counter[tuple[int, str]] = field(default_factory=Counter)

    @classmethod
    def of(cls, bed: Bed) -> Captured:
        made = cls()
        for segment in list_segments(bed.data_dir / "journal"):
            for entry in read_entries(segment):
                assert isinstance(entry, JournalEntry)
                made._take(entry.record)
        return made

    def _take(self, record: Any) -> None:
        if isinstance(record, BatchRecord):
            for one in record.requests:
                self.times[one.id] += 1
                self.computed[one.id] = one.code, record.decision_of(one)
        elif isinstance(record, FailureRecord):
            for call in record.calls:
                self.times[call.id] += 1
                self.failed[call.id] = call, None if call.decision is None else record.decisions[call.decision]
            for group in record.omitted:
                self.omitted[group.code, group.reason] += group.calls


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bed, Gateway]]:
    bed = Bed(tmp_path_factory.mktemp("served") / "data")
    try:
        bed.replica("1")
        gateway = bed.gateway(TIDEGATE_REQUEST_BYTES_MAX="100000", TIDEGATE_RECEIVE_TIMEOUT_S="1")
        bed.publish({"1": 100}, {"1": "v1.0.0"})
        yield bed, gateway
    finally:
        bed.close()


GOOD = [[1.0, 2.0, 3.0]]
PATHS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "plain": ("/predict/sums", lambda rows: {"features": rows}),
    "v2": (
        "/v2/models/sums/infer",
        lambda rows: {
            "inputs": [{"name": "input", "shape": np.shape(rows), "datatype": "FP64", "data": np.ravel(rows).tolist()}]
        },
    ),
    "mlflow": ("/endpoints/sums/invocations", lambda rows: {"inputs": rows}),
    "tensorflow": ("/v1/models/sums:predict", lambda rows: {"instances": rows}),
}


def ask(gateway: Gateway, protocol: str, rows: Any, **headers: str) -> tuple[str, int]:
    path, body = PATHS[protocol]
    name = f"{protocol}-{uuid.uuid4().hex}"
    reply = gateway.request(
        "POST",
        path,
        json.dumps(body(rows)).encode(),
        {"Content-Type": "application/json", "X-Request-Id": name, "X-Tidegate-Key": "anna", **headers},
    )
    return name, reply.status


@pytest.mark.parametrize("protocol", PATHS)
def test_on_each_protocol_of_http_an_answer_and_every_kind_of_failure_is_there_once(
    served: tuple[Bed, Gateway], protocol: str
) -> None:
    bed, gateway = served
    asked = {
        "good": ask(gateway, protocol, GOOD),
        "unfit": ask(gateway, protocol, [[1.0, 2.0]]),
        "raises": ask(gateway, protocol, [[222.0, 0.0, 0.0]]),
        "late": ask(gateway, protocol, [[111.0, 0.4, 0.0]], **{"X-Tidegate-Timeout-Ms": "100"}),
        "large": ask(gateway, protocol, [[1.25, 2.25, 3.25]] * 8000),
        "timeout": ask(gateway, protocol, GOOD, **{"X-Tidegate-Timeout-Ms": "soon"}),
    }
    expected = {"good": 200, "unfit": 422, "raises": 500, "late": 504, "large": 413, "timeout": 400}
    assert {name: status for name, (_, status) in asked.items()} == expected
    last = ask(gateway, protocol, GOOD)  # comes back after the late one, whose batch is recorded by then
    found = Captured.of(bed)
    assert found.computed[asked["good"][0]] == (200, Decision("1", "1", "1", propensity=1.0, revision=1))
    assert last[0] in found.computed
    for name, (request_id, status) in asked.items():
        assert found.times[request_id] == 1, name
        if status != 200:
            call, decision = found.failed[request_id]
            assert (call.code, call.unit) == (status, "anna"), name
            # What is refused before its body is read was never assigned.
            assert (decision is None) == (name == "large"), name
    assert found.failed[asked["late"][0]][0].reason == "deadline_exceeded"
    assert 0.1 <= found.failed[asked["late"][0]][0].duration_s < 10


def test_over_grpc_too(served: tuple[Bed, Gateway]) -> None:
    bed, gateway = served
    rows = {"good": GOOD, "unfit": [[1.0, 2.0]], "raises": [[222.0, 0.0, 0.0]]}
    ids = {name: f"grpc-{name}" for name in rows}
    codes = {}
    with stub(f"127.0.0.1:{gateway.grpc_port}") as calls:
        for name, values in rows.items():
            metadata = [("x-request-id", ids[name]), ("x-tidegate-key", "anna")]
            try:
                calls.ModelInfer(grpc_request("sums", np.array(values)), metadata=metadata)
            except grpc.RpcError as error:
                codes[name] = error.code()
    assert set(codes) == {"unfit", "raises"}
    found = Captured.of(bed)
    assert {found.times[one] for one in ids.values()} == {1}
    assert found.computed[ids["good"]][0] == 200
    assert [(found.failed[ids[name]][0].code, found.failed[ids[name]][0].unit) for name in codes] == [
        (422, "anna"),
        (500, "anna"),
    ]


def test_an_unknown_version_a_bad_id_and_no_json_are_failures_and_an_unknown_endpoint_is_nobodys(
    served: tuple[Bed, Gateway],
) -> None:
    bed, gateway = served
    headers = {"X-Request-Id": "of-an-unknown-version"}
    assert gateway.ask([1, 2, 3], model_version="9" * 2000, headers=headers).status == 404
    assert gateway.request("POST", "/predict/sums", b"{", {"X-Request-Id": "no-json"}).status == 400
    assert gateway.ask([1, 2, 3], headers={"X-Request-Id": "x" * 200}).status == 400
    assert gateway.ask([1, 2, 3], endpoint="nowhere", headers={"X-Request-Id": "of-nothing"}).status == 404
    found = Captured.of(bed)
    assert [found.failed[name][0].reason for name in ("of-an-unknown-version", "no-json")] == [
        "unknown_version",
        "malformed_request",
    ]
    assert sum(call.code == 400 and call.reason == "malformed_request" for call, _ in found.failed.values()) >= 2
    assert "of-nothing" not in found.times
    assert max(len(one) for one in found.times) <= 128


def test_a_request_whose_body_never_comes_is_a_failure(served: tuple[Bed, Gateway]) -> None:
    bed, gateway = served
    head = b"POST /predict/sums HTTP/1.1\r\nHost: x\r\nX-Request-Id: never-whole\r\nContent-Length: 100\r\n\r\n{"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as connection:
        connection.sendall(head)
        assert b" 408 " in connection.recv(1000).split(b"\r\n")[0]
    (call, decision) = Captured.of(bed).failed["never-whole"]
    assert (call.code, decision) == (408, None)


def test_a_long_unit_is_kept_as_its_hash(served: tuple[Bed, Gateway]) -> None:
    bed, gateway = served
    for status, rows in ((200, [1, 2, 3]), (422, [1, 2])):
        reply = gateway.ask(rows, user_id="u" * 4_000, headers={"X-Request-Id": f"long-{status}"})
        assert reply.status == status
    found = Captured.of(bed)
    unit = found.failed["long-422"][0].unit
    assert unit is not None
    assert unit.startswith("sha256:")
    assert found.computed["long-200"][0] == 200


def test_who_has_no_key_leaves_no_trace(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway("--host", "0.0.0.0", TIDEGATE_API_KEY="the-key")
    bed.publish({"1": 100})
    headers = {"X-Request-Id": "no-key", "X-Tidegate-Key": "anna"}
    assert gateway.ask([1, 2, 3], headers=headers).status == 401
    assert gateway.ask([1, 2, 3], headers={**headers, "Authorization": "Bearer wrong"}).status == 401
    with_key = {"X-Request-Id": "unfit", "Authorization": "Bearer the-key"}
    assert gateway.ask([1, 2], headers=with_key).status == 422
    found = Captured.of(bed)
    assert set(found.times) == {"unfit"}
    for path in (bed.data_dir / "journal").iterdir():
        assert b"the-key" not in path.read_bytes()


def test_a_unit_whose_variant_has_no_replica_is_recorded_with_both_variants(bed: Bed) -> None:
    replicas = [bed.replica("1"), bed.replica("2")]
    gateway = bed.gateway()
    made = bed.endpoint({"1": 50, "2": 50})
    bed.publish_endpoints(replace(made, experiment="blue", phase=3))
    table = WeightedVariants({"1": 50, "2": 50})
    unit = next(f"user-{number}" for number in range(100) if table.variant("salt", f"user-{number}") == "2")
    replicas[1].process.kill()

    def asked(number: int) -> int:
        return gateway.ask([1, 2, 3], headers={"X-Tidegate-Key": unit, "X-Request-Id": f"id-{number}"}).status

    numbers = iter(range(1000))
    until(lambda: asked(next(numbers)) == 200 and _answered_by(bed, "1"), what="an answer by the other variant")
    replicas[0].process.kill()
    until(lambda: asked(next(numbers)) == 503 and _answered_by(bed, None), what="nobody to answer")


def _answered_by(bed: Bed, variant: str | None) -> bool:
    found = Captured.of(bed)
    decisions = [one for _, one in (*found.computed.values(), *found.failed.values())]
    assert set(found.times.values()) == {1}
    return Decision("2", variant, variant, "blue", 3, 0.5, revision=1) in decisions


def test_a_flood_of_refused_requests_is_counted_and_does_not_fill_the_journal(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    body, sent = b'{"features": [1]}', 6000
    raw = b"POST /predict/sums HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection:
        stream = connection.makefile("rb")
        for _ in range(sent // 100):
            connection.sendall(raw % (len(body), body) * 100)
            for _ in range(100):
                _read_reply(stream)

    def recorded() -> Captured | None:
        found = Captured.of(bed)
        return found if len(found.failed) + sum(found.omitted.values()) == sent else None

    found = until(recorded, what="each of them, by itself or counted")
    assert found is not None
    assert set(found.omitted) == {(422, "unfit_input")}
    assert 1000 <= len(found.failed) < sent / 2
    size = sum(path.stat().st_size for path in (bed.data_dir / "journal").iterdir())
    assert size < 250 * len(found.failed)


def _read_reply(stream: Any) -> None:
    assert b" 422 " in stream.readline()
    length = 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    stream.read(length)


def test_the_journal_that_a_killed_gateway_left_is_sealed_by_the_next_one(bed: Bed, tmp_path: Path) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    assert gateway.ask([1, 2, 3], headers={"X-Request-Id": "before"}).status == 200
    gateway.process.kill()
    gateway.process.wait(10)
    (left,) = list_segments(bed.data_dir / "journal")
    assert left.is_open
    bed.gateway()
    until(lambda: not list_segments(bed.data_dir / "journal")[0].is_open, what="the seal")
    assert Captured.of(bed).times == {"before": 1}
