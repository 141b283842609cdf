"""The control plane's process as its caller sees it: error lines, exit codes, what it writes, how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from support.platform import Platform, Ran, clean_env
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
    (tmp_path / "control.json").mkdir()
    port, _, control_port = free_ports(3)
    done = control("--data-dir", str(tmp_path), "--port", str(port), "--control-port", str(control_port))
    assert done.returncode == 1
    assert "control.json" in error_line(done)


def test_a_missing_library_of_the_platform_says_what_to_install(tmp_path: Path) -> None:
    assert "pip install 'tidegate[platform]'" in missing_platform("sqlalchemy")
    blocked = "import sys; sys.modules['psutil'] = None; from tidegate.control.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert error_line(done) == "error: " + missing_platform("psutil")


@pytest.fixture(scope="module")
def upped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, list[Ran]]]:
    """A platform that two `up` at once started, and what each of them said."""
    made = Platform(tmp_path_factory.mktemp("process") / "data")
    try:
        with ThreadPoolExecutor(2) as pool:
            yield made, list(pool.map(lambda _: made.up(), range(2)))
    finally:
        made.stop()


@pytest.fixture
def running(upped: tuple[Platform, list[Ran]]) -> Platform:
    """The same, started again if a test has ended it."""
    return upped[0].start()


def test_two_at_once_are_one_platform(upped: tuple[Platform, list[Ran]]) -> None:
    here, (first, second) = upped
    assert (first.code, second.code) == (0, 0), first.said + second.said
    assert ["already running" in said.out for said in (first, second)].count(True) == 1
    assert len(here.processes("tidegate.control")) == 1


def test_up_says_where_everything_is_and_once_is_enough(upped: tuple[Platform, list[Ran]], running: Platform) -> None:
    (first,) = [said for said in upped[1] if "already running" not in said.out]
    for part in (running.gateway_url + "/docs", running.url + "/api/docs", "/login?code=", "tidegate down"):
        assert part in first.out
    state = json.loads((running.data_dir / "control.json").read_text())
    assert state["url"] == running.url
    assert state["gateway_url"] == running.gateway_url
    assert httpx.get(running.gateway_url + "/health").status_code == 200
    assert running.token not in running.log()
    again = running.up()
    assert again.code == 0
    assert "already running" in again.out
    elsewhere = Platform(running.data_dir).up()
    assert elsewhere.code == 1
    assert f"process {state['pid']}" in elsewhere.err


def test_up_says_so_when_the_token_is_gone(running: Platform) -> None:
    token = running.data_dir / "token"
    aside = token.rename(running.data_dir / "token.aside")
    try:
        ran = running.up()
    finally:
        aside.rename(token)
    assert ran.code == 1
    assert "Traceback" not in ran.said
    assert "token is gone" in ran.err


def test_down_leaves_other_platforms_alone(running: Platform, tmp_path: Path) -> None:
    before = {process.pid for process in running.processes()}
    assert before
    ran = Platform(tmp_path / "other").stop()
    assert "nothing is running" in ran.out
    assert {process.pid for process in running.processes()} == before


def test_down_ends_what_jobs_left_behind(tmp_path: Path) -> None:
    """Found by its arguments alone: nothing else is known of a process whose control plane was killed."""
    argv = [sys.executable, "-c", "import time; time.sleep(600)", "-m"]
    request = str(tmp_path / "jobs" / "j-1" / "request.json")
    left = [subprocess.Popen([*argv, f"tidegate.runtimes.{module}", request]) for module in ("inspect", "accelerate")]
    try:
        ran = Platform(tmp_path).stop()
        assert ran.code == 0, ran.said
        assert "stopped 2 job processes;" in ran.out
        assert [process.wait(10) for process in left] == [-signal.SIGTERM] * 2
    finally:
        for process in left:
            process.kill()
            process.wait()


def test_sigterm_ends_everything(running: Platform) -> None:
    os.kill(running.control_pid, signal.SIGTERM)
    until(lambda: not running.processes(), what="the end of every process")
    assert not (running.data_dir / "control.json").exists()
    assert "stopped" in running.log()
