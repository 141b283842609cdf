"""The compactor's process: what it does with segments, disks and other compactors, and what it says of itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pandas as pd
import psutil
import pytest

from support.capture_bed import batch
from support.wait import until
from tidegate.cli.endpoints.show import _captured
from tidegate.compactor.run import Compactor
from tidegate.gateway.capture.segments import Segments
from tidegate.settings import Settings
from tidegate.wire.capture.capture import CompactorState, capture_view, read_state
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import BatchRecord, CapturedRequest
from tidegate.wire.journal.frames import file_head, frame_head
from tidegate.wire.journal.segments import segment_name

MARKER = b"8 bytes!"
NOW_S = 1_795_000_000.0


class Bed:
    """A data directory with a journal."""

    def __init__(self, folder: Path) -> None:
        self.data_dir = folder
        self.journal, self.store = folder / "journal", folder / "capture"
        self.journal.mkdir()
        self.count = 0

    def segment(self, name: str, suffix: str = ".tgj", **fields: Any) -> Path:
        self.count += 1
        request = CapturedRequest(name, None, 0, fields.pop("at_s", NOW_S), 0.1, 1, 200)
        record = BatchRecord("churn", "7", [Decision("7", "7", "7")], [request], {}, {})
        payload = msgspec.msgpack.encode(record)
        path = self.journal / (segment_name(self.count, "gateway-0", MARKER) + suffix)
        path.write_bytes(file_head(MARKER) + frame_head(MARKER, payload) + payload)
        return path

    def compactor(self) -> Compactor:
        settings = Settings.from_env({}, data_dir=self.data_dir)
        return Compactor(settings, threading.Event(), lambda: NOW_S + 1)

    def state(self) -> CompactorState:
        found = read_state(self.store)
        assert found is not None
        return found

    def ids(self) -> list[str]:
        return sorted(pd.read_parquet(self.store / "predictions")["id"])

    def process(self, *options: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "tidegate.compactor", "--data-dir", str(self.data_dir), *options]
        return subprocess.Popen(argv, stderr=subprocess.DEVNULL, env=os.environ | {"TIDEGATE_LOG_LEVEL": "error"})


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_it_says_what_it_did_and_what_waits_and_counts_on_after_a_restart(bed: Bed) -> None:
    for number in range(3):
        bed.segment(f"a-{number}")
        assert bed.compactor().run(once=True) == 0
        assert (bed.state().segments, bed.state().rows, bed.state().backlog_segments) == (number + 1, number + 1, 0)
    assert bed.state().pid == os.getpid()


def test_what_gateways_still_write_is_said_beside_what_is_compacted(bed: Bed) -> None:
    bed.segment("done")
    writing = Segments(bed.journal, "gateway-9", 1 << 30)
    writing.append(msgspec.msgpack.encode(batch("open", NOW_S)), NOW_S)
    bed.compactor().run(once=True)
    (path,) = bed.journal.glob("*.open*")
    assert (bed.state().rows, bed.state().open_bytes) == (1, path.stat().st_size)
    status: Any = SimpleNamespace(capture=capture_view(bed.state(), NOW_S))
    (line,) = _captured(status)
    assert line.startswith("compacted 1 rows of 1 segments, none waits; ")
    assert line.endswith("B open, which queries see")
    assert len(line) <= 80


def test_a_segment_that_makes_no_sense_is_set_aside_with_its_reason_and_the_rest_is_read(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.capture import compact, rows

    bed.segment("bad")
    bed.segment("good")
    real = rows.batch_rows

    def failing(record: BatchRecord, into: Any) -> None:
        if record.requests[0].id == "bad":
            raise KeyError("no such thing")
        real(record, into)

    monkeypatch.setattr(compact, "batch_rows", failing)
    bed.compactor().run(once=True)
    assert bed.ids() == ["good"]
    assert bed.state().quarantined_segments == 1
    (aside, reason) = sorted((bed.journal / "quarantine").iterdir(), key=lambda path: path.suffix == ".reason")
    assert aside.name.endswith(".tgj")
    assert "no such thing" in reason.read_text()


def test_rows_from_the_future_are_set_aside_and_counted(bed: Bed) -> None:
    bed.segment("now")
    bed.segment("soon", at_s=NOW_S + 200)
    bed.segment("ahead", at_s=NOW_S + 400)
    bed.compactor().run(once=True)
    assert bed.ids() == ["now", "soon"]
    assert bed.state().ahead_rows == 1
    assert list(pd.read_parquet(bed.store / "quarantined" / "predictions")["id"]) == ["ahead"]


def test_a_store_that_cannot_be_written_is_said_and_tried_again_until_it_can(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.capture import files

    bed.segment("a")
    compactor = bed.compactor()
    bed.store.mkdir()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "replacing", full)
        waits = [compactor.step() for _ in range(7)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert bed.state().trouble == "the capture store cannot be written: No space left on device"
    assert bed.state().backlog_segments == 1
    compactor.step()
    assert bed.ids() == ["a"]
    compactor._say(at_once=True)
    assert bed.state().trouble == ""


def test_a_segment_that_the_disk_does_not_give_keeps_no_other_waiting(bed: Bed) -> None:
    bed.segment("a").chmod(0)
    bed.segment("b")
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    compactor = bed.compactor()
    bed.store.mkdir()
    compactor.step()
    assert bed.ids() == ["b"]
    assert "cannot be read" in bed.state().trouble


def test_two_processes_do_not_meet_and_one_takes_over_from_one_that_is_killed(bed: Bed) -> None:
    first = bed.process()
    try:
        until(lambda: read_state(bed.store), what="the first compactor's state")
        assert bed.process("--once").wait(30) == 1
        bed.segment("a")
        until(lambda: bed.state().rows == 1, what="the segment's row")
        first.kill()
        first.wait()
        bed.segment("b")
        assert bed.process("--once").wait(30) == 0
        assert bed.ids() == ["a", "b"]
    finally:
        first.kill()
        first.wait()


def test_it_ends_when_it_is_told_to(bed: Bed) -> None:
    process = bed.process()
    until(lambda: read_state(bed.store), what="its state")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_at_rest_it_has_no_arrow_in_memory(bed: Bed) -> None:
    process = bed.process()
    try:
        until(lambda: read_state(bed.store), what="its state")
        maps = {one.path for one in psutil.Process(process.pid).memory_maps()}
        assert not [path for path in maps if "libarrow" in path]
    finally:
        process.kill()
        process.wait()


def test_rows_go_when_their_time_is_over(bed: Bed) -> None:
    bed.segment("old", at_s=NOW_S - 31 * 86_400)
    bed.segment("new")
    bed.compactor().run(once=True)
    assert bed.ids() == ["new"]
    assert (bed.state().expired_files, bed.state().stored_bytes > 0) == (1, True)


def test_no_row_goes_while_nobody_knows_how_long_an_endpoint_keeps_its_own(bed: Bed) -> None:
    bed.segment("a", at_s=NOW_S - 40 * 86_400)
    (bed.data_dir / "gateways").mkdir()
    snapshot = bed.data_dir / "gateways" / "gateway-0.snapshot.json"
    snapshot.write_bytes(b"{ damaged")
    bed.compactor().run(once=True)
    assert bed.ids() == ["a"]
    snapshot.unlink()
    bed.compactor().run(once=True)
    assert not list(bed.store.rglob("*.parquet"))


def test_rows_that_arrow_refuses_set_their_segment_aside_whole_and_none_is_there_twice(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidegate.capture import compact

    monkeypatch.setattr(compact, "CHUNK_BYTES", 1)
    request = CapturedRequest("odd", None, 0, NOW_S, 0.1, 1, 1 << 20)  # no code that a column holds
    odd = msgspec.msgpack.encode(BatchRecord("churn", "7", [Decision("7", "7", "7")], [request], {}, {}))
    path = bed.segment("a")
    path.write_bytes(path.read_bytes() + frame_head(MARKER, odd) + odd)
    bed.segment("b")
    bed.compactor().run(once=True)
    assert bed.ids() == ["b"]
    assert (bed.state().quarantined_segments, bed.state().unfit_records) == (1, 0)


def test_a_machine_without_memory_sets_nothing_aside(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidegate.capture import compact

    def greedy(*_: Any) -> None:
        raise MemoryError

    bed.segment("a")
    compactor = bed.compactor()
    with monkeypatch.context() as patch:
        patch.setattr(compact, "batch_rows", greedy)
        compactor.step()
    assert "memory" in bed.state().trouble
    compactor.step()
    assert bed.ids() == ["a"]
