"""What every place of captured rows must do: a folder of this machine, and a bucket of S3."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.capture_bed import AT_S, Gateway, batch
from support.services.s3 import S3
from tidegate.capture.compact import Compacted, compact
from tidegate.capture.files import Files, LocalFiles, endpoints_of
from tidegate.capture.forgetting import Forgetting
from tidegate.capture.retention import Keep, expire
from tidegate.capture.store import CaptureStore
from tidegate.wire.capture.capture import ForgetRequest, ask_to_forget
from tidegate.wire.journal import FeedbackRecord
from tidegate.wire.journal.records import FeedbackEvent

MUCH = 1 << 50
_buckets = count()


def _on_s3(server: S3, patch: pytest.MonkeyPatch) -> Files:
    from tidegate.capture.s3_files import S3Files

    for name, value in server.env.items():
        patch.setenv(name, value)
    bucket = f"captured-{next(_buckets)}"
    server.make_bucket(bucket)
    return S3Files(f"s3://{bucket}/some/where/", server.url)


@pytest.fixture(params=["local", pytest.param("s3", marks=[pytest.mark.slow, pytest.mark.long])])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Files:
    if request.param == "local":
        return LocalFiles(tmp_path / "capture")
    return _on_s3(request.getfixturevalue("s3"), monkeypatch)


def _text(content: bytes) -> Callable[[Any], object]:
    return lambda file: file.write(content)


def _read(files: Files, name: str) -> bytes:
    with files.open(name) as file:
        return bytes(file.read())


def test_files_are_written_whole_read_listed_replaced_and_deleted(files: Files) -> None:
    assert (files.below(), files.folders("t"), endpoints_of(files)) == ([], [], [])
    for hour in (1, 2, 3):
        files.write(f"t/endpoint=a/hour=0{hour}/x.parquet", _text(b"one"))
    files.write("t/endpoint=ab/hour=01/x.parquet", _text(b"other"))
    files.write("t/endpoint=a/hour=02/x.parquet", _text(b"longer"))
    assert _read(files, "t/endpoint=a/hour=02/x.parquet") == b"longer"
    assert [(one.name[-17:], one.size_bytes) for one in files.below("t/endpoint=a")] == [
        ("hour=01/x.parquet", 3),
        ("hour=02/x.parquet", 6),
        ("hour=03/x.parquet", 3),
    ]
    assert [one.name[13:20] for one in files.below("t/endpoint=a", ("hour=02", "hour=03"))] == ["hour=02", "hour=03"]
    assert files.folders("t/endpoint=a") == ["hour=01", "hour=02", "hour=03"]
    assert endpoints_of(files) == ["a", "ab"]
    assert abs(files.below()[0].written_s - time.time()) < 3600
    files.delete(["t/endpoint=a/hour=02/x.parquet", "t/endpoint=a/hour=03/never.parquet"])
    assert files.folders("t/endpoint=a") == ["hour=01", "hour=03"]
    files.delete([f"t/endpoint=a/hour=0{hour}/x.parquet" for hour in (1, 3)])
    assert (len(files.below()), endpoints_of(files)) == (1, ["ab"])
    with pytest.raises(FileNotFoundError):
        _read(files, "t/endpoint=a/hour=01/x.parquet")


def test_a_file_that_cannot_be_made_leaves_what_was_there(files: Files) -> None:
    def broken(file: Any) -> None:
        file.write(b"half of it")
        raise RuntimeError("no more")

    files.write("t/x.parquet", _text(b"whole"))
    for name in ("t/x.parquet", "t/y.parquet"):
        with pytest.raises(RuntimeError):
            files.write(name, broken)
    assert [one.name for one in files.below()] == ["t/x.parquet"]
    assert _read(files, "t/x.parquet") == b"whole"


def test_a_file_written_as_if_then_is_that_old_until_it_is_written_anew(files: Files) -> None:
    then_s = 1_700_000_000.0
    files.write("t/endpoint=a/hour=01/x.parquet", _text(b"first"))
    files.write("t/endpoint=a/hour=01/x.parquet", _text(b"2nd"), then_s)
    assert [(one.written_s, one.put_s > then_s + 86_400) for one in files.below("t")] == [(then_s, True)]
    assert files.folders("") == ["t"]
    files.write("t/endpoint=a/hour=01/x.parquet", _text(b"third"))
    assert [one.written_s > then_s + 86_400 for one in files.below("t")] == [True]
    files.delete(["t/endpoint=a/hour=01/x.parquet"])
    assert (files.below(), endpoints_of(files)) == ([], [])


@pytest.fixture
def bed(files: Files, tmp_path: Path) -> Bed:
    return Bed(files, tmp_path)


class Bed:
    """A gateway, and all that is done with its rows."""

    def __init__(self, files: Files, folder: Path) -> None:
        self.files, self.journal, self.folder = files, folder / "journal", folder / "capture"
        self.gateway = Gateway(self.journal)
        self.store = CaptureStore(files, self.journal, lambda: AT_S + 60)
        self.forgetting = Forgetting(self.folder, self.journal, files=files)

    def write(self, name: str, unit: str) -> None:
        record = batch(name)
        record.requests[0] = msgspec.structs.replace(record.requests[0], unit=unit)
        self.gateway.write(record)
        event = FeedbackEvent(name, None, None, None, round(AT_S * 1e6), "churn", label="1")
        self.gateway.write(FeedbackRecord([event], round(AT_S * 1e6)))

    def compact(self) -> Compacted | None:
        return compact(self.journal, self.folder, lambda: AT_S + 60, files=self.files)

    def ids(self) -> list[str]:
        return sorted(self.store.rows("predictions", "churn", 0, AT_S + 60)["id"].to_pylist())


def test_rows_are_read_once_before_and_after_and_beside_compaction(bed: Bed) -> None:
    for number in range(3):
        bed.write(f"r{number}", "anna")
        bed.gateway.seal()
    bed.write("open", "bob")
    everything = ["open", "r0", "r1", "r2"]
    assert bed.ids() == everything
    done = bed.compact()
    assert done is not None
    assert done.segments == 3
    assert bed.ids() == everything
    for cursor in bed.journal.glob("*cursor*"):  # as one that was killed before it said what was done
        cursor.unlink()
    assert bed.ids() == everything
    bed.compact()
    assert bed.ids() == everything
    assert len(bed.files.below("predictions")) == 3
    labelled = bed.store.labelled("churn", 0, AT_S + 60, ["id", "label"])
    assert labelled["label"].to_pylist() == ["1"] * 4
    assert bed.store.endpoints() == ["churn"]


def test_a_unit_is_forgotten_and_files_stay_as_old_as_they_were(bed: Bed) -> None:
    for name, unit in (("a", "anna"), ("b", "bob")):
        bed.write(name, unit)
    bed.gateway.seal()
    bed.compact()
    (old,) = bed.files.below("feedback")
    ask_to_forget(bed.folder, ForgetRequest("churn", ["anna"], AT_S + 1))
    done = bed.forgetting.run(time.time())
    assert (done.rows, done.done) == (2, 1)
    assert bed.ids() == ["b"]
    (now,) = bed.files.below("feedback")
    assert now.size_bytes < old.size_bytes
    assert now.written_s == pytest.approx(old.written_s, abs=1e-5)


def test_retention_deletes_hours_and_their_folders(bed: Bed) -> None:
    bed.write("a", "anna")
    bed.gateway.seal()
    bed.compact()
    kept = expire(bed.files, bed.journal, AT_S + 60, Keep(1e9, MUCH), {})
    assert (kept.files, kept.stored_bytes > 0) == (0, True)
    gone = expire(bed.files, bed.journal, time.time() + 1e9, Keep(3600, MUCH), {})
    assert (gone.files, gone.stored_bytes) == (2, 0)
    assert (bed.files.below("predictions"), endpoints_of(bed.files)) == ([], [])
