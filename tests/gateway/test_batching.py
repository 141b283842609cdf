"""Batching through real processes: a flood beside a modest client, rows that kill, replicas that hang."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from contextlib import closing

from support.gateway_bed import Bed, Gateway, Replica, Reply
from support.wait import until
from tidegate.wire.journal import BatchRecord, list_segments, read_records

FLOOD_ROWS = 1000


class Flood:
    """Keeps asking for a thousand rows at a time, each of which takes the model a while, on two connections."""

    def __init__(self, gateway: Gateway) -> None:
        self._port = gateway.port
        self._stop = threading.Event()
        self.wrong: list[str] = []
        self.answered = 0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(2)]

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        until(lambda: self.answered >= 2 or self.wrong, what="the flood's first answers")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        body = json.dumps({"features": [[111, 0.0001, row] for row in range(FLOOD_ROWS)]}).encode()
        expected = [111.0001 + row for row in range(FLOOD_ROWS)]
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            while not self._stop.is_set():
                connection.request("POST", "/predict/sums", body, {"Content-Type": "application/json"})
                answer = json.loads(connection.getresponse().read())
                if answer.get("prediction") != expected:
                    self.wrong.append(str(answer)[:200])
                    return
                self.answered += 1


def journal(bed: Bed) -> list[BatchRecord]:
    found = []
    for segment in list_segments(bed.data_dir / "journal"):
        with segment.path.open("rb") as stream:
            found += list(read_records(stream))
    return found


def test_beside_a_flood_of_large_requests_a_small_one_is_in_the_batch_that_comes_next(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    with Flood(gateway) as flood:
        for number in range(30):
            reply = gateway.ask([1, 2, number], headers={"X-Request-Id": f"small-{number}"})
            assert reply.json["prediction"] == [3.0 + number]
    assert flood.wrong == []
    records = journal(bed)
    # By the gateway's own clock: how many batches ended between a small request's arrival and the end of its own.
    ends = [record.requests[0].at_s + record.requests[0].duration_s for record in records]
    waited = [
        sum(end > request.at_s for end in ends[:index])
        for index, record in enumerate(records)
        for request in record.requests
        if request.id.startswith("small-")
    ]
    # A request counts from its first byte on, so that one whose body the machine delivered late saw batches go by.
    assert len(waited) == 30
    assert sum(batches > 1 for batches in waited) <= 6
    # The flood was cut: no batch is as large as its requests once small ones are about.
    first = next(n for n, record in enumerate(records) if any(one.id.startswith("small-") for one in record.requests))
    assert max(sum(request.rows for request in record.requests) for record in records[first:]) < FLOOD_ROWS
    large = {request.id for record in records for request in record.requests if not request.id.startswith("small-")}
    for name in large:
        rows = [request.rows for record in records for request in record.requests if request.id == name]
        assert sum(rows) == FLOOD_ROWS
        assert len(rows) > 1


class Ask(threading.Thread):
    """One request on its way."""

    def __init__(self, gateway: Gateway, features: list[float]) -> None:
        super().__init__(daemon=True)
        self._gateway, self._features = gateway, features
        self.reply: Reply | None = None
        self.start()

    def run(self) -> None:
        self.reply = self._gateway.ask(self._features)

    @property
    def status(self) -> int:
        self.join(40)
        assert self.reply is not None
        return self.reply.status


def restart(bed: Bed, dead: Replica) -> Replica:
    """What the control plane does."""
    bed.replicas.remove(dead)
    (bed.run_dir / f"{dead.target.id}.sock").unlink(missing_ok=True)
    return bed.replica(dead.version, id=dead.target.id)


def test_a_row_that_kills_its_process_kills_one_replica_and_its_neighbours_are_served(bed: Bed) -> None:
    bed.replica("1", id="r-a")
    bed.replica("1", id="r-b")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    # Both replicas are busy for a moment, so that what comes meanwhile shares a batch.
    busy = [Ask(gateway, [111, 0.5, 0]) for _ in range(2)]
    poison = Ask(gateway, [333, 0, 0])
    neighbours = [Ask(gateway, [1, 2, number]) for number in range(6)]
    deaths: list[str] = []
    later: list[int] = []
    while any(one.is_alive() for one in (*busy, poison, *neighbours)):
        for dead in [one for one in bed.replicas if one.process.poll() is not None]:
            deaths.append(dead.target.id)
            later.append(gateway.ask([1, 2, 3]).status)  # the other replica serves on
            restart(bed, dead)
        busy[0].join(0.02)
        poison.join(0.02)
    assert poison.status == 500
    assert [one.status for one in (*busy, *neighbours)] == [200] * 8
    assert later == [200] * len(deaths)
    assert 1 <= len(deaths) <= 2
    assert len(set(deaths)) == 1
    assert poison.reply is not None
    assert "died" in poison.reply.json["error"]


def test_a_hung_replica_is_noticed_long_before_the_deadline_of_its_batch(bed: Bed) -> None:
    hung, _ = bed.replica("1"), bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    assert [gateway.ask([1, 2, 3]).status for _ in range(10)] == [200] * 10
    os.kill(hung.process.pid, signal.SIGSTOP)
    # Requests that met the hung replica are answered by the other one, with 30 s to their deadline.
    assert [gateway.ask([1, 2, 3]).status for _ in range(10)] == [200] * 10
    assert bed.log().count("nor any sign of life") == 1
    os.kill(hung.process.pid, signal.SIGCONT)
    until(lambda: bed.log().count("is connected") >= 3, what="its return")


def test_a_replica_that_computes_for_long_is_not_taken_for_hung(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    assert [gateway.ask([1, 2, 3]).status for _ in range(10)] == [200] * 10
    assert gateway.ask([111, 2.5, 3]).status == 200
    assert "is not used" not in bed.log()


def test_a_batch_may_be_larger_than_any_of_its_requests(bed: Bed) -> None:
    """What is the gateway's bound on one client's request is none on what it sends to a replica at a time."""
    bed.replica("1", TIDEGATE_REQUEST_BYTES_MAX="1000", TIDEGATE_BUFFERED_BYTES_MAX="1000")
    gateway = bed.gateway(TIDEGATE_REQUEST_BYTES_MAX="1000", TIDEGATE_BUFFERED_BYTES_MAX="1000")
    bed.publish({"1": 100})
    answers: list[Reply] = []
    rows = [[1, 2, row] for row in range(20)]

    def ask() -> None:
        answers.append(gateway.ask(rows))

    for _ in range(3):
        slow = threading.Thread(target=gateway.ask, args=([111, 0.3, 0],))
        crowd = [threading.Thread(target=ask) for _ in range(20)]
        slow.start()
        for one in crowd:
            one.start()
        for one in (slow, *crowd):
            one.join()
    assert {answer.status for answer in answers} == {200}
    assert max(len(record.requests) for record in journal(bed)) > 2
