"""`tidegate doctor` and an MLflow server that passes artifacts on, as Compose's does: S3 is the server's own affair."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.platform import tidegate
from support.services.mlflow import PassingMlflow
from support.services.s3 import PASSED_ON, S3

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(400)]  # the server is slow to start


def test_the_bucket_behind_a_server_is_looked_at_through_it(
    passing_mlflow: PassingMlflow, s3: S3, tmp_path: Path
) -> None:
    def told(part: str) -> str:
        ran = tidegate("doctor", "--json", "--data-dir", str(tmp_path / "data"), env=passing_mlflow.env)
        assert "only-for-tests" not in ran.said
        found = {one["part"]: f"{one['state']}: {one['said']}" for one in ran.json["parts"]}
        return str(found[part])

    passing_mlflow.wait()
    where = f"127.0.0.1:{passing_mlflow.port}"
    well = told("mlflow")
    assert well.startswith("ok: MLflow 3.")
    assert well.endswith(f"at {where} answers and keeps the artifacts")
    assert told("s3").startswith("off: ")
    s3.stop()
    try:
        assert f"at {where} answers, but does not reach its artifacts" in told("mlflow")
        s3.start()
        missing = told("mlflow")
        assert missing.startswith("wrong: ")
        assert "is their store up, the bucket there, and are the keys right? See the server's log" in missing
    finally:
        s3.stop()
        s3.start().make_bucket()
        s3.make_bucket(PASSED_ON)
    assert told("mlflow") == well
