"""Replicas that die, hang or restart, and a control plane that is gone, while requests keep coming."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from contextlib import ExitStack, closing

from msgspec.structs import replace

from support.gateway_bed import Bed, Load, stop_hard
from support.gateway_replica import SIGNATURE
from support.wait import until
from tidegate.dataplane.pipeline.access import key_hash
from tidegate.wire.gateways.snapshot import Snapshot, decode_snapshot, encode_snapshot


def test_a_replica_killed_under_load_fails_nobody_when_there_is_another(bed: Bed) -> None:
    first, _ = bed.replica("1"), bed.replica("1")
    gateway = bed.gateway(TIDEGATE_REQUEST_TIMEOUT_S="6")
    bed.publish({"1": 100})
    with Load(gateway) as load:
        stop_hard(first.process)
        load.wait_for(300)
    assert load.troubles == []


def test_a_replica_that_comes_back_is_used_again(bed: Bed) -> None:
    only = bed.replica("1", id="r-one")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    stop_hard(only.process)
    until(lambda: gateway.ask([1, 2, 3]).status == 503, what="the 503 of an endpoint without replicas")
    (bed.run_dir / "r-one.sock").unlink()
    bed.replicas.remove(only)
    bed.replica("1", id="r-one")
    until(lambda: gateway.ask([1, 2, 3]).status == 200, what="the reconnection")


def test_requests_that_meet_a_death_nobody_noticed_yet_are_refused_and_not_kept_waiting(bed: Bed) -> None:
    only = bed.replica("1")
    gateway = bed.gateway(TIDEGATE_REQUEST_TIMEOUT_S="6")
    bed.publish({"1": 100})
    body, kind = json.dumps({"features": [1, 2, 3]}), {"Content-Type": "application/json"}
    with ExitStack() as stack:
        asking = [
            stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=30)))
            for _ in range(2)
        ]
        for one in asking:  # connections that are open already: their requests are read in the turn that sees the death
            one.request("POST", "/predict/sums", body, kind)
            assert one.getresponse().read()
        os.kill(gateway.process.pid, signal.SIGSTOP)
        stop_hard(only.process)
        for one in asking:
            one.request("POST", "/predict/sums", body, kind)
        os.kill(gateway.process.pid, signal.SIGCONT)
        replies = [one.getresponse() for one in asking]
        assert [(reply.status, reply.headers["Retry-After"]) for reply in replies] == [(503, "1")] * 2


def test_the_control_plane_is_told_of_a_lost_replica_and_not_of_one_that_was_taken_out(bed: Bed) -> None:
    taken_out, lost, _ = (bed.replica("1") for _ in range(3))
    gateway = bed.gateway()
    bed.publish({"1": 100})
    bed.replicas.remove(taken_out)
    bed.publish({"1": 100})
    stop_hard(taken_out.process)
    assert [gateway.ask([1, 2, 3]).status for _ in range(20)] == [200] * 20
    assert bed.publisher.losses == 0
    stop_hard(lost.process)
    until(lambda: bed.publisher.losses == 1, what="the hint")


def test_a_hung_replica_costs_its_own_batch_a_504_and_no_neighbour_anything(bed: Bed) -> None:
    hung, _ = bed.replica("1"), bed.replica("1")
    gateway = bed.gateway(TIDEGATE_REQUEST_TIMEOUT_S="1")
    bed.publish({"1": 100})
    assert gateway.ask([1, 2, 3]).status == 200
    os.kill(hung.process.pid, signal.SIGSTOP)
    statuses: list[int] = []
    asking = [threading.Thread(target=lambda: statuses.append(gateway.ask([1, 2, 3]).status)) for _ in range(2)]
    for thread in asking:
        thread.start()
        thread.join(10)
    # Idle targets take turns, so one of the two met the hung replica; from then on nobody does.
    assert sorted(statuses) == [200, 504]
    until(lambda: "no answer within" in bed.log(), what="the hung replica's removal")
    assert [gateway.ask([1, 2, 3]).status for _ in range(20)] == [200] * 20
    os.kill(hung.process.pid, signal.SIGCONT)
    until(lambda: bed.log().count("is connected") >= 3, what="its return")
    assert [gateway.ask([1, 2, 3]).status for _ in range(20)] == [200] * 20


def test_a_short_deadline_of_one_request_does_not_cost_the_replica(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    late = gateway.ask([111, 0.3, 0], headers={"X-Tidegate-Timeout-Ms": "50"})
    assert late.status == 504
    assert gateway.ask([1, 2, 3]).status == 200
    assert "is not used" not in bed.log()


def test_a_failing_row_fails_alone(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    with Load(gateway) as load:
        statuses = {gateway.ask([222, 0, 0]).status for _ in range(5)}
        load.wait_for(50)
    assert statuses == {500}
    assert load.troubles == []


def test_an_idle_connection_that_the_replica_closed_costs_nobody_a_request(bed: Bed) -> None:
    replica = bed.replica("1", id="r-idle")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    assert gateway.ask([1, 2, 3]).status == 200
    # The replica is replaced behind the same address while no request is under way.
    stop_hard(replica.process)
    bed.replicas.remove(replica)
    (bed.run_dir / "r-idle.sock").unlink(missing_ok=True)
    bed.replica("1", id="r-idle")
    until(lambda: gateway.ask([1, 2, 3]).status == 200, what="an answer by the new replica")


def test_without_a_control_plane_the_gateway_serves_on_and_hears_of_changes_when_it_is_back(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    with Load(gateway) as load:
        bed.publisher.stop()
        until(lambda: "routing stays as it is" in bed.log(), what="the log line")
        load.wait_for(200)
        bed.publisher.start()
        bed.publish({"2": 100})
        load.wait_for(50)
    assert load.troubles == []
    assert gateway.ask([1, 2, 3]).json["model_version"] == "2"
    assert bed.log().count("routing stays as it is") == 1


def test_a_gateway_starts_from_its_snapshot_on_disk(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    stop_hard(gateway.process)
    bed.publisher.stop()
    again = bed.gateway(port=gateway.port)
    assert again.ask([1, 2, 3]).status == 200


def test_a_damaged_snapshot_on_disk_is_not_used_and_does_not_stop_the_gateway(bed: Bed) -> None:
    kept = bed.data_dir / "gateways" / "gateway-0.snapshot.json"
    kept.parent.mkdir()
    kept.write_text('{"revision": 1, "endp')
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    assert gateway.ask([1, 2, 3]).status == 200
    assert "is not used" in bed.log()
    until(lambda: decode_snapshot(kept.read_bytes()).revision == bed.revision, what="the snapshot on disk")


def test_a_snapshot_that_cannot_be_read_is_refused_and_the_old_one_stays(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    for revision, body in ((50, b'{"revision": 50, "end'), (51, b'{"revision":51,"endpoints":[],"schema":99}')):
        bed.publisher.publish_bytes(revision, body)
        until(lambda: "is refused" in bed.log(), what="the refusal")
        assert gateway.ask([1, 2, 3]).status == 200
    assert bed.log().count("is refused") == 1
    bed.revision = 60
    bed.publish({"1": 100})
    assert "answers again" in bed.log()


def test_a_snapshot_that_cannot_be_routed_by_changes_nothing_at_all(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway("--host", "0.0.0.0", TIDEGATE_API_KEY="own")
    sums = bed.endpoint({"1": 100})
    bed.publisher.publish(replace(bed.snapshot_of(sums), revision=1, key_hashes=(key_hash("old"),)))

    def ask(key: str, endpoint: str = "sums") -> int:
        return gateway.ask([1, 2, 3], endpoint, {"Authorization": f"Bearer {key}"}).status

    until(lambda: ask("old") == 200, what="the first snapshot")
    later = bed.endpoint({"2": 100}, name="later")
    odd = replace(SIGNATURE, inputs=(replace(SIGNATURE.inputs[0], datatype="FP8"),))
    broken = replace(later, name="odd", variants=(replace(later.variants[0], signature=odd),))
    bed.publisher.publish(Snapshot(2, (replace(sums, variants=()), later, broken), (key_hash("new"),)))
    until(lambda: "'odd' cannot be routed" in bed.log(), what="the refusal")
    seen = bed.publisher.requests
    until(lambda: bed.publisher.requests > seen + 2, what="further attempts")
    assert (ask("old"), ask("new"), ask("own", "later")) == (200, 401, 404)
    metrics = gateway.request("GET", "/metrics", headers={"Authorization": "Bearer own"}).body.decode()
    assert "model_queue_rows" in metrics
    assert 'endpoint="later"' not in metrics
    assert bed.log().count("is refused") == 1
    assert "Traceback" not in bed.log()
    bed.publisher.publish(Snapshot(3, (later,), (key_hash("new"),)))
    until(lambda: ask("new", "later") == 200, what="the sound snapshot")
    assert (ask("old"), ask("new")) == (401, 404)


def test_a_gateway_starts_without_a_kept_snapshot_that_cannot_be_routed_by(bed: Bed) -> None:
    bed.replica("1")
    kept = bed.data_dir / "gateways" / "gateway-0.snapshot.json"
    kept.parent.mkdir()
    sums = bed.endpoint({"1": 100})
    odd = replace(SIGNATURE, inputs=(replace(SIGNATURE.inputs[0], datatype="FP8"),))
    broken = replace(sums, variants=(replace(sums.variants[0], signature=odd),))
    kept.write_bytes(encode_snapshot(Snapshot(7, (broken,))))
    bed.publisher.publish(Snapshot(8, (sums,)))
    gateway = bed.gateway()
    until(lambda: gateway.ask([1, 2, 3]).status == 200, what="the control plane's snapshot")
    assert "the kept snapshot is not used" in bed.log()


def test_a_control_plane_that_went_back_in_time_is_believed(bed: Bed) -> None:
    bed.replica("1")
    bed.replica("2")
    gateway = bed.gateway()
    bed.revision = 40
    bed.publish({"1": 100})
    bed.publisher.stop()
    until(lambda: "routing stays as it is" in bed.log(), what="the log line")
    bed.revision = 2
    bed.publisher.publish_bytes(0, b"")
    bed.publisher.start()
    bed.publish({"2": 100})
    assert gateway.ask([1, 2, 3]).json["model_version"] == "2"
