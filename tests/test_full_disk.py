"""A full disk is told as one, wherever it is met."""

from __future__ import annotations

import errno
import shutil

import pytest

from tidegate.full_disk import is_disk_full
from tidegate.jobs.report import _expected
from tidegate.store.tables import JobRow

FULL = OSError(errno.ENOSPC, "No space left on device")


def _raised_from(cause: BaseException) -> BaseException:
    error = RuntimeError("the library could not write")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        _raised_from(FULL),
        shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]),
    ],
    ids=["space", "quota", "a cause", "a copied folder"],
)
def test_a_full_disk_is_no_internal_error_of_a_job(error: Exception) -> None:
    assert is_disk_full(error)
    assert _expected(error, JobRow(id="j", kind="register", subject="m")).code == "disk_full"


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), ValueError("No space left on device"), None])
def test_anything_else_is_not(error: BaseException | None) -> None:
    assert not is_disk_full(error)
