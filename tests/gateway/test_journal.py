from __future__ import annotations

import errno
import json
import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.gateway_bed import Bed, Load, stop_hard
from support.gateway_replica import SIGNATURE
from support.wait import until
from tidegate.dataplane.batching.batcher import Batcher
from tidegate.dataplane.batching.parts import Assembly
from tidegate.dataplane.calls.batch import Batch
from tidegate.dataplane.calls.call import Call, Destination, Identity
from tidegate.dataplane.calls.failure import FailedRequest
from tidegate.dataplane.calls.outputs import Outputs
from tidegate.errors import DeadlineExceeded, Overloaded
from tidegate.gateway.capture.circuit import Circuit
from tidegate.gateway.capture.failures import CALLS_BURST
from tidegate.gateway.capture.journal import Journal, JournalCounts
from tidegate.gateway.capture.segments import SEGMENT_AGE_S_MAX, Segments
from tidegate.wire.gateways.decision import AssignmentContext, Decision
from tidegate.wire.journal import (
    BatchRecord,
    FailedCall,
    FailureRecord,
    JournalEntry,
    Sealed,
    list_segments,
    read_entries,
    read_records,
    seal_abandoned,
)
from tidegate.wire.journal.cursors import write_cursor
from tidegate.wire.journal.segments import read_footer

WAIT_S_MAX = 0.05
VERSION_1 = Path(__file__).parents[1] / "wire" / "data" / "gateway-0-0000000001.tgj"


class Nobody:
    connection: object = None

    """A sink and an observer that need to hear nothing."""

    def answer(self, call: Call, outputs: Outputs, first_row: int) -> None: ...

    def fail(self, call: Call, error: Any) -> None: ...


def destination() -> Destination:
    identity = Identity("sums", "sums", "7", "treatment")
    return Destination(identity, SIGNATURE, [1, 2, 3], Batcher.__new__(Batcher))


def batch_of(*ids: str, rows: int = 1) -> tuple[Batch, Outputs]:
    where = destination()
    calls = []
    for request_id in ids:
        call = Call(Nobody(), where, request_id, rows)
        call.packed = [[1.0, 2.0, 3.0]] * rows
        call.started_s = 100.0
        call.deadline_s = 130.0
        calls.append(call)
    batch = Batch(where, calls, rows * len(ids))
    return batch, Outputs({"prediction": np.full(batch.rows, 6.0)})


