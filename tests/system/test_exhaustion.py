"""What the machine could not give is told from what is wrong with a model, whatever wraps it."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from tidegate.errors import DiskFull, ModelCrashed, ModelLoadFailed, OutOfResources
from tidegate.jobs.report import _expected
from tidegate.store.tables import JobRow
from tidegate.system.exhaustion import exhausted


def _of(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _raised_from(cause: BaseException) -> BaseException:
    error = RuntimeError("the library could not write")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_the_machine_could_not_give_is_told(number: int) -> None:
    assert isinstance(exhausted(_of(number)), OutOfResources)
    assert isinstance(exhausted(ImportError(f"libx.so: cannot open: {os.strerror(number)}")), OutOfResources)


@pytest.mark.parametrize(
    "error",
    [
        _of(errno.ENOSPC),
        _of(errno.EDQUOT),
        _raised_from(_of(errno.ENOSPC)),
        shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")]),
    ],
    ids=["space", "quota", "a cause", "a copied folder"],
)
def test_a_full_disk_is_told_also_for_a_job(error: Exception) -> None:
    assert isinstance(exhausted(error), DiskFull)
    assert _expected(error, JobRow(id="j", kind="register", subject="m")).code == "disk_full"


def test_no_process_and_no_thread_are_told_where_one_was_to_be_started() -> None:
    assert isinstance(exhausted(_of(errno.EAGAIN), spawning=True), OutOfResources)
    assert exhausted(_of(errno.EAGAIN)) is None  # of a socket: its other end is busy
    assert isinstance(exhausted(RuntimeError("can't start new thread")), OutOfResources)


def test_it_is_found_behind_what_it_came_to() -> None:
    def load() -> None:
        try:
            raise _of(errno.EMFILE)
        except OSError:
            raise ModelLoadFailed("it did not load") from None

    with pytest.raises(ModelLoadFailed) as caught:
        load()
    assert isinstance(exhausted(caught.value), OutOfResources)


@pytest.mark.parametrize(
    "error",
    [
        _of(errno.ENOENT),
        _of(errno.EACCES),
        ValueError(os.strerror(errno.ENOSPC)),
        ModelCrashed(),
        ImportError("no module"),
        RuntimeError("x"),
    ],
)
def test_other_failures_are_not(error: Exception) -> None:
    assert exhausted(error) is None
