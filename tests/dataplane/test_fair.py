"""Whose turn it is, and whose call is taken back when the queue is full."""

from __future__ import annotations

from typing import Any

import numpy as np

from tidegate.dataplane.batching.fair import FairQueue, Room
from tidegate.dataplane.calls.call import Call
from tidegate.dataplane.calls.outputs import Outputs


class Asker:
    """A connection: the sink of its calls."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    @property
    def connection(self) -> object:
        return self

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None:
        self.answers.append(outputs.as_list("prediction")[first_row : first_row + call.rows])

    def fail(self, call: Call, error: Any) -> None:
        self.answers.append(error)


def call_of(asker: Asker, name: str, rows: int, unit: str | None = None) -> Call:
    destination: Any = None
    call = Call(asker, destination, name, rows)
    call.packed = [[float(row)] for row in range(rows)]
    call.unit = unit
    return call


def queue_of(*calls: Call, mergeable: bool = True) -> FairQueue:
    queue = FairQueue(mergeable=mergeable, splits=True)
    for call in calls:
        queue.push(call)
    return queue


def taken(queue: FairQueue, room: Room) -> list[tuple[str, int]]:
    return [(call.request_id, call.rows) for call in queue.take(room)[0]]


def test_a_small_call_is_in_the_next_batch_whatever_waits_before_it() -> None:
    flood = [call_of(Asker(), f"flood-{number}", 1000) for number in range(4)]
    queue = queue_of(*flood, call_of(Asker(), "small", 1))
    first = taken(queue, Room(256, 32))
    assert ("small", 1) in first
    assert sum(rows for _, rows in first) <= 33


def test_every_batch_of_a_flood_has_room_for_who_comes_next() -> None:
    queue = queue_of(*[call_of(Asker(), f"flood-{number}", 1000) for number in range(3)])
    client = Asker()
    for number in range(20):
        queue.push(call_of(client, f"small-{number}", 1))
        assert (f"small-{number}", 1) in taken(queue, Room(256, 32))


def test_large_calls_of_several_clients_advance_together() -> None:
    queue = queue_of(*[call_of(Asker(), name, 1000) for name in "ab"])
    queue.push(call_of(Asker(), "small", 1))
    got = {"a": 0, "b": 0, "small": 0}
    for _ in range(10):
        for name, rows in taken(queue, Room(256, 32)):
            got[name] += rows
    assert got["small"] == 1
    assert abs(got["a"] - got["b"]) <= 8


def test_a_key_is_one_client_on_however_many_connections() -> None:
    flood = [call_of(Asker(), f"flood-{number}", 10, unit="greedy") for number in range(100)]
    queue = queue_of(*flood, *[call_of(Asker(), f"other-{number}", 10, unit="modest") for number in range(3)])
    first = taken(queue, Room(60, 60))
    assert sum(rows for name, rows in first if name.startswith("other")) == 30


def test_one_client_that_is_alone_gets_the_whole_batch_in_one_piece() -> None:
    queue = queue_of(call_of(Asker(), "large", 1000))
    assert taken(queue, Room(400, 400)) == [("large", 400)]
    assert taken(queue, Room(400, 400)) == [("large", 400)]
    assert taken(queue, Room(400, 400)) == [("large", 200)]
    assert queue.rows == 0


def test_a_model_that_takes_one_request_at_a_time_gets_clients_by_turns() -> None:
    flood, other = Asker(), Asker()
    queue = queue_of(*[call_of(flood, f"flood-{number}", 5) for number in range(3)], mergeable=False)
    assert taken(queue, Room(64, 64)) == [("flood-0", 5)]
    queue.push(call_of(other, "other", 5))
    assert taken(queue, Room(64, 64)) == [("other", 5)]
    assert taken(queue, Room(64, 64)) == [("flood-1", 5)]


def test_in_a_full_queue_the_newest_calls_of_who_holds_most_make_room() -> None:
    flood, other = Asker(), Asker()
    calls = [call_of(flood, f"flood-{number}", 50) for number in range(2)]
    queue = queue_of(*calls)
    assert queue.evict_for(call_of(flood, "more", 50), 100) is None
    assert queue.evict_for(call_of(other, "small", 1), 100) == [calls[1]]
    assert queue.rows == 50


def test_a_full_queue_of_equals_takes_no_more() -> None:
    queue = queue_of(*[call_of(Asker(), str(number), 1) for number in range(10)])
    assert queue.evict_for(call_of(Asker(), "late", 1), 10) is None
    assert queue.rows == 10


def test_a_call_that_is_partly_computed_is_not_taken_back() -> None:
    queue = queue_of(call_of(Asker(), "large", 500))
    queue.take(Room(100, 100))
    assert queue.evict_for(call_of(Asker(), "small", 1), 100) == []
    assert queue.rows == 400


def test_the_rest_of_a_cancelled_call_is_dropped() -> None:
    call = call_of(Asker(), "large", 500)
    queue = queue_of(call, call_of(Asker(), "small", 1))
    queue.take(Room(100, 100))
    call.cancel()
    assert taken(queue, Room(100, 100)) == [("small", 1)]
    assert queue.rows == 0


def test_parts_come_together_in_order_whatever_order_they_were_computed_in() -> None:
    asker = Asker()
    queue = queue_of(call_of(asker, "large", 250))
    parts = [queue.take(Room(100, 100))[0][0] for _ in range(3)]
    for index, part in enumerate((parts[2], parts[0], parts[1])):
        assert asker.answers == []
        assert part.completes == (index == 2)
        part.answer(Outputs({"prediction": np.array(part.packed)[:, 0]}), 0)
    assert asker.answers == [[float(row) for row in range(250)]]


def test_rows_of_calls_that_nobody_waits_for_do_not_count_as_waiting() -> None:
    calls = [call_of(Asker(), name, 10) for name in "abc"]
    queue = queue_of(*calls)
    calls[1].cancel()
    assert (queue.wanted_rows, queue.rows) == (20, 30)
    queue.take(Room(4, 4))  # some of the first one's rows are on their way
    assert queue.wanted_rows == 16
    calls[0].cancel()
    assert queue.wanted_rows == 10
    queue.purge()
    assert queue.wanted_rows == queue.rows == 10
