"""The control plane's process as its caller sees it: error lines, exit codes, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from support.platform import Platform, clean_env
from support.wait import free_ports, until
from tidegate.control.__main__ import missing_platform

pytestmark = pytest.mark.slow


def control(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the process to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tidegate.control", *argv],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_env(**env),
    )


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one error line; nothing like a traceback stands beside it."""
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_port_in_use_is_one_line_and_leaves_nothing_running(tmp_path: Path, detach: list[str]) -> None:
    port, _, control_port = free_ports(3)
    with closing(socket.create_server(("127.0.0.1", control_port))):
        ports = ["--port", str(port), "--control-port", str(control_port)]
        done = control("--data-dir", str(tmp_path), *ports, *detach)
    assert done.returncode == 1
    assert f"port {control_port} " in error_line(done)
    assert "--control-port" in error_line(done)
    assert Platform(tmp_path).processes() == []


def test_gateway_port_in_use(tmp_path: Path) -> None:
    port, _, control_port = free_ports(3)
    with closing(socket.create_server(("127.0.0.1", port))):
        done = control("--data-dir", str(tmp_path), "--port", str(port), "--control-port", str(control_port))
    assert done.returncode == 1
    assert f"port {port} " in error_line(done)


def test_off_loopback_without_a_key(tmp_path: Path) -> None:
    done = control("--data-dir", str(tmp_path / "d"), "--host", "0.0.0.0")
    assert done.returncode == 2
    assert "TIDEGATE_API_KEY" in error_line(done)
    assert not (tmp_path / "d").exists()


def test_data_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    done = control("--data-dir", str(tmp_path / "f"))
    assert done.returncode == 1
    assert "not a directory" in error_line(done)


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "control.json.new").mkdir()
    port, _, control_port = free_ports(3)
    done = control("--data-dir", str(tmp_path), "--port", str(port), "--control-port", str(control_port))
    assert done.returncode == 1
    assert "control.json.new" in error_line(done)


def test_a_missing_library_of_the_platform_says_what_to_install(tmp_path: Path) -> None:
    assert "pip install 'tidegate[platform]'" in missing_platform("sqlalchemy")
    blocked = "import sys; sys.modules['psutil'] = None; from tidegate.control.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert error_line(done) == "error: " + missing_platform("psutil")


def test_up_says_where_everything_is_and_once_is_enough(own_platform: Platform) -> None:
    ran = own_platform.up()
    assert ran.code == 0, ran.said
    for part in (own_platform.gateway_url + "/docs", own_platform.url + "/api/docs", "/login?token=", "tidegate down"):
        assert part in ran.out
    state = json.loads((own_platform.data_dir / "control.json").read_text())
    assert state["url"] == own_platform.url
    assert state["gateway_url"] == own_platform.gateway_url
    assert httpx.get(own_platform.gateway_url + "/health").status_code == 200
    assert own_platform.token not in own_platform.log()
    again = own_platform.up()
    assert again.code == 0
    assert "already running" in again.out
    elsewhere = Platform(own_platform.data_dir).up()
    assert elsewhere.code == 1
    assert f"process {state['pid']}" in elsewhere.err


def test_two_at_once_are_one_platform(own_platform: Platform) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: own_platform.up(), range(2))
    assert (first.code, second.code) == (0, 0), first.said + second.said
    assert len(own_platform.processes("tidegate.control")) == 1


def test_up_says_so_when_the_token_is_gone(own_platform: Platform) -> None:
    own_platform.start()
    (own_platform.data_dir / "token").unlink()
    ran = own_platform.up()
    assert ran.code == 1
    assert "Traceback" not in ran.said
    assert "token is gone" in ran.err


def test_sigterm_ends_everything(own_platform: Platform) -> None:
    own_platform.start()
    os.kill(own_platform.control_pid, signal.SIGTERM)
    until(lambda: not own_platform.processes(), what="the end of every process")
    assert not (own_platform.data_dir / "control.json").exists()
    assert "stopped" in own_platform.log()


def test_down_leaves_other_platforms_alone(own_platform: Platform, tmp_path: Path) -> None:
    own_platform.start()
    before = {process.pid for process in own_platform.processes()}
    ran = Platform(tmp_path / "other").stop()
    assert "nothing is running" in ran.out
    assert {process.pid for process in own_platform.processes()} == before
