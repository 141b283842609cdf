"""Which platform a client means, and which secret it shows to whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tidegate.client.locate import locate
from tidegate.errors import InvalidArgument, NotRunning


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TIDEGATE_URL", "TIDEGATE_API_KEY", "TIDEGATE_TOKEN", "TIDEGATE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def platform(folder: Path, port: int) -> Path:
    folder.mkdir(parents=True)
    note = {"pid": 1, "url": f"http://127.0.0.1:{port}", "gateway_url": "http://127.0.0.1:8000", "started_at": 1.0}
    (folder / "control.json").write_text(json.dumps(note))
    (folder / "token").write_text(f"token-{port}\n")
    return folder


def test_the_default_directory(tmp_path: Path) -> None:
    platform(tmp_path / "home" / ".tidegate", 1)
    found = locate()
    assert (found.url, found.token, found.gateway_url) == ("http://127.0.0.1:1", "token-1", "http://127.0.0.1:8000")


def test_what_is_said_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = platform(tmp_path / "here", 1)
    monkeypatch.setenv("TIDEGATE_URL", "http://127.0.0.1:2")
    assert locate(data_dir=here).url == "http://127.0.0.1:1"
    assert locate(url="http://127.0.0.1:3", data_dir=here).url == "http://127.0.0.1:3"
    monkeypatch.setenv("TIDEGATE_DATA_DIR", str(here))
    assert locate().url == "http://127.0.0.1:2"


def test_the_directory_gives_the_token_to_a_url_on_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = platform(tmp_path / "here", 1)
    assert locate(url="http://localhost:1/", data_dir=here).token == "token-1"
    assert locate(url="http://models.example:8800", data_dir=here).token is None
    monkeypatch.setenv("TIDEGATE_API_KEY", "predicts")
    assert locate(url="http://models.example:8800", data_dir=here).token is None, "it is no key of the control plane"
    monkeypatch.setenv("TIDEGATE_TOKEN", "key")
    assert locate(url="http://models.example:8800", data_dir=here).token == "key"
    assert locate(url="http://models.example:8800", token="mine", data_dir=here).token == "mine"


def test_the_gateway_is_known_only_for_the_platform_of_the_directory(tmp_path: Path) -> None:
    here = platform(tmp_path / "here", 1)
    assert locate(url="http://127.0.0.1:1/", data_dir=here).gateway_url == "http://127.0.0.1:8000"
    assert locate(url="http://127.0.0.1:9", data_dir=here).gateway_url is None


def test_no_platform(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match=f"{tmp_path / 'none'}.*tidegate up"):
        locate(data_dir=tmp_path / "none")


@pytest.mark.parametrize("url", ["127.0.0.1:8800", "ftp://x", "http://", "unix:/x"])
def test_urls_that_are_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is not an http URL"):
        locate(url=url, data_dir=tmp_path)
