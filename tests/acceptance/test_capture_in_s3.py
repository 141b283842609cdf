"""A platform whose captured rows are in S3: what was predicted is compacted there, read, imported and forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.models import Models
from support.platform import Platform
from support.services.s3 import S3
from support.wait import until
from tidegate.capture.s3_files import S3Files

pytestmark = [pytest.mark.slow, pytest.mark.long]


def test_captured_rows_in_s3(s3: S3, models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    s3.make_bucket("captured-by-a-platform")
    url = "s3://captured-by-a-platform/rows"
    files = S3Files(url, s3.url)
    env = {**s3.env, "TIDEGATE_CAPTURE_URL": url, "TIDEGATE_CAPTURE_S3_ENDPOINT_URL": s3.url}
    platform = Platform(tmp_path / "data", env=env)
    try:
        platform.start()
        platform.done("deploy", models.path("logistic.joblib"), "--name", "stored", "--allow-pickle")
        for unit in ("anna", "bob", "anna"):
            platform.predict("stored", models.rows[0].tolist(), user_id=unit)

        def keys() -> list[str]:
            sql = "SELECT key FROM predictions ORDER BY key"
            found = platform.done("capture", "stored", "--since", "2h", "--sql", sql)
            return [row["key"] for row in found]

        until(lambda: keys() == ["anna", "anna", "bob"], what="rows of the journal")
        platform.stop()
        platform.start()  # what the gateway had open is abandoned now, and compacted
        until(lambda: len(files.below("predictions")) >= 1, what="rows in S3")
        assert list((platform.data_dir / "capture").rglob("*.parquet")) == []
        assert keys() == ["anna", "anna", "bob"]
        doctor = json.loads(platform.cli("doctor", "--json").out)
        assert {one["part"]: one["state"] for one in doctor["parts"]}["capture store"] == "ok"
        platform.done("capture-forget", "stored", "--key", "anna", "--yes")
        until(lambda: keys() == ["bob"], what="a unit that is forgotten")
        until(lambda: platform.done("status")["capture"]["status"] == "ready", what="a compactor without trouble")
    finally:
        platform.stop()
