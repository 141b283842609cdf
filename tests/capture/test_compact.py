from __future__ import annotations

import fcntl
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from support.gateway_bed import Bed as Processes
from support.gateway_bed import Load, stop_hard
from tidegate.capture import compact as module
from tidegate.capture.compact import Compacted, compact
from tidegate.system import atomic
from tidegate.wire.gateways.decision import Decision
from tidegate.wire.journal import (
    BatchRecord,
    CapturedRequest,
    FailedCall,
    FailureRecord,
    Omitted,
    cursors,
    list_segments,
)
from tidegate.wire.journal.cursors import read_offsets
from tidegate.wire.journal.frames import file_head, frame_head
from tidegate.wire.journal.segments import segment_name

MARKER = b"8 bytes!"
AT_S = datetime(2026, 11, 29, 1, 59, 59, tzinfo=UTC).timestamp()
LIVE = Decision("control", "treatment", "7", "checkout", 2, 0.5, revision=12)


class Bed:
    """A journal with segments, and a store."""

    def __init__(self, folder: Path) -> None:
        self.journal, self.store = folder / "journal", folder / "capture"
        self.journal.mkdir()

    def segment(self, *records: object, number: int = 0, suffix: str = ".tgj", damage: bytes = b"") -> Path:
        frames = [msgspec.msgpack.encode(record) for record in records]
        path = self.journal / (segment_name(number + 1, "gateway-0", MARKER) + suffix)
        path.write_bytes(file_head(MARKER) + damage + b"".join(frame_head(MARKER, one) + one for one in frames))
        return path

    def table(self, name: str) -> pd.DataFrame:
        """By pandas, which knows nothing of us but Parquet and Hive's names of folders."""
        return pd.read_parquet(self.store / name)

    def files(self) -> list[Path]:
        return sorted(self.store.rglob("*.parquet"))


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def request(name: str, rows: int = 1, decision: int = 0, **fields: Any) -> CapturedRequest:
    made: dict[str, Any] = {"unit": "anna", "at_s": AT_S, "duration_s": 0.25, "code": 200} | fields
    return CapturedRequest(id=name, decision=decision, rows=rows, **made)


def batch(*requests: CapturedRequest, decision: Decision = LIVE, width: int = 3) -> BatchRecord:
    rows = sum(one.rows for one in requests)
    numbers = np.arange(float(rows * width)).reshape(rows, width)
    inputs: dict[str, Any] = {"input": ("FP64", numbers.shape, numbers.tobytes())}
    inputs["text"] = ("BYTES", (rows,), ["ä", b"\xff", None, "x", "y", "z"][:rows])
    outputs: dict[str, Any] = {"prediction": ("INT64", (rows,), np.arange(rows).tobytes())}
    return BatchRecord("churn", "7", [decision], list(requests), inputs, outputs)


def test_a_reader_that_is_not_ours_reads_each_predicted_row_with_its_assignment(bed: Bed) -> None:
    bed.segment(batch(request("a", 2), request("b", part=(5, 9), at_s=AT_S + 1)))
    assert compact(bed.journal, bed.store) == Compacted(segments=1, rows=3)
    table = bed.table("predictions").sort_values(["id", "row"])
    assert table["id"].tolist() == ["a", "a", "b"]
    assert table["row"].tolist() == [0, 1, 5]
    assert table["hour"].astype(str).tolist() == ["2026-11-29T01", "2026-11-29T01", "2026-11-29T02"]
    assert set(table["endpoint"]) == {"churn"}
    first = table.iloc[0]
    assert first[["assigned", "variant", "version", "experiment", "phase", "propensity", "revision"]].tolist() == [
        "control", "treatment", "7", "checkout", 2, 0.5, 12,
    ]  # fmt: skip
    assert (first["key"], first["duration_ms"], first["code"], first["at"]) == (
        "anna",
        250.0,
        200,
        pd.Timestamp(AT_S, unit="s", tz="UTC"),
    )
    assert [list(row) for row in table["input_input"]] == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]
    assert table["input_text"].fillna("missing").tolist() == ["ä", "\\xff", "missing"]
    assert table["output_prediction"].tolist() == [0, 1, 2]


def test_failures_are_a_table_and_the_counted_ones_are_there_with_their_number(bed: Bed) -> None:
    call = FailedCall("a", "anna", 0, AT_S, 0.5, 504, "deadline_exceeded")
    bed.segment(FailureRecord("churn", [LIVE], [call], [Omitted(None, 429, "overloaded", 700)], AT_S, AT_S + 1))
    compact(bed.journal, bed.store)
    table = bed.table("failures").sort_values("code")
    assert table["calls"].tolist() == [700, 1]
    assert table.iloc[1][["id", "key", "assigned", "duration_ms", "reason"]].tolist() == [
        "a", "anna", "control", 500.0, "deadline_exceeded",
    ]  # fmt: skip
    assert table.iloc[0][["id", "key", "assigned"]].isna().all()


