"""Whoever is to be forgotten is gone from Parquet and from the journal, and nobody else is."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.capture_bed import AT_S, Gateway, batch
from tidegate.capture.compact import compact
from tidegate.capture.files import LocalFiles
from tidegate.capture.forgetting import Forgetting, waiting
from tidegate.capture.rows import NO_ENDPOINT
from tidegate.capture.store import CaptureStore
from tidegate.wire.capture.capture import ForgetRequest, ask_to_forget
from tidegate.wire.journal import FailedCall, FailureRecord, FeedbackRecord, list_segments
from tidegate.wire.journal.records import FeedbackEvent


class Bed:
    """A gateway with rows of two units."""

    def __init__(self, folder: Path) -> None:
        self.journal, self.store = folder / "journal", folder / "capture"
        self.gateway = Gateway(self.journal)
        self.forgetting = Forgetting(self.store, self.journal)
        self.read = CaptureStore(self.store, self.journal, lambda: AT_S + 60)

    def write(self, name: str, unit: str) -> None:
        record = batch(name)
        record.requests[0] = msgspec.structs.replace(record.requests[0], unit=unit)
        self.gateway.write(record)

    def run(self) -> Any:
        compact(self.journal, self.store, lambda: AT_S + 60)
        return self.forgetting.run(time.time())

    def keys(self, table: Any = "predictions") -> list[Any]:
        return sorted(self.read.rows(table, "churn", 0, AT_S + 60)["key"].to_pylist(), key=str)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_rows_failures_and_feedback_of_a_unit_are_gone_and_no_others(bed: Bed) -> None:
    for name, unit in (("a", "anna"), ("b", "bob")):
        bed.write(name, unit)
        bed.gateway.write(FailureRecord("churn", [], [FailedCall("x", unit, None, AT_S, 0.1, 504, "late")]))
    events = [FeedbackEvent(None, None, one, None, round(AT_S * 1e6), "churn", label="1") for one in ("anna", "bob")]
    events += [FeedbackEvent(one, None, None, None, round(AT_S * 1e6), None, label="1") for one in ("a", "b")]
    bed.gateway.write(FeedbackRecord(events, round(AT_S * 1e6)))
    bed.gateway.seal()
    ask_to_forget(bed.store, ForgetRequest("churn", ["anna"], AT_S + 1))
    done = bed.run()
    assert (done.rows, done.done, done.waiting) == (4, 1, 0)
    assert (bed.keys(), bed.keys("failures"), bed.keys("feedback")) == (["bob"], ["bob"], ["bob"])
    assert list_segments(bed.journal) == []
    assert b"anna" not in b"".join(path.read_bytes() for path in bed.store.rglob("*") if path.is_file())
    assert waiting(bed.store) == []
    assert bed.run().rows == 0


def test_rows_that_a_gateway_still_writes_go_once_its_segment_is_sealed(bed: Bed) -> None:
    bed.write("a", "anna")
    ask_to_forget(bed.store, ForgetRequest("churn", ["anna"], AT_S + 1))
    assert bed.run().waiting == 1
    bed.write("b", "anna")
    bed.gateway.seal()
    done = bed.run()
    assert (done.rows, done.done) == (2, 1)
    assert bed.keys() == []


def test_other_endpoints_keep_their_rows(bed: Bed) -> None:
    bed.write("a", "anna")
    bed.gateway.seal()
    ask_to_forget(bed.store, ForgetRequest("fraud", ["anna"], AT_S + 1))
    assert bed.run().rows == 0
    assert bed.keys() == ["anna"]


def test_a_label_by_id_that_is_compacted_after_its_prediction_went_goes_too_also_beside_a_new_compactor(
    bed: Bed,
) -> None:
    bed.write("a", "anna")
    bed.gateway.seal()
    events = [FeedbackEvent(one, None, None, None, round(AT_S * 1e6), None, label="1") for one in ("a", "b")]
    bed.gateway.write(FeedbackRecord(events, round(AT_S * 1e6)))
    ask_to_forget(bed.store, ForgetRequest("churn", ["anna"], AT_S + 1))
    assert (bed.run().waiting, bed.keys()) == (1, [])
    bed.gateway.seal()
    bed.forgetting = Forgetting(bed.store, bed.journal)
    assert bed.run().done == 1
    assert bed.read.rows("feedback", NO_ENDPOINT, 0, AT_S + 60)["id"].to_pylist() == ["b"]


def test_while_a_request_waits_files_that_did_not_change_are_not_read_again(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    bed.write("a", "bob")
    bed.gateway.seal()
    bed.write("b", "anna")
    ask_to_forget(bed.store, ForgetRequest("churn", ["anna"], AT_S + 1))
    read: list[str] = []
    real = LocalFiles.open

    def opening(files: LocalFiles, name: str) -> Any:
        read.append(name)
        return real(files, name)

    monkeypatch.setattr(LocalFiles, "open", opening)
    compact(bed.journal, bed.store, lambda: AT_S + 60)
    for path in bed.store.rglob("*.parquet"):
        os.utime(path, (AT_S, AT_S))
    assert bed.run().waiting == 1
    assert len(set(read)) == 1
    read.clear()
    assert bed.run().waiting == 1
    assert read == []
    bed.gateway.seal()
    assert bed.run().rows == 1
    assert len(set(read)) == 1
    assert bed.keys() == ["bob"]


def test_what_is_damaged_keeps_no_other_request_waiting(bed: Bed) -> None:
    for name, unit in (("a", "anna"), ("b", "bob")):
        bed.write(name, unit)
        bed.gateway.seal()
        compact(bed.journal, bed.store, lambda: AT_S + 60)
    damaged = next(bed.store.rglob("*.parquet"))
    (kept,) = [path for path in bed.store.rglob("*.parquet") if path != damaged]
    damaged.write_bytes(b"PAR1")
    unit = CaptureStore(bed.store, bed.journal).rows("predictions", "churn", 0, AT_S + 60)["key"].to_pylist()
    ask_to_forget(bed.store, ForgetRequest("churn", unit, AT_S + 1))
    (bed.store / "forget" / "0.json").write_bytes(b"{")
    done = bed.run()
    assert (done.rows, done.done, done.waiting) == (1, 1, 0)
    assert kept.exists()
    assert bed.keys() == []
    assert (bed.store / "forget" / "0.bad").read_bytes() == b"{"


def test_a_file_that_is_rewritten_keeps_its_time(bed: Bed) -> None:
    bed.write("a", "anna")
    bed.gateway.seal()
    compact(bed.journal, bed.store, lambda: AT_S + 60)
    (file,) = bed.store.rglob("*.parquet")
    os.utime(file, (AT_S, AT_S))
    ask_to_forget(bed.store, ForgetRequest("churn", ["anna"], AT_S + 1))
    assert bed.run().rows == 1
    assert file.stat().st_mtime == AT_S
