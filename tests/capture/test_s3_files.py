"""Captured rows in S3, from the compactor to SQL, and what is said where S3 is away, empty or refuses."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from support.answering import closed_port
from support.capture_bed import AT_S, Gateway, batch
from support.services.s3 import S3
from tidegate.adapters.capture.forgetting import ForgetFiles
from tidegate.adapters.capture.queries import SqlProcesses
from tidegate.adapters.capture.rows import StoredRows
from tidegate.capture.files import CaptureUnavailable
from tidegate.capture.location import Location
from tidegate.capture.s3_files import S3Files
from tidegate.compactor.run import Compactor
from tidegate.doctor import servers
from tidegate.doctor.findings import DoctorFacts, FindingState
from tidegate.errors import CaptureUnreadable, PartUnavailable
from tidegate.settings import Settings
from tidegate.wire.capture.capture import CaptureSelection, read_state

pytestmark = [pytest.mark.slow, pytest.mark.long]
BUCKET = "captured"


@pytest.fixture(scope="module")
def server(s3: S3) -> S3:
    s3.make_bucket(BUCKET)
    return s3


@pytest.fixture(autouse=True)
def _keys(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)


def _settings(server_url: str, folder: Path, url: str) -> Settings:
    env = {"TIDEGATE_CAPTURE_URL": url, "TIDEGATE_CAPTURE_S3_ENDPOINT_URL": server_url}
    return Settings.from_env(env, data_dir=folder)


def _compactor(settings: Settings) -> Compactor:
    return Compactor(settings, threading.Event(), lambda: AT_S + 3600)


def test_what_a_gateway_wrote_is_in_sql_and_columns_before_and_after_it_is_in_s3(server: S3, tmp_path: Path) -> None:
    settings = _settings(server.url, tmp_path, f"s3://{BUCKET}/whole")
    gateway = Gateway(tmp_path / "journal")
    gateway.write(batch("a", rows=3))
    gateway.seal()
    location = Location.of(settings)
    processes = SqlProcesses(tmp_path, location=location)
    query = CaptureSelection("churn", "SELECT id, input_age FROM predictions ORDER BY 2", AT_S, AT_S + 60)
    before = msgspec.json.decode(processes.run(query))
    assert [row["id"] for row in before["rows"]] == ["a"] * 3
    assert processes.endpoints() == []
    assert _compactor(settings).run(once=True) == 0
    assert list((tmp_path / "capture").rglob("*.parquet")) == []
    assert msgspec.json.decode(processes.run(query)) == before
    assert (processes.endpoints(), ForgetFiles(tmp_path, location).has_rows_of("churn")) == (["churn"], True)
    assert StoredRows(tmp_path, location).rows("predictions", "churn", 0, AT_S + 60)["id"].tolist() == ["a"] * 3
    assert servers.capture_store(DoctorFacts(settings, {}))[0] is FindingState.OK


def test_where_s3_cannot_be_used_the_journal_keeps_what_waits_and_a_sentence_says_why(
    server: S3, tmp_path: Path
) -> None:
    gateway = Gateway(tmp_path / "journal")
    gateway.write(batch("a"))
    gateway.seal()
    missing = _settings(server.url, tmp_path, "s3://nobody-made-it/x")
    assert _compactor(missing).run(once=True) == 1
    state = read_state(tmp_path / "capture")
    assert state is not None
    assert "has no bucket 'nobody-made-it': make it, or correct TIDEGATE_CAPTURE_URL" in state.trouble
    assert state.backlog_segments == 1
    with pytest.raises(PartUnavailable, match="has no bucket 'nobody-made-it'"):
        servers.capture_store(DoctorFacts(missing, {}))
    with pytest.raises(CaptureUnreadable, match="has no bucket"):
        SqlProcesses(tmp_path, location=Location.of(missing)).run(
            CaptureSelection("churn", "SELECT id FROM predictions", AT_S, AT_S + 60)
        )
    with pytest.raises(CaptureUnreadable, match="has no bucket"):
        StoredRows(tmp_path, Location.of(missing)).rows("predictions", "churn", 0, AT_S + 60)
    assert _compactor(_settings(server.url, tmp_path, f"s3://{BUCKET}/late")).run(once=True) == 0
    state = read_state(tmp_path / "capture")
    assert state is not None
    assert (state.trouble, state.rows, state.backlog_segments) == ("", 1, 0)


def test_refused_keys_are_told_from_a_server_that_is_away(server: S3, tmp_path: Path) -> None:
    server.refuse_keys(True)
    try:
        with pytest.raises(CaptureUnavailable, match=r"refuses the keys for the bucket 'captured'.*AWS_ACCESS_KEY_ID"):
            S3Files(f"s3://{BUCKET}/x", server.url).check()
        with pytest.raises(PartUnavailable, match="refuses the keys"):
            servers.capture_store(DoctorFacts(_settings(server.url, tmp_path, f"s3://{BUCKET}/x"), {}))
    finally:
        server.refuse_keys(False)
    with closed_port() as port:
        away = _settings(f"http://127.0.0.1:{port}", tmp_path, f"s3://{BUCKET}/x")
        with pytest.raises(CaptureUnavailable, match=rf"S3 at 127.0.0.1:{port} does not answer"):
            S3Files(f"s3://{BUCKET}/x", f"http://127.0.0.1:{port}", attempts_max=1).check()
        with pytest.raises(PartUnavailable, match="refuses connections"):
            servers.capture_store(DoctorFacts(away, {}))