class Folder:
    """A journal folder, and journals that write there with a clock that stands still between writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_s = 100.0

    def open(self, total_bytes_max: int = 1 << 30, writer: str = "gateway-0") -> Journal:
        self.now_s += 1.0  # no process is started twice at the same time, which names go by
        segments = Segments(self.path, writer, total_bytes_max)
        return Journal(segments, WAIT_S_MAX, monotonic=lambda: self.now_s, wall=lambda: self.now_s + 1_000_000)

    def files(self) -> list[Path]:
        return [segment.path for segment in list_segments(self.path)]

    def entries(self) -> list[Any]:
        """All records, of segments that may be sealed or dropped meanwhile."""
        found: list[Any] = []
        for segment in list_segments(self.path):
            with suppress(FileNotFoundError):
                found += [one.record for one in read_entries(segment) if isinstance(one, JournalEntry)]
        return found

    def records(self) -> list[BatchRecord]:
        return [one for one in self.entries() if isinstance(one, BatchRecord)]

    def ids(self) -> list[str]:
        return [request.id for record in self.records() for request in record.requests]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "journal")


def test_a_record_says_who_asked_what_went_in_and_what_came_out(folder: Folder) -> None:
    batch, outputs = batch_of("a", "b", rows=2)
    batch.calls[0].unit = "user-1"
    decision = Decision("control", "treatment", "7", "checkout", 2, 0.5, revision=12)
    batch.calls[0].decision = decision
    batch.calls[1].decision = Decision("treatment", "treatment", "7", pinned=True)
    folder.open().write(batch, outputs, 101.5)
    (record,) = folder.records()
    assert (record.endpoint, record.version) == ("sums", "7")
    first, second = record.requests
    assert (first.id, first.unit, first.rows, first.code) == ("a", "user-1", 2, 200)
    assert record.decision_of(first) == decision
    assert (first.at_s, first.duration_s) == (1_000_100.0 - 0.5, 1.5)
    assert (second.id, second.unit, record.decision_of(second).pinned) == ("b", None, True)
    datatype, shape, raw = record.inputs["input"]
    assert (datatype, shape) == ("FP64", (4, 3))
    assert np.frombuffer(raw).reshape(shape).tolist() == [[1.0, 2.0, 3.0]] * 4
    assert np.frombuffer(record.outputs["prediction"][2]).tolist() == [6.0] * 4


def test_text_is_recorded_as_a_list(folder: Folder) -> None:
    batch, _ = batch_of("a")
    labels = np.array(["high"], dtype=object)
    folder.open().write(batch, Outputs({"prediction": labels}), 101.0)
    assert folder.records()[0].outputs["prediction"] == ("BYTES", (1,), ["high"])


def test_a_call_nobody_waits_for_is_in_the_record_with_its_rows_and_one_that_failed_is_not(folder: Folder) -> None:
    batch, _ = batch_of("gone", "late", "fine", rows=2)
    batch.calls[0].cancel()
    batch.calls[1].fail(DeadlineExceeded())
    journal = folder.open()
    journal.write(batch, Outputs({"prediction": np.arange(6.0)}), 101.0)
    (record,) = folder.records()
    assert [(one.id, one.code, one.rows) for one in record.requests] == [("gone", 499, 2), ("fine", 200, 2)]
    assert record.inputs["input"][1] == (4, 3)
    assert np.frombuffer(record.outputs["prediction"][2]).tolist() == [0.0, 1.0, 4.0, 5.0]
    batch.calls[0].failed = batch.calls[2].failed = batch.calls[2].done = True
    journal.write(batch, Outputs({"prediction": np.arange(6.0)}), 101.0)
    assert len(folder.records()) == 1, "nothing is left to record"


def test_a_restart_begins_a_new_segment(folder: Folder) -> None:
    for request_id in ("a", "b"):
        journal = folder.open()
        journal.write(*batch_of(request_id), 101.0)
        journal.close()
    folder.open()  # writes nothing, so makes no file
    assert [(one.writer, one.is_open) for one in list_segments(folder.path)] == [("gateway-0", False)] * 2
    assert folder.ids() == ["a", "b"]


def test_a_clock_that_is_set_back_neither_has_the_newest_dropped_first_nor_keeps_a_segment_open(folder: Folder) -> None:
    total = 512 << 10
    begun = folder.open(total)
    for number in range(300):
        begun.write(*batch_of(f"old-{number}", rows=64), folder.now_s)
    assert len(folder.files()) > 1
    folder.now_s -= 50_000
    begun.tick()
    until(lambda: all(not segment.is_open for segment in list_segments(folder.path)), what="sealing")
    journal = folder.open(total)
    for number in range(300):
        journal.write(*batch_of(f"new-{number}", rows=64), folder.now_s)
    dropped = (begun.counts, journal.counts)
    until(lambda: len(folder.records()) + sum(one.dropped.get("unread", 0) for one in dropped) == 600, what="the count")
    kept = folder.ids()
    assert kept == [f"new-{number}" for number in range(300)][-len(kept) :]


def test_files_are_private(folder: Folder) -> None:
    folder.open().write(*batch_of("a"), 101.0)
    assert folder.files()[0].stat().st_mode & 0o077 == 0


def test_the_oldest_are_dropped_past_the_bound_and_every_record_of_them_is_counted(folder: Folder) -> None:
    total = 1 << 20
    earlier = folder.open(total)
    for number in range(100):
        earlier.write(*batch_of(f"old-{number}", rows=64), 101.0)
    earlier.close()
    journal = folder.open(total)
    for number in range(1500):
        journal.write(*batch_of(f"new-{number}", rows=64), 101.0)
    assert journal.counts.written == 1500
    until(lambda: sum(path.stat().st_size for path in folder.files()) <= total, what="the bound")  # a thread's work
    until(lambda: len(folder.records()) + journal.counts.dropped.get("unread", 0) == 1600, what="the count")
    assert total // 2 < sum(path.stat().st_size for path in folder.files())
    assert folder.ids() == [f"new-{number}" for number in range(1500)][-len(folder.ids()) :]


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system has reached its limit of processes."""

    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)


