"""What a process can be told from outside: numbers within their ranges, and a folder for sockets that stays put."""

from pathlib import Path

import pytest

from tidegate.errors import InvalidArgument
from tidegate.settings import Settings, run_dir


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIDEGATE_BATCH_ROWS_MAX", "0"),
        ("TIDEGATE_QUEUE_ROWS_MAX", "-1"),
        ("TIDEGATE_REQUEST_TIMEOUT_S", "nan"),
        ("TIDEGATE_DRAIN_S", "inf"),
        ("TIDEGATE_JOB_WORKERS", "100000"),
    ],
)
def test_a_number_out_of_its_range_is_told_with_variable_value_and_range(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"{name}=.*must be from .* to ") as caught:
        Settings.from_env({name: value})
    assert caught.value.details["field"] == name


def test_a_request_of_the_largest_size_fits_where_all_requests_have_to() -> None:
    with pytest.raises(InvalidArgument, match="TIDEGATE_BUFFERED_BYTES_MAX=1000 is less than") as caught:
        Settings.from_env({"TIDEGATE_BUFFERED_BYTES_MAX": "1000", "TIDEGATE_REQUEST_BYTES_MAX": "2000"})
    assert caught.value.details["field"] == "TIDEGATE_BUFFERED_BYTES_MAX"
    larger = Settings.from_env({"TIDEGATE_REQUEST_BYTES_MAX": str(1 << 30)})
    assert larger.buffered_bytes_max == 1 << 30


def test_the_folder_for_sockets_is_the_same_for_every_tmpdir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    deep = Path("/", *["deep"] * 30)
    folder = run_dir(deep)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert run_dir(deep) == folder
