"""How long captured rows are kept."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from support.capture_bed import Gateway, batch
from tidegate.capture.compact import compact
from tidegate.capture.files import LocalFiles
from tidegate.capture.retention import Expired, Keep, expire, hours
from tidegate.capture.store import CaptureStore
from tidegate.wire.journal import list_segments

NOW_S = datetime(2026, 11, 29, 12, 30, tzinfo=UTC).timestamp()
MUCH = 1 << 40


class Bed:
    """Rows of an hour each of the last days, of two endpoints."""

    def __init__(self, folder: Path) -> None:
        self.journal, self.store = folder / "journal", folder / "capture"
        gateway = Gateway(self.journal)
        for hour in range(6):
            for endpoint in ("churn", "fraud"):
                gateway.write(batch(f"{endpoint}-{hour}", NOW_S - hour * 3600, endpoint=endpoint))
        gateway.seal()
        compact(self.journal, self.store, lambda: NOW_S)

    def expire(self, keep: Keep, bytes_max: int = MUCH, **special: Keep) -> Expired:
        return expire(self.store, self.journal, NOW_S, Keep(keep.retain_s, min(keep.bytes_max, bytes_max)), special)

    def ids(self, endpoint: str = "churn") -> list[str]:
        read = CaptureStore(self.store, self.journal, lambda: NOW_S)
        return sorted(read.rows("predictions", endpoint, 0, NOW_S + 1)["id"].to_pylist())


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_hours_that_are_too_old_go_and_by_endpoint_where_that_is_said(bed: Bed) -> None:
    done = bed.expire(Keep(3 * 3600, MUCH), fraud=Keep(3600, MUCH))
    assert bed.ids() == ["churn-0", "churn-1", "churn-2", "churn-3"]
    assert bed.ids("fraud") == ["fraud-0", "fraud-1"]
    assert done.files == 2 + 4
    assert done.stored_bytes == sum(path.stat().st_size for path in bed.store.rglob("*.parquet"))
    assert bed.expire(Keep(3 * 3600, MUCH), fraud=Keep(3600, MUCH)).files == 0


def test_past_the_bound_on_bytes_the_oldest_hours_go(bed: Bed) -> None:
    size = max(hour.size_bytes for hour in hours(LocalFiles(bed.store)))
    done = bed.expire(Keep(MUCH, MUCH), bytes_max=size * 4)
    assert bed.ids() == ["churn-0", "churn-1"]
    assert done.stored_bytes <= size * 4
    bed.expire(Keep(MUCH, MUCH), fraud=Keep(MUCH, size))
    assert (bed.ids(), bed.ids("fraud")) == (["churn-0", "churn-1"], ["fraud-0"])


def test_the_journal_keeps_no_rows_longer(bed: Bed) -> None:
    (segment,) = list_segments(bed.journal)
    os.utime(segment.path, (NOW_S, NOW_S))
    bed.expire(Keep(3600, MUCH))
    assert list_segments(bed.journal), "it was written a moment ago"
    os.utime(segment.path, (NOW_S - 3601, NOW_S - 3601))
    bed.expire(Keep(3600, MUCH))
    assert list_segments(bed.journal) == []
    assert bed.ids() == ["churn-0", "churn-1"]


def test_the_shortest_time_of_an_endpoint_holds_for_the_journal_also_once_its_hours_are_gone(bed: Bed) -> None:
    (segment,) = list_segments(bed.journal)
    os.utime(segment.path, (NOW_S - 1800, NOW_S - 1800))
    bed.expire(Keep(MUCH, MUCH), fraud=Keep(-3600, MUCH))
    assert bed.ids("fraud") == []
    assert list_segments(bed.journal) == []


def test_imported_rows_are_kept_from_their_import_on(bed: Bed) -> None:
    folder = bed.store / "predictions" / "endpoint=churn" / "hour=2013-07-01T09"
    folder.mkdir()
    file = folder / "import-0123-000000000000-aa.parquet"
    file.write_bytes(b"rows")
    os.utime(file, (NOW_S - 3600, NOW_S - 3600))
    (folder / "20130701T090000.000000Z-gateway-0-0011223344556677-aa.parquet").write_bytes(b"recorded")
    assert bed.expire(Keep(86_400, MUCH)).files == 1
    assert list(folder.iterdir()) == [file]
    os.utime(file, (NOW_S - 100_000, NOW_S - 100_000))
    assert bed.expire(Keep(86_400, MUCH)).files == 1
    assert not folder.exists()


def test_a_label_that_is_dated_long_ago_is_kept_from_when_it_came(bed: Bed) -> None:
    folder = bed.store / "feedback" / "endpoint=churn" / "hour=2013-07-01T09"
    folder.mkdir(parents=True)
    file = folder / "20261129T120000.000000Z-gateway-0-0011223344556677-aa.parquet"
    file.write_bytes(b"rows")
    os.utime(file, (NOW_S - 3600, NOW_S - 3600))
    assert bed.expire(Keep(86_400, MUCH)).files == 0
    os.utime(file, (NOW_S - 86_401, NOW_S - 86_401))
    assert bed.expire(Keep(86_400, MUCH)).files == 1


def test_what_no_reader_has_read_stays_however_old_it_is(bed: Bed) -> None:
    (bed.journal / "compactor.cursor").unlink()
    (segment,) = list_segments(bed.journal)
    os.utime(segment.path, (1.0, 1.0))
    bed.expire(Keep(3600, MUCH))
    assert list_segments(bed.journal) == [segment]


def test_folders_with_other_names_are_left_alone(bed: Bed) -> None:
    other = bed.store / "predictions" / "endpoint=churn" / "hour=mine"
    other.mkdir()
    bed.expire(Keep(0, 0), bytes_max=0)
    assert other.exists()
    assert not list(bed.store.rglob("*.parquet"))