@pytest.mark.usefixtures("no_threads")
def test_without_a_thread_to_be_had_the_bound_holds_and_nothing_is_raised(folder: Folder) -> None:
    total = 1 << 20
    journal = folder.open(total)
    for number in range(1500):
        journal.write(*batch_of(f"new-{number}", rows=64), 101.0)
    assert journal.counts.written == 1500
    assert len(folder.records()) + journal.counts.dropped["unread"] == 1500
    assert sum(path.stat().st_size for path in folder.files()) <= total


class Interrupted(dict[str, int]):
    """Lets another thread run between the reading of a count and its writing."""

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        time.sleep(0)
        return found


def test_records_dropped_by_two_threads_are_all_counted() -> None:
    counts = JournalCounts(_dropped=Interrupted())

    def drop_many() -> None:
        for _ in range(1000):
            counts.drop("rotated")

    threads = [threading.Thread(target=drop_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts.dropped == {"rotated": 4000}


def test_other_writers_files_are_left_alone(folder: Folder) -> None:
    other = folder.open(1 << 20, writer="gateway-1")
    other.write(*batch_of("theirs"), 101.0)
    other.close()
    journal = folder.open(256 << 10)
    for number in range(400):
        journal.write(*batch_of(f"ours-{number}", rows=64), 101.0)
    until(lambda: journal.counts.dropped.get("unread", 0) > 0, what="a rotation")
    assert "theirs" in folder.ids()


def test_a_record_larger_than_the_bound_is_dropped_and_counted(folder: Folder) -> None:
    journal = folder.open(64 << 10)
    journal.write(*batch_of("huge", rows=10_000), 101.0)
    journal.write(*batch_of("small"), 101.0)
    assert journal.counts.dropped["too_large"] == 1
    assert folder.ids() == ["small"]


Writev = Callable[[int, Any], int]


@pytest.fixture
def writev(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Writev]]:
    """The last function in this list stands in for `os.writev`."""
    stack: list[Writev] = [os.writev]

    def top(fd: int, parts: Any) -> int:
        return stack[-1](fd, parts)

    monkeypatch.setattr(os, "writev", top)
    yield stack
    monkeypatch.undo()


def test_a_full_disk_drops_counts_and_is_tried_again(folder: Folder, writev: list[Writev]) -> None:
    real = writev[0]
    room = [300]

    def until_full(fd: int, parts: Any) -> int:
        data = b"".join(parts)
        written = min(len(data), room[0])
        if not written:
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= written
        return real(fd, [data[:written]])

    journal = folder.open()
    writev.append(until_full)
    for number in range(5):
        journal.write(*batch_of(f"a{number}"), folder.now_s)
    before = folder.ids()
    assert before  # some fit
    assert len(before) + journal.counts.dropped["disk_full"] == 5
    writev.pop()
    journal.write(*batch_of("too-soon"), folder.now_s)
    folder.now_s += 1.1
    journal.write(*batch_of("after"), folder.now_s)
    assert folder.ids() == [*before, "after"]  # what was written in part was taken back
    assert journal.counts.written == len(before) + 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tiny file system needs root")
def test_a_really_full_disk(tmp_path: Path) -> None:
    mount = tmp_path / "tiny"
    mount.mkdir()
    made = subprocess.run(
        ["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"this sandbox allows no mounts: {made.stderr.decode().strip()}")
    try:
        folder = Folder(mount / "journal")
        journal = folder.open()
        (mount / "ballast").write_bytes(b"x" * 30_000)
        for number in range(300):
            journal.write(*batch_of(f"a{number}"), folder.now_s)
        full = len(folder.ids())
        assert 0 < full < 300
        assert journal.counts.dropped["disk_full"] == 300 - full
        (mount / "ballast").unlink()
        folder.now_s += 1.1
        journal.write(*batch_of("after"), folder.now_s)
        assert folder.ids()[-1] == "after"
        assert len(folder.ids()) == full + 1
        journal.close()
    finally:
        subprocess.run(["/bin/umount", str(mount)], check=True)


def test_a_stalled_disk_is_waited_for_once(folder: Folder, writev: list[Writev]) -> None:
    real = writev[0]
    waits = []

    def slow(fd: int, parts: Any) -> int:
        waits.append(fd)
        folder.now_s += 2 * WAIT_S_MAX
        return real(fd, parts)

    journal = folder.open()
    writev.append(slow)
    for number in range(50):
        journal.write(*batch_of(f"a{number}"), folder.now_s)
    assert len(waits) == 1
    assert journal.counts.written == 1
    assert journal.counts.dropped["stalled"] == 49
    writev.pop()

    def written_again() -> bool:
        folder.now_s += 0.5
        journal.write(*batch_of("after"), folder.now_s)
        return "after" in folder.ids()

    until(written_again, what="a record after the stall")


@pytest.mark.usefixtures("no_threads")
def test_a_stalled_disk_that_no_thread_can_sync_is_written_to_again(folder: Folder, writev: list[Writev]) -> None:
    real = writev[0]

    def slow(fd: int, parts: Any) -> int:
        folder.now_s += 2 * WAIT_S_MAX
        return real(fd, parts)

    journal = folder.open()
    writev.append(slow)
    journal.write(*batch_of("slow"), folder.now_s)
    writev.pop()
    journal.write(*batch_of("lost"), folder.now_s)
    folder.now_s += 60.0
    journal.write(*batch_of("after"), folder.now_s)
    assert folder.ids() == ["slow", "after"]


def test_a_disk_that_goes_on_stalling_is_tried_ever_more_rarely() -> None:
    circuit = Circuit(WAIT_S_MAX)
    now_s, stalls = 0.0, 0
    while now_s < 120.0:
        if not circuit.is_open(now_s) and circuit.measured(0.2, now_s):
            stalls += 1
        now_s += 0.01
    assert 5 <= stalls <= 8


def test_it_stays_open_while_the_sync_has_not_come_back() -> None:
    circuit = Circuit(WAIT_S_MAX)
    circuit.measured(0.2, 0.0)
    circuit.syncing = True
    assert circuit.is_open(1000.0)
    circuit.syncing = False
    assert not circuit.is_open(1000.0)


def test_every_answered_request_is_in_the_journal_after_kill_9(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    with Load(gateway) as load:
        load.wait_for(500)
        stop_hard(gateway.process)
    journal = Folder(bed.data_dir / "journal")
    assert len(load.ids) > 500
    assert load.ids <= set(journal.ids())


def test_a_gateway_with_a_full_disk_answers_on_and_counts(bed: Bed) -> None:
    bed.replica("1")
    (bed.data_dir / "journal").write_text("a file where the folder should be: nothing can be written")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    for _ in range(10):
        assert gateway.ask([1, 2, 3]).status == 200
    text = gateway.request("GET", "/metrics").body.decode()
    assert 'tidegate_journal_dropped_records_total{reason="disk_full"} 10.0' in text
    assert bed.log().count("the journal cannot be written") == 1


def test_the_journal_can_be_turned_off(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway(TIDEGATE_JOURNAL_BYTES_MAX="0")
    bed.publish({"1": 100})
    assert gateway.ask([1, 2, 3]).status == 200
    assert not (bed.data_dir / "journal").exists()


def test_the_journal_is_written_before_the_answer_leaves(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    for number in range(20):
        reply = gateway.ask([number, 0, 0])
        assert reply.json["id"] in Folder(bed.data_dir / "journal").ids()


def test_a_large_request_can_be_put_together_from_its_parts(folder: Folder) -> None:
    whole = Call(Nobody(), destination(), "large", 5)
    whole.packed = np.arange(15.0).reshape(5, 3)
    whole.unit = "user-1"
    assembly, journal = Assembly(whole), folder.open()
    for rows in (2, 3):
        batch = Batch(whole.destination, [assembly.take(rows)], rows)
        journal.write(batch, Outputs({"prediction": batch.inputs["input"].sum(axis=1)}), 101.0)
    records = folder.records()
    assert [record.requests[0].part for record in records] == [(0, 5), (2, 5)]
    inputs = np.concatenate([np.frombuffer(one.inputs["input"][2]).reshape(-1, 3) for one in records])
    assert inputs.tolist() == whole.packed.tolist()
    assert {record.requests[0].id for record in records} == {"large"}


def test_params_are_in_the_record(folder: Folder) -> None:
    call = Call(Nobody(), destination(), "a", 1)
    call.packed = [[1.0, 2.0, 3.0]]
    call.params = '{"factor":2}'
    batch = Batch(call.destination, [call], 1)
    folder.open().write(batch, Outputs({"prediction": np.zeros(1)}), 101.0)
    assert folder.records()[0].params == '{"factor":2}'


def test_a_request_of_no_rows_is_recorded_and_counted(bed: Bed) -> None:
    bed.replica("1")
    gateway = bed.gateway()
    bed.publish({"1": 100})
    body = {"id": "none", "inputs": [{"name": "input", "shape": [0, 3], "datatype": "FP64", "data": []}]}
    reply = gateway.request("POST", "/v2/models/sums/infer", json.dumps(body).encode(), {"x-request-id": "no-rows"})
    assert reply.status == 200
    (record,) = Folder(bed.data_dir / "journal").records()
    assert [(one.id, one.rows, one.code) for one in record.requests] == [("no-rows", 0, 200)]
    assert record.inputs["input"][1] == (0, 3)
    text = gateway.request("GET", "/metrics").body.decode()
    assert 'model_requests_total{code="200",endpoint="sums",variant="1",version="1"} 1.0' in text
    assert 'model_predictions_total{endpoint="sums",version="1"} 0.0' in text


def test_after_kill_9_and_a_restart_every_answer_is_recorded_once_and_whole(bed: Bed) -> None:
    """Killed under 32 connections, twice; what the first one left open is sealed by the second, with its records."""
    bed.replica("1")
    answered: set[str] = set()
    journal = Folder(bed.data_dir / "journal")
    for _ in range(2):
        gateway = bed.gateway()
        bed.publish({"1": 100})
        with Load(gateway, connections=32) as load:
            load.wait_for(1000)
            stop_hard(gateway.process)
        answered |= load.ids
    first, second = list_segments(journal.path)
    assert (first.is_open, second.is_open) == (False, True)
    *records, footer = [one.record for one in read_entries(first) if isinstance(one, JournalEntry)]
    assert isinstance(footer, Sealed)
    assert footer.records == len(records) > 0
    assert seal_abandoned(second) is not None
    times = Counter(journal.ids())
    assert len(answered) > 2000
    assert [one for one in answered if times[one] != 1] == []
    torn: list[str] = []
    for path in journal.files():
        with path.open("rb") as stream:
            for record in read_records(stream, torn.append):
                rows = sum(request.rows for request in record.requests)
                sums = np.frombuffer(record.inputs["input"][2]).reshape(rows, 3).sum(axis=1)
                assert np.frombuffer(record.outputs["prediction"][2]).tolist() == sums.tolist()
    assert torn == []


def fill(journal: Journal, folder: Folder, name: str, count: int) -> None:
    """A second apart, so that no two records are written at the same time."""
    for number in range(count):
        folder.now_s += 1.0
        journal.write(*batch_of(f"{name}-{number}", rows=64), 101.0)


def read_all(folder: Folder, names: list[str]) -> None:
    sizes = {one.name: one.path.stat().st_size for one in list_segments(folder.path) if one.name in names}
    write_cursor(folder.path, "compactor", sizes)


@pytest.mark.usefixtures("no_threads")
def test_what_was_read_is_dropped_first_and_is_no_loss(folder: Folder) -> None:
    total = 1 << 20
    journal = folder.open(total)
    fill(journal, folder, "a", 460)
    sealed = [one.name for one in list_segments(folder.path) if not one.is_open]
    assert len(sealed) >= 6
    read_all(folder, sealed[3:5])
    while {*sealed[3:5]} & {one.name for one in list_segments(folder.path)}:
        fill(journal, folder, "b", 20)
    left = [one.name for one in list_segments(folder.path)]
    assert set(sealed[:3]) <= set(left), "the oldest ones, which nobody has read, stay"
    assert "unread" not in journal.counts.dropped
    fill(journal, folder, "c", 5000)  # of which one in sixteen is still recorded
    assert journal.counts.dropped["unread"] > 0
    assert sum(path.stat().st_size for path in folder.files()) <= total


@pytest.mark.usefixtures("no_threads")
def test_behind_a_reader_that_is_late_a_sample_of_the_whole_time_is_recorded_and_each_row_says_of_how_many(
    folder: Folder,
) -> None:
    journal = folder.open(1 << 20)
    fill(journal, folder, "a", 60)
    write_cursor(folder.path, "compactor", {"none": 0})  # there is a reader, and it has read nothing
    fill(journal, folder, "b", 1300)
    entries = [one for segment in list_segments(folder.path) for one in read_entries(segment)]
    batches = [one.record for one in entries if isinstance(one, JournalEntry) and isinstance(one.record, BatchRecord)]
    rates = [one.sample_rate for one in batches]
    assert rates[0] == 1.0
    assert rates[-1] == 1 / 16
    assert set(rates) == {1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16}
    assert rates == sorted(rates, reverse=True)
    dropped = journal.counts.dropped
    assert dropped == {"pressure": 1360 - len(batches)}, "nothing old went for what is new"
    assert sum(1 / one.sample_rate for one in batches) == pytest.approx(1360, rel=0.25)

    read_all(folder, [one.name for one in list_segments(folder.path) if not one.is_open])
    journal.tick()
    fill(journal, folder, "c", 20)
    assert journal.counts.dropped == dropped, "with room again everything is recorded"


@pytest.mark.usefixtures("no_threads")
def test_a_journal_that_nobody_reads_keeps_all_of_the_newest(folder: Folder) -> None:
    journal = folder.open(1 << 20)
    fill(journal, folder, "a", 700)
    assert set(journal.counts.dropped) == {"unread"}


@pytest.mark.usefixtures("no_threads")
def test_of_a_segment_that_was_read_in_part_only_the_rest_is_lost(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    total = 1 << 20
    journal = folder.open(total)
    fill(journal, folder, "a", 120)
    first = list_segments(folder.path)[0]
    assert not first.is_open
    entries = [one for one in read_entries(first) if isinstance(one, JournalEntry)]
    write_cursor(folder.path, "compactor", {first.name: entries[9].end})
    until_dropped = 0
    while first.name in {one.name for one in list_segments(folder.path)}:
        fill(journal, folder, f"b{until_dropped}", 10)
        until_dropped += 1
    assert journal.counts.dropped["unread"] == len(entries) - 1 - 10, "neither the ten that were read, nor the footer"
    assert first.name in caplog.text


def test_a_segment_is_sealed_when_it_is_old_also_where_nothing_is_written(folder: Folder) -> None:
    journal = folder.open()
    journal.write(*batch_of("a"), 101.0)
    journal.tick()
    assert [one.is_open for one in list_segments(folder.path)] == [True]
    folder.now_s += SEGMENT_AGE_S_MAX + 1
    journal.tick()
    until(lambda: [one.is_open for one in list_segments(folder.path)] == [False], what="the seal")
    (sealed,) = list_segments(folder.path)
    footer = read_footer(sealed)
    assert footer is not None
    assert (footer.records, footer.last_at_s - footer.first_at_s, footer.torn_bytes) == (1, 0.0, 0)


def failure(request_id: str, now_s: float, endpoint: str = "sums", decision: Decision | None = None) -> FailedRequest:
    return FailedRequest(AssignmentContext(endpoint, request_id, "anna"), decision, Overloaded(), now_s - 0.5, now_s)


def failures(folder: Folder) -> list[FailureRecord]:
    return [one for one in folder.entries() if isinstance(one, FailureRecord)]


def test_a_failure_is_recorded_with_its_assignment_and_nothing_that_was_asked(folder: Folder) -> None:
    decision = Decision("control", None, None, "checkout", 2, 0.5, revision=12)
    folder.open().failed(failure("a", 101.0, decision=decision))
    (record,) = failures(folder)
    assert (record.endpoint, record.decisions, record.omitted) == ("sums", [decision], [])
    assert record.calls == [FailedCall("a", "anna", 0, 1_000_100.5, 0.5, 429, "overloaded")]


def test_failures_past_the_allowance_are_counted_and_the_counts_are_recorded(folder: Folder) -> None:
    journal = folder.open()
    decisions = [Decision("a", "a", "1"), None]
    for number in range(3000):
        journal.failed(failure(f"id-{number}", 101.0, decision=decisions[number % 2]))
    assert sum(len(record.calls) for record in failures(folder)) == CALLS_BURST
    journal.tick()
    counts = failures(folder)[-1]
    assert [(one.decision, one.code, one.reason, one.calls) for one in counts.omitted] == [
        (0, 429, "overloaded", 1000),
        (None, 429, "overloaded", 1000),
    ]
    assert counts.decisions == [decisions[0]]
    journal.tick()
    journal.failed(failure("another", 101.0, endpoint="other"))
    assert failures(folder)[-1].calls[0].id == "another", "an endpoint's flood is its own"
    journal.failed(failure("later", 102.0))
    assert failures(folder)[-1].calls[0].id == "later", "the allowance grows with time"


def test_an_endpoint_with_few_errors_has_each_of_them_recorded(folder: Folder) -> None:
    journal = folder.open()
    for number in range(2000):
        journal.write(*batch_of(*(f"good-{number}-{one}" for one in range(10))), 101.0)
        journal.failed(failure(f"bad-{number}", 101.0))
    journal.tick()
    assert sum(len(record.calls) for record in failures(folder)) == 2000


def test_failures_while_the_disk_is_full_are_counted_and_recorded_later(folder: Folder, writev: list[Writev]) -> None:
    def full(fd: int, parts: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = folder.open()
    writev.append(full)
    for number in range(5):
        journal.failed(failure(f"id-{number}", folder.now_s))
    for _ in range(3):  # the disk is tried in vain
        folder.now_s += 1.1
        journal.tick()
    journal.failed(failure("id-5", folder.now_s))
    writev.pop()
    journal.tick()
    assert failures(folder) == []
    folder.now_s += 1.1
    journal.tick()
    (record,) = failures(folder)
    assert [one.calls for one in record.omitted] == [6]
    assert record.until_s - record.since_s == pytest.approx(3.3)
    assert journal.counts.dropped == {}


def test_counts_of_failures_that_find_no_room_until_the_end_are_told(folder: Folder, writev: list[Writev]) -> None:
    def full(fd: int, parts: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    journal = folder.open()
    writev.append(full)
    journal.failed(failure("id", folder.now_s))
    journal.close()
    assert journal.counts.dropped == {"disk_full": 1}


@pytest.mark.usefixtures("no_threads")
def test_files_of_version_1_count_to_the_bound_and_go_first(folder: Folder) -> None:
    folder.path.mkdir()
    old = folder.path / VERSION_1.name
    old.write_bytes(VERSION_1.read_bytes())
    journal = folder.open(1 << 20)
    fill(journal, folder, "a", 400)
    assert [request.id for request in folder.records()[0].requests] == ["a", "b"], "they are read beside the new ones"
    assert journal.counts.dropped == {}
    while journal.counts.dropped == {} and folder.now_s < 2000.0:
        fill(journal, folder, "b", 10)
    assert not old.exists()
    assert journal.counts.dropped["unread"] >= 2
