from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.system.atomic import LEFT_S, replacing, sweep, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_reader_sees_the_old_content_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_whole(path, b"old")
    with replacing(path) as file:
        file.write(b"ne")
        file.flush()
        assert path.read_bytes() == b"old"
        file.write(b"w")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["state.json"]


def test_a_failure_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_whole(path, b"old")
    with pytest.raises(OSError, match="full"), replacing(path) as file:  # noqa: PT012 (the block is what fails)
        file.write(b"ne")
        raise OSError("full")
    assert path.read_bytes() == b"old"
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(folder, b"new")
    assert names(tmp_path) == ["folder", "state.json"]


def test_secrets_are_their_owners_alone_from_the_first_byte(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with replacing(tmp_path / "key", mode=0o600) as file:
            assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
        write_whole(tmp_path / "plain", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o644


def test_of_two_that_make_the_same_file_the_first_wins(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with replacing(path, first_wins=True) as file:
        file.write(b"second")
        write_whole(path, b"first", first_wins=True)
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["key"]


def test_what_is_durable_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[list[str]] = []
    monkeypatch.setattr("tidegate.system.atomic.os.fsync", lambda descriptor: synced.append(names(tmp_path)))
    write_whole(tmp_path / "a", b"", durable=False)
    assert synced == []
    write_whole(tmp_path / "b", b"")
    assert len(synced) == 1
    assert "b" not in synced[0]


KILLED = """
import os, signal, sys
from pathlib import Path
from tidegate.system.atomic import replacing
with replacing(Path(sys.argv[1])) as file:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_once_it_is_old_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "state.json", b"whole")
    for name in (".hidden", ".env-local", "state-0123abcd"):
        (tmp_path / name).touch()
    (tmp_path / ".folder-0123abcd").mkdir()
    before = names(tmp_path)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "state.json")], check=False)
    (left,) = set(names(tmp_path)) - set(before)
    assert left.startswith(".state.json-")
    written = (tmp_path / left).stat().st_mtime
    sweep(tmp_path, written + LEFT_S)
    assert left in names(tmp_path), "it may be written to yet"
    sweep(tmp_path, written + LEFT_S + 1)
    assert names(tmp_path) == before
    sweep(tmp_path / "not there", written)
