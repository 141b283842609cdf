"""The capture store as it is read: each row once, whatever holds it just now."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.capture_bed import AT_S, Gateway, batch
from tidegate.capture.compact import backlog, compact
from tidegate.capture.store import CaptureStore
from tidegate.wire.journal import FailedCall, FailureRecord, Omitted


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def gateway(journal: Path) -> Iterator[Gateway]:
    made = Gateway(journal)
    yield made
    made.seal()


@pytest.fixture
def store(tmp_path: Path, journal: Path) -> CaptureStore:
    return CaptureStore(journal.parent / "capture", journal, lambda: AT_S + 3600)


def ids(store: CaptureStore, since_s: float = AT_S - 3600, until_s: float = AT_S + 3600, **more: Any) -> Any:
    return sorted(store.rows("predictions", "churn", since_s, until_s, **more)["id"].to_pylist())


def test_open_sealed_and_compacted_rows_are_read_alike_and_once(
    gateway: Gateway, store: CaptureStore, journal: Path, tmp_path: Path
) -> None:
    seen = []
    for step in ("open", "sealed", "compacted"):
        gateway.write(batch("a"))
        gateway.write(batch("b", AT_S + 10, rows=2))
        gateway.write(batch("other", endpoint="other"))
        gateway.write(batch("shadow", role="shadow"))
        if step != "open":
            gateway.seal()
        if step == "compacted":
            compact(journal, journal.parent / "capture", lambda: AT_S + 3600)
        seen.append(Counter(ids(store)))
    assert seen == [Counter({"a": n, "b": 2 * n}) for n in (1, 2, 3)]


def test_a_row_belongs_to_the_window_that_its_time_is_in(gateway: Gateway, store: CaptureStore, journal: Path) -> None:
    for number in range(4):
        gateway.write(batch(f"at-{number}", AT_S + number))
    gateway.seal()
    for _ in range(2):
        assert ids(store, AT_S + 1, AT_S + 3) == ["at-1", "at-2"]
        compact(journal, journal.parent / "capture", lambda: AT_S + 3600)


def test_only_the_columns_that_are_asked_for_come_in_their_order(gateway: Gateway, store: CaptureStore) -> None:
    gateway.write(batch("a"))
    made = store.rows("predictions", "churn", AT_S, AT_S + 1, ["input_age", "endpoint", "nowhere", "id"])
    assert made.column_names == ["input_age", "endpoint", "nowhere", "id"]
    assert made.to_pylist() == [{"input_age": 0.0, "endpoint": "churn", "nowhere": None, "id": "a"}]


def test_versions_with_other_columns_and_types_are_one_table(
    gateway: Gateway, store: CaptureStore, journal: Path
) -> None:
    gateway.write(batch("one", dtype="INT64"))
    gateway.seal()
    compact(journal, journal.parent / "capture", lambda: AT_S + 3600)
    gateway.write(batch("two", version="8", dtype="FP64", column="height"))
    gateway.write(batch("three", version="9", dtype="BYTES"))
    made = store.rows("predictions", "churn", AT_S, AT_S + 1, ["id", "input_age", "input_height"])
    rows = {row.pop("id"): row for row in made.to_pylist()}
    assert rows == {
        "one": {"input_age": "0", "input_height": None},
        "two": {"input_age": None, "input_height": 0.0},
        "three": {"input_age": "7", "input_height": None},
    }
    assert ids(store, version="8") == ["two"]


def test_whole_numbers_of_one_version_and_fractions_of_another_are_numbers(
    gateway: Gateway, store: CaptureStore
) -> None:
    gateway.write(batch("one", dtype="INT64"))
    gateway.write(batch("two", version="8", dtype="FP64"))
    assert store.rows("predictions", "churn", AT_S, AT_S + 1, ["input_age"]).schema.field(0).type == pa.float64()


def test_a_request_in_parts_across_a_windows_edge_is_in_both_windows(gateway: Gateway, store: CaptureStore) -> None:
    gateway.write(batch("large", AT_S - 0.03, rows=2, part=(0, 3)))
    gateway.write(batch("large", AT_S + 0.03, rows=1, part=(2, 3)))
    gateway.write(batch("half", AT_S - 0.03, rows=2, part=(0, 3)))
    gateway.write(batch("half", AT_S + 2.0, rows=1, part=(2, 3)))  # of another request with its id
    before = store.rows("predictions", "churn", AT_S - 60, AT_S, ["id", "row"]).to_pylist()
    after = store.rows("predictions", "churn", AT_S, AT_S + 1, ["id", "row"]).to_pylist()
    assert before == [{"id": "large", "row": 0}, {"id": "large", "row": 1}]
    assert after == [{"id": "large", "row": 2}]


def test_a_large_request_is_there_once_all_its_parts_are(gateway: Gateway, store: CaptureStore, journal: Path) -> None:
    gateway.write(batch("large", rows=2, part=(0, 3)))
    gateway.seal()
    compact(journal, journal.parent / "capture", lambda: AT_S + 3600)
    assert ids(store) == []
    gateway.write(batch("large", rows=1, part=(2, 3)))
    made = store.rows("predictions", "churn", AT_S, AT_S + 1)
    assert sorted(made["row"].to_pylist()) == [0, 1, 2]
    assert "request_rows" not in made.column_names


def test_failures_are_rows_too_before_and_after_compaction(
    gateway: Gateway, store: CaptureStore, journal: Path
) -> None:
    call = FailedCall("a", "anna", None, AT_S, 0.5, 504, "deadline_exceeded")
    gateway.write(FailureRecord("churn", [], [call], [Omitted(None, 429, "overloaded", 700)], AT_S, AT_S + 1))
    gateway.seal()
    for _ in range(2):
        made = store.rows("failures", "churn", AT_S, AT_S + 1, ["code", "calls"])
        assert sorted(made["calls"].to_pylist()) == [1, 700]
        compact(journal, journal.parent / "capture", lambda: AT_S + 3600)


def test_half_a_record_at_the_end_of_an_open_segment_is_not_there_yet(gateway: Gateway, store: CaptureStore) -> None:
    gateway.write(batch("a"))
    whole = gateway.segments._open
    assert whole is not None
    with whole.path.open("ab") as file:
        file.write(whole.marker + b"half")
    assert ids(store) == ["a"]


def test_rows_from_the_future_are_not_rows_before_or_after_compaction(
    gateway: Gateway, store: CaptureStore, journal: Path
) -> None:
    gateway.write(batch("now"))
    gateway.write(batch("ahead", AT_S + 7200))
    gateway.seal()
    for _ in range(2):
        assert ids(store, AT_S, AT_S + 1e6) == ["now"]
        done = compact(journal, journal.parent / "capture", lambda: AT_S + 3600)
        assert done is not None
        assert done.ahead in (0, 1)
    assert len(list((journal.parent / "capture").glob("quarantined/predictions/**/*.parquet"))) == 1


def test_a_damaged_file_costs_its_own_rows_alone_and_is_told(
    gateway: Gateway, store: CaptureStore, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        gateway.write(batch(name))
        gateway.seal()
    compact(journal, journal.parent / "capture", lambda: AT_S + 3600)
    first = min((journal.parent / "capture").rglob("*.parquet"))
    first.write_bytes(first.read_bytes()[:100])
    assert ids(store) == ["b"]
    assert str(first) in caplog.text


def test_an_endpoint_that_nobody_called_has_its_columns_and_no_rows(store: CaptureStore) -> None:
    made = store.rows("predictions", "churn", AT_S, AT_S + 1)
    assert len(made) == 0
    assert {"id", "row", "at", "endpoint", "version", "key", "sample_rate"} <= set(made.column_names)
    assert store.rows("predictions", "churn", AT_S, AT_S + 1, ["id", "input_age"]).column_names == ["id", "input_age"]


def test_beside_a_gateway_that_rotates_and_a_compactor_every_row_is_there_once(tmp_path: Path) -> None:
    """The gateway keeps so little that it drops segments as soon as they are compacted, under the reader's hands."""
    journal, root = tmp_path / "journal", tmp_path / "capture"
    gateway = Gateway(journal, total_bytes_max=512 << 10)
    store = CaptureStore(root, journal, lambda: AT_S + 3600)
    written, stop, trouble = 0, threading.Event(), []

    def compacting() -> None:
        try:
            while not stop.is_set():
                compact(journal, root, lambda: AT_S + 3600)
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=compacting)
    thread.start()
    try:
        for look in range(20):
            while len(backlog(journal)) > 2:  # a gateway that is faster than its compactor drops rows, and counts them
                assert not trouble
            for number in range(200):
                gateway.write(batch(f"{look}-{number}", rows=3))
                written += 1
            rows = store.rows("predictions", "churn", AT_S, AT_S + 1, ["id", "row"])
            times = Counter(zip(rows["id"].to_pylist(), rows["row"].to_pylist(), strict=True))
            assert set(times.values()) == {1}
            assert len(times) == written * 3
    finally:
        stop.set()
        thread.join()
        gateway.seal()
    assert trouble == []
    assert gateway.dropped
    assert all(one.unread == 0 for one in gateway.dropped)


def test_of_a_large_file_only_the_row_groups_of_the_time_are_read(
    gateway: Gateway, store: CaptureStore, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.capture.compact.GROUP_ROWS_MAX", 10)
    for number in range(40):
        gateway.write(batch(f"r{number}", AT_S + number), AT_S + number)
    gateway.seal()
    compact(journal, journal.parent / "capture", lambda: AT_S + 3600)
    seen: list[list[int]] = []
    read = pq.ParquetFile.read_row_groups

    def read_row_groups(file: pq.ParquetFile, groups: list[int], columns: Any = None) -> pa.Table:
        seen.append(list(groups))
        return read(file, groups, columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", read_row_groups)
    assert ids(store, AT_S + 12, AT_S + 18) == [f"r{number}" for number in range(12, 18)]
    assert len(ids(store, AT_S, AT_S + 40)) == 40
    assert seen == [[1], [0], [0, 1, 2, 3]]  # the first row is of the hour before
