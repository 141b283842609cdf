"""The demo, whole and real; and how it ends when something is in its way."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.platform import Platform, tidegate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Platform]:
    """A place for a demo's platform; whatever it leaves running is stopped."""
    place = Platform(tmp_path / "data")
    yield place
    place.stop()


def test_the_demo_goes_from_files_to_a_rollback_and_stops(stage: Platform) -> None:
    ports = ("--port", str(stage.ports[0]), "--control-port", str(stage.ports[2]))
    ran = tidegate("demo", "--exit", "--json", "--data-dir", str(stage.data_dir), *ports, timeout_s=240)
    assert ran.code == 0, ran.said + stage.log()
    assert ran.json["stopped"] is True
    answered = ran.json["answered_by"]
    assert answered["1"] + answered["2"] == 200
    assert 4 <= answered["2"] <= 40
    typed = [line.removeprefix("$ tidegate ").split()[0] for line in ran.err.splitlines() if line.startswith("$ tide")]
    path = "up register register deploy predict traffic predict promote predict rollback"
    path += " predict feedback monitor alerts status down"
    assert typed == path.split()
    assert "data_drift" in ran.json["alerts"]
    assert "<svg" in Path(ran.json["report"]).read_text()
    assert stage.processes() == []


def test_a_demo_that_cannot_start_says_why_and_leaves_nothing(stage: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = tidegate("demo", "--exit", "--data-dir", str(stage.data_dir), "--port", port)
    assert ran.code == 1, ran.said
    assert ran.err.splitlines()[-1].startswith("error: 'tidegate up' failed: ")
    assert port in ran.err
    assert stage.processes() == []


def test_a_directory_that_is_not_the_demos_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "mine-demo" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("keep")
    ran = tidegate("demo", "--exit", env={"TIDEGATE_DATA_DIR": str(tmp_path / "mine")})
    assert ran.code == 1
    assert "was not made by a demo" in ran.err
    assert precious.read_text() == "keep"
