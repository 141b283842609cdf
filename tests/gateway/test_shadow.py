from __future__ import annotations

import json
from collections import Counter
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from msgspec.structs import replace

from support.gateway_bed import Bed, Gateway, Load, Replica, Reply, stop_hard
from support.gateway_replica import SIGNATURE
from support.wait import until
from tidegate.gateway.shadow.copies import TEXT_BYTES, Listening, ShadowCopies, ShadowLimits, _size_bytes
from tidegate.wire.gateways.snapshot import Shadow
from tidegate.wire.journal import BatchRecord, FailureRecord, JournalEntry, list_segments, read_entries
from tidegate.wire.signature import TensorSpec

MISBEHAVIOURS = ("fail", "slow", "hang", "crash", "shape")


def shadowed(bed: Bed, share: float, version: str = "2", **other: Any) -> None:
    """Route `sums` to version 1, and have another version listen to a share of it."""
    live, listens = bed.endpoint({"1": 100.0}), bed.endpoint({version: 0.0})
    variant = replace(listens.variants[0], **other)
    bed.publish_endpoints(replace(live, shadow=Shadow(variant, share)))


def records(bed: Bed) -> list[Any]:
    found = [one for segment in list_segments(bed.data_dir / "journal") for one in read_entries(segment)]
    return [one.record for one in found if isinstance(one, JournalEntry)]


def shadow_batches(bed: Bed) -> list[BatchRecord]:
    batches = [one for one in records(bed) if isinstance(one, BatchRecord)]
    return [one for one in batches if one.decisions[0].role == "shadow"]


def shadow_ids(bed: Bed) -> list[str]:
    return [request.id for one in shadow_batches(bed) for request in one.requests]


def counted(bed: Bed) -> Counter[str]:
    """Failures and what was shed of shadows, by reason."""
    found: Counter[str] = Counter()
    for record in records(bed):
        if isinstance(record, FailureRecord):
            for one in record.omitted:
                if one.decision is not None and record.decisions[one.decision].role == "shadow":
                    found[one.reason] += one.calls
    return found


