import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.control import ME, NewDatabase, container_at
from tidegate.errors import DiskFull, InvalidArgument, TooLarge, UnknownUpload
from tidegate.services.jobs.uploads import UPLOAD_KEPT_S, Uploads
from tidegate.store.jobs.jobs import get_job
from tidegate.wire.rest import Gate, RegisterRequest, Upload
from tidegate.wiring import Container


class Now:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def platform(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database(), upload_bytes_max=1000)
    yield container
    container.close()


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def uploads(platform: Container, now: Now) -> Uploads:
    return Uploads(platform.store, platform.settings.data_dir / "uploads", 1000, now)


def _hand_in(uploads: Uploads, data: bytes) -> Upload:
    sink = uploads.begin(len(data))
    sink.write(data)
    return sink.finish()


def test_bytes_come_back_as_they_were_handed_in(uploads: Uploads) -> None:
    sink = uploads.begin(None)
    sink.write(b"abc")
    sink.write(b"def")
    upload = sink.finish()
    assert (upload.size_bytes, upload.sha256) == (6, hashlib.sha256(b"abcdef").hexdigest())
    assert uploads.path(upload.id).read_bytes() == b"abcdef"


def test_more_than_the_bound_is_refused_announced_or_not(uploads: Uploads) -> None:
    with pytest.raises(TooLarge, match="TIDEGATE_UPLOAD_BYTES_MAX"):
        uploads.begin(1001)
    sink = uploads.begin(None)
    with pytest.raises(TooLarge):
        sink.write(b"x" * 1001)
    sink.abort()
    assert list(uploads.directory.iterdir()) == []


def test_no_bytes_are_no_upload(uploads: Uploads) -> None:
    sink = uploads.begin(0)
    with pytest.raises(InvalidArgument, match="empty"):
        sink.finish()
    sink.abort()
    assert list(uploads.directory.iterdir()) == []


def test_a_full_disk_leaves_nothing(platform: Container) -> None:
    """/dev/full is a disk that is always full."""
    uploads = platform.uploads
    sink = uploads.begin(None)
    sink._file.close()
    sink._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - closed by abort
    with pytest.raises(DiskFull):
        sink.write(b"abc")
    sink.abort()
    assert list(uploads.directory.iterdir()) == []


def test_expired_uploads_go_but_for_those_a_job_waits_for(platform: Container, uploads: Uploads, now: Now) -> None:
    idle, wanted, data = (_hand_in(uploads, text) for text in (b"idle", b"wanted", b"data"))
    gate = Gate(validation_upload=data.id, target="y")
    job = platform.jobs.register("churn", RegisterRequest(upload=wanted.id, filename="m.onnx", gate=gate), ME)
    now.at += UPLOAD_KEPT_S + 1
    uploads.sweep()
    with pytest.raises(UnknownUpload, match="expired"):
        uploads.path(idle.id)
    assert uploads.path(wanted.id).read_bytes() == b"wanted"
    assert uploads.path(data.id).read_bytes() == b"data"
    with platform.store.reading() as tx:
        row = get_job(tx, job.id)
    assert row is not None
    uploads.release(row)
    assert list(uploads.directory.iterdir()) == []


def test_an_upload_that_a_crash_cut_off_is_swept_once_it_is_old(uploads: Uploads, now: Now) -> None:
    sink = uploads.begin(None)
    sink.write(b"abc")
    sink._file.close()
    left = next(uploads.directory.iterdir())
    now.at = left.stat().st_mtime
    uploads.sweep()
    assert left.exists()
    now.at += UPLOAD_KEPT_S + 1
    uploads.sweep()
    assert not left.exists()