def test_shadow_answers_are_a_table_of_their_own(bed: Bed) -> None:
    bed.segment(batch(request("a"), decision=msgspec.structs.replace(LIVE, role="shadow")), batch(request("b")))
    compact(bed.journal, bed.store)
    assert bed.table("shadow_predictions")["id"].tolist() == ["a"]
    assert bed.table("predictions")["id"].tolist() == ["b"]


def test_what_is_being_written_is_left_and_what_a_dead_gateway_left_is_taken(bed: Bed) -> None:
    alive = bed.segment(batch(request("alive")), number=1, suffix=".tgj.open")
    bed.segment(batch(request("dead")), number=2, suffix=".tgj.open")
    with alive.open("rb") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        assert compact(bed.journal, bed.store) == Compacted(segments=1, rows=1)
    assert bed.table("predictions")["id"].tolist() == ["dead"]
    assert compact(bed.journal, bed.store) == Compacted(segments=1, rows=1)
    assert sorted(bed.table("predictions")["id"]) == ["alive", "dead"]


def test_a_segment_is_told_as_read_once_its_rows_are_there_and_is_not_read_again(bed: Bed) -> None:
    path = bed.segment(batch(request("a")))
    compact(bed.journal, bed.store)
    assert read_offsets(bed.journal) == {list_segments(bed.journal)[0].name: path.stat().st_size}
    assert compact(bed.journal, bed.store) == Compacted()
    path.unlink()
    bed.segment(batch(request("b")), number=1)
    assert compact(bed.journal, bed.store) == Compacted(segments=1, rows=1)
    assert len(read_offsets(bed.journal)) == 1, "what gateways dropped is forgotten"
    assert sorted(bed.table("predictions")["id"]) == ["a", "b"]


class Killed(BaseException):
    """Stands for `kill -9`."""


@pytest.mark.parametrize("step", range(12))
def test_killed_at_any_step_every_row_is_there_exactly_once(
    bed: Bed, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    for number in range(3):
        late = request(f"late-{number}", at_s=AT_S - 7200)
        bed.segment(batch(request(f"a-{number}", 2)), batch(late, width=2), number=number)
    steps = iter(range(100))

    def dying(real: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if next(steps) == step:
                raise Killed
            return real(*args, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_cursor", dying(cursors.write_cursor))
        patch.setattr("tidegate.capture.files.replacing", dying(atomic.replacing))
        patch.setattr(pq.ParquetWriter, "write_table", dying(pq.ParquetWriter.write_table))
        try:
            compact(bed.journal, bed.store)
        except Killed:
            pass
        else:
            pytest.fail("it was not killed")
    compact(bed.journal, bed.store)
    ids = Counter(one for path in bed.files() for one in pq.ParquetFile(path).read()["id"].to_pylist())
    assert ids == Counter({f"a-{number}": 2 for number in range(3)} | {f"late-{number}": 1 for number in range(3)})
    assert [path for path in bed.store.rglob(".*") if path.name != ".lock"] == []


def test_two_at_once_do_not_meet(bed: Bed) -> None:
    bed.segment(batch(request("a")))
    bed.store.mkdir()
    lock = os.open(bed.store / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    assert compact(bed.journal, bed.store) is None
    os.close(lock)
    assert compact(bed.journal, bed.store) == Compacted(segments=1, rows=1)


def test_damage_is_counted_and_the_rest_is_written(bed: Bed) -> None:
    bed.segment(batch(request("a")), damage=b"no record")
    assert compact(bed.journal, bed.store) == Compacted(segments=1, rows=1, lost_bytes=9)


def test_what_a_killed_compactor_left_half_written_is_removed(bed: Bed) -> None:
    bed.segment(batch(request("a")))
    compact(bed.journal, bed.store)
    (written,) = bed.files()
    written.rename(written.with_name(f".{written.name}-0123abcd"))
    (bed.journal / "compactor.cursor").unlink()
    compact(bed.journal, bed.store)
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_what_a_gateway_answered_before_and_after_kill_9_is_there_exactly_once(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "data")
    answered: set[str] = set()
    try:
        processes.replica("1")
        for _ in range(2):
            gateway = processes.gateway()
            processes.publish({"1": 100})
            with Load(gateway) as load:
                load.wait_for(300)
                compact(processes.data_dir / "journal", tmp_path / "capture")  # beside a gateway that writes
                stop_hard(gateway.process)
            answered |= load.ids
    finally:
        processes.close()
    compact(processes.data_dir / "journal", tmp_path / "capture")
    table = pd.read_parquet(tmp_path / "capture" / "predictions")
    times = Counter(table["id"])
    assert len(answered) > 600
    assert [one for one in answered if times[one] != 1] == []
    assert set(table["revision"]) == {1, 2}
