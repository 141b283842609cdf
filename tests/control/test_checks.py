"""Checks before a platform starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tidegate.control.checks import DataDirLock, check_port, listening_socket, prepare_data_dir
from tidegate.control.options import parse
from tidegate.down import stop_platform
from tidegate.errors import DataDirInUse, DataDirUnusable, InvalidArgument, PortInUse
from tidegate.system.run_dir import make_run_dir


def test_data_dir_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    prepare_data_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_folder_for_sockets_of_others_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.system.run_dir.SHORT_FOLDER", tmp_path)
    data_dir = tmp_path / ("long" * 30)
    folder = make_run_dir(data_dir)
    assert (folder.parent, folder.stat().st_mode & 0o777) == (tmp_path, 0o700)
    folder.chmod(0o755)
    with pytest.raises(DataDirUnusable, match="folder for sockets"):
        make_run_dir(data_dir)
    folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataDirUnusable, match="folder for sockets"):
        make_run_dir(data_dir)


def test_down_removes_the_folder_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.system.run_dir.SHORT_FOLDER", tmp_path)
    data_dir = tmp_path / ("long" * 30)
    folder = make_run_dir(data_dir)
    (folder / "r-1.sock").touch()
    assert stop_platform(data_dir, 1.0, str) == 0
    assert not folder.exists()


def test_a_file_is_no_data_dir(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirUnusable, match="--data-dir"):
        prepare_data_dir(tmp_path / "file")
    with pytest.raises(DataDirUnusable, match="cannot be written to"):
        prepare_data_dir(tmp_path / "file" / "below")


def test_one_holder_and_its_pid_is_told(tmp_path: Path) -> None:
    first = DataDirLock(tmp_path)
    first.acquire()
    with pytest.raises(DataDirInUse, match=rf"process {os.getpid()}.*tidegate down --data-dir {tmp_path}"):
        DataDirLock(tmp_path).acquire()
    first.release()
    again = DataDirLock(tmp_path)
    again.acquire()
    again.release()


@pytest.fixture
def taken(free_port: int) -> Iterator[int]:
    with closing(listening_socket("127.0.0.1", free_port, "--port")):
        yield free_port


def test_port_in_use_names_the_option(taken: int) -> None:
    with pytest.raises(PortInUse, match=rf"port {taken} on 127.0.0.1.*--control-port"):
        check_port("127.0.0.1", taken, "--control-port")


def test_port_is_found_in_use_also_when_its_holder_shares_it(free_port: int) -> None:
    with closing(socket.socket()) as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(("127.0.0.1", free_port))
        shared.listen()
        with pytest.raises(PortInUse):
            check_port("127.0.0.1", free_port, "--port")


def test_address_of_another_machine(free_port: int) -> None:
    with pytest.raises(InvalidArgument, match=r"192\.0\.2\.1"):
        check_port("192.0.2.1", free_port, "--port")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--port", "70000"], "70000 is no port"),
        (["--port", "x"], "invalid int value"),
        (["--port", "8800"], "both 8800"),
        (["--gateways", "-1"], "--gateways -1"),
        (["--gateway-url", "models.example"], "--gateway-url is no http URL"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_wrong_use(argv: list[str], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as caught:
        parse(argv)
    assert caught.value.exit_code == 2


def test_addresses_follow_from_the_options() -> None:
    options = parse(["--port", "9000", "--host", "0.0.0.0"])
    assert options.grpc_port == 9001
    assert options.gateway_url == "http://127.0.0.1:9000"
    assert options.control_url == "http://127.0.0.1:8800"
    assert parse(["--host", "::1"]).gateway_url == "http://[::1]:8000"
    assert parse(options.argv(Path("/d"))).port == 9000
