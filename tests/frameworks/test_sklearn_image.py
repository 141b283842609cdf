"""An image of a scikit-learn model as it was pickled: with large libraries, so not among the quick tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.docker_engine import cache_dir, engine_or_skip, running_engine
from support.models import Models
from support.platform import Platform

pytestmark = pytest.mark.timeout(1200)  # the first time, the base image is made


def test_a_pickled_pipeline_of_named_columns_predicts_in_its_image(models: Models, tmp_path: Path) -> None:
    engine_or_skip()
    with running_engine() as engine:
        env = {"DOCKER_HOST": engine.host, "TIDEGATE_IMAGE_BASE": engine.base}
        platform = Platform(tmp_path / "data", env={**env, "TIDEGATE_WHEELS_DIR": str(cache_dir() / "wheels")})
        try:
            platform.start()
            given = (models.path("table.joblib"), "--name", "table", "--allow-pickle", "--no-accelerate")
            platform.done("register", *given, timeout_s=180)
            image = platform.done("build", "table", timeout_s=900)
        finally:
            platform.stop()
        names = {component["name"] for component in image["sbom"]["components"]}
        assert {"scikit-learn", "pandas", "joblib"} <= names  # the build has seen it predict with these
        assert not names & {"mlflow-skinny", "sqlalchemy", "onnxruntime"}
        assert image["pickle_granted"] is True
