"""A file of settings: what is known goes into the environment, what is there already stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidegate.env_file import take


def test_known_settings_alone_and_never_over_those_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://mine")
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.delenv("DATABASE_URL")
    (tmp_path / "env").write_text(
        "# a=b\nDATABASE_URL=postgresql://u:p=q@h/d\nREDIS_URL=redis://other\nS3_SECRET_KEY=s\n"
    )
    take(tmp_path / "env")
    assert os.environ["DATABASE_URL"] == "postgresql://u:p=q@h/d"
    assert os.environ["REDIS_URL"] == "redis://mine"
    assert "S3_SECRET_KEY" not in os.environ


def test_without_a_file_nothing_happens(tmp_path: Path) -> None:
    before = dict(os.environ)
    take(tmp_path / "env")
    assert dict(os.environ) == before