def metric(gateway: Gateway, text: str) -> float:
    lines = gateway.request("GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(text))


def ask_all(gateway: Gateway, count: int = 20) -> list[tuple[int, bytes]]:
    """The answers to requests with ids of their own, as the client gets them."""
    replies: list[Reply] = [
        gateway.ask([n, 1, 2], headers={"X-Request-Id": f"request-{n}", "X-Tidegate-Key": f"user-{n}"})
        for n in range(count)
    ]
    return [(one.status, one.body) for one in replies]


def test_a_copy_has_the_requests_id_and_key_and_its_answer_goes_nowhere(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway()
    shadowed(bed, 100.0)
    reply = gateway.ask([[1, 2, 3], [4, 5, 6]], headers={"X-Request-Id": "r1", "X-Tidegate-Key": "u1"})
    assert (reply.json["prediction"], reply.headers["x-tidegate-version"]) == ([6.0, 15.0], "1")
    until(lambda: shadow_ids(bed), what="the shadow's record")
    (record,) = shadow_batches(bed)
    (request,) = record.requests
    assert (request.id, request.unit, request.rows, record.version) == ("r1", "u1", 2, "2")
    decision = record.decision_of(request)
    assert (decision.version, decision.role, decision.propensity, decision.pinned) == ("2", "shadow", 1.0, False)
    live = [one for one in records(bed) if isinstance(one, BatchRecord) and one.decisions[0].role == "live"]
    assert [request.id for one in live for request in one.requests] == ["r1"]
    assert metric(gateway, 'model_requests_total{code="200",endpoint="sums",variant="2"') == 0
    assert metric(gateway, "tidegate_shadow_answered_requests_total") == 1


def test_a_share_is_of_units_and_stays_theirs_as_it_grows(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway()
    shadowed(bed, 30.0)
    for turn in range(2):
        for n in range(60):
            gateway.ask([n, 0, 0], headers={"X-Tidegate-Key": f"user-{n}"})
        until(lambda: len(shadow_ids(bed)) >= 1, what="copies")
        if turn == 0:
            shadowed(bed, 60.0)

    def heard() -> Counter[str | None]:
        return Counter(request.unit for one in shadow_batches(bed) for request in one.requests)

    until(lambda: metric(gateway, "tidegate_shadow_answered") == sum(heard().values()), what="the last copies")
    twice = {unit for unit, times in heard().items() if times == 2}
    assert 6 <= len(twice) <= 32
    assert len(twice) < len(heard()) < 60


def test_pinned_calls_are_nobodys_share(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway()
    shadowed(bed, 100.0)
    assert gateway.request("POST", "/v2/models/sums/versions/1/infer", _v2()).status == 200
    assert gateway.ask([1, 2, 3], headers={"X-Request-Id": "assigned"}).status == 200
    until(lambda: shadow_ids(bed), what="the copy")
    assert shadow_ids(bed) == ["assigned"]


def _v2() -> bytes:
    one = {"name": "input", "datatype": "FP64", "shape": [1, 3], "data": [1, 2, 3]}
    return json.dumps({"inputs": [one]}).encode()


@pytest.mark.parametrize("how", MISBEHAVIOURS)
def test_live_answers_are_the_same_bytes_whatever_the_shadow_does(bed: Bed, how: str) -> None:
    bed.replica("1")
    gateway = bed.gateway(TIDEGATE_SHADOW_TIMEOUT_S="3600")
    bed.publish({"1": 100.0})
    plain = ask_all(gateway)
    bed.replica("2", REPLICA_MISBEHAVES=how)
    shadowed(bed, 100.0)
    assert ask_all(gateway) == plain
    assert {status for status, _ in plain} == {200}
    if how in ("fail", "shape", "crash"):
        until(lambda: counted(bed), what="what became of the copies")


def test_a_shadow_that_hangs_holds_no_more_than_it_may(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2", REPLICA_MISBEHAVES="hang")
    gateway = bed.gateway(TIDEGATE_SHADOW_ROWS_MAX="5")
    shadowed(bed, 100.0)
    assert [status for status, _ in ask_all(gateway, 20)] == [200] * 20
    assert metric(gateway, 'tidegate_shadow_shed_requests_total{reason="rows"') >= 1
    until(lambda: counted(bed)["shadow_shed_rows"] >= 1, what="shed copies in the journal")


def test_bytes_are_bounded_too(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway(TIDEGATE_SHADOW_BYTES_MAX="100")
    shadowed(bed, 100.0)
    assert gateway.ask([[1, 2, 3]] * 10).status == 200
    until(lambda: counted(bed) == {"shadow_shed_bytes": 1}, what="the large one to be shed")
    assert gateway.ask([1, 2, 3]).status == 200
    until(lambda: len(shadow_ids(bed)) == 1, what="the small one's copy")


def test_a_copy_ends_at_its_own_deadline(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2", REPLICA_MISBEHAVES="hang")
    gateway = bed.gateway(TIDEGATE_SHADOW_TIMEOUT_S="0.2")
    shadowed(bed, 100.0)
    assert gateway.ask([1, 2, 3]).status == 200
    until(lambda: counted(bed)["deadline_exceeded"] == 1, what="the copy's end")


def test_without_a_replica_copies_are_shed_and_the_endpoint_serves(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    shadowed(bed, 100.0)
    assert gateway.ask([1, 2, 3]).status == 200
    until(lambda: counted(bed) == {"shadow_shed_not_ready": 1}, what="the shed copy")


def test_rows_of_another_signature_are_not_copied(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway()
    other = replace(SIGNATURE, inputs=(TensorSpec("input", "FP64", (-1, 4)),))
    shadowed(bed, 100.0, signature=other)
    assert gateway.ask([1, 2, 3]).status == 200
    until(lambda: counted(bed) == {"shadow_shed_signature": 1}, what="the shed copy")


def test_rows_are_copied_to_a_version_that_takes_missing_floats_too(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway()
    nullable = replace(SIGNATURE, inputs=(replace(SIGNATURE.inputs[0], nullable=True),))
    shadowed(bed, 100.0, signature=nullable)
    assert gateway.ask([1, 2, 3], headers={"X-Request-Id": "r1"}).status == 200
    until(lambda: shadow_ids(bed) == ["r1"], what="the shadow's record")


def test_killing_the_shadows_replica_under_load_fails_nothing(bed: Bed) -> None:
    bed.replica("1")
    victim: Replica = bed.replica("2")
    gateway = bed.gateway()
    shadowed(bed, 100.0)
    with Load(gateway) as load:
        until(lambda: metric(gateway, "tidegate_shadow_answered") > 20, what="copies")
        stop_hard(victim.process)
        load.wait_for(200)
        until(lambda: metric(gateway, "tidegate_shadow_shed") > 0, what="copies that are shed")
    assert (load.failures, load.troubles) == (0, [])


def test_a_request_of_several_batches_is_copied_whole(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway(TIDEGATE_BATCH_ROWS_MAX="8")
    shadowed(bed, 100.0)
    rows = [[n, 0, 0] for n in range(50)]
    assert gateway.ask(rows, headers={"X-Request-Id": "large"}).json["prediction"] == [float(n) for n in range(50)]
    until(lambda: sum(r.rows for one in shadow_batches(bed) for r in one.requests) == 50, what="all of its rows")
    assert set(shadow_ids(bed)) == {"large"}
    assert metric(gateway, "tidegate_shadow_answered_requests_total") == 1


def test_what_ends_leaves_its_room(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway(TIDEGATE_SHADOW_ROWS_MAX="3")
    shadowed(bed, 100.0)
    for n in range(12):
        assert gateway.ask([n, 0, 0], headers={"X-Request-Id": f"r{n}"}).status == 200
        until(lambda: len(shadow_ids(bed)) > n, what=f"copy {n}")  # noqa: B023
    assert not counted(bed)


def test_the_bytes_of_texts_are_about_those_of_their_characters() -> None:
    texts = np.array([["x" * 100, b"y" * 100, None]] * 1000, dtype=object)
    assert 0.5 < _size_bytes({"text": texts}) / (8 * 3000 + 2 * 1000 * (100 + TEXT_BYTES)) < 2
    assert _size_bytes({"input": np.zeros((10, 3)), "none": np.empty((0,), dtype=object)}) == 240


class _NoRoom(np.ndarray[Any, Any]):
    """Rows that there is no memory to copy."""

    def copy(self, order: Any = "C") -> Any:
        raise MemoryError(order)


def test_a_copy_that_there_is_no_memory_for_is_shed_and_counted() -> None:
    loop, observer = Mock(), Mock()
    loop.call_soon = lambda callback, *given: callback(*given)
    destination = Mock(signature=SIGNATURE, others={})
    copies = ShadowCopies(loop, ShadowLimits(), observer, lambda: 0.0)
    copies.adopt({"sums": Listening(destination, "salt", 100.0, 1)})
    destination.identity.endpoint = "sums"
    call = Mock(done=False, completes=1, rows=1, decision=None, unit="", request_id="r")
    batch = Mock(destination=Mock(signature=SIGNATURE), calls=[call], rows=1)
    batch.destination.identity.endpoint = "sums"
    batch.inputs = {"input": np.zeros((1, 3)).view(_NoRoom)}
    copies.batch_done(batch)
    (told,) = observer.shed.call_args_list
    assert told.args[0] == "sums"
    assert told.args[2:] == ("memory", 1)
    assert (copies.rows, copies.size_bytes) == (0, 0)
    assert not loop.call_later.called
