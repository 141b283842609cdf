"""A model of an older scikit-learn is loaded in an environment with that one, or refused. Needs a package index."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.platform import Platform, tidegate
from support.wheels import only_from
from tidegate.environments import Environments, Requirements
from tidegate.errors import EnvironmentFailed

OLDER = "1.7"

TRAIN = """
import json, sys
import joblib, sklearn, skops.io
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

frame, target = load_diabetes(return_X_y=True, as_frame=True)
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, target > 140)
joblib.dump(model, sys.argv[1])
skops.io.dump(model, sys.argv[1].replace(".joblib", ".skops"))
print(json.dumps([sklearn.__version__, frame.head(20).to_dict("records"), model.predict(frame.head(20)).tolist()]))
"""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any], list[bool]]:
    """A model file of the older version, rows, and what that version answers to them."""
    scratch = tmp_path_factory.mktemp("older")
    wanted = Requirements.read(f"scikit-learn=={OLDER}.*\npandas\nskops\n")
    try:
        with Environments(scratch / "environments").lease(wanted, lambda _step: None) as found:
            argv = [str(found.python), "-c", TRAIN, str(scratch / "model.joblib")]
            done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120)
    except EnvironmentFailed as error:
        pytest.skip(f"scikit-learn {OLDER} cannot be installed here: {error.message[-300:]}")
    version, rows, answers = json.loads(done.stdout)
    assert version.startswith(OLDER)
    return scratch / "model.joblib", rows, answers


@pytest.mark.timeout(600)
def test_it_is_served_by_the_version_it_was_saved_with(
    own_platform: Platform, older: tuple[Path, list[Any], list[bool]]
) -> None:
    path, rows, answers = older
    platform = own_platform.start()
    deployed = platform.done("deploy", str(path), "--name", "older", "--allow-pickle", timeout_s=500)
    assert deployed
    answer: httpx.Response = platform.predict("older", rows)
    assert answer.json()["prediction"] == answers
    manifest = json.loads((platform.data_dir / "versions" / "older" / "1.json").read_text())
    assert manifest["library_versions"]["scikit-learn"].startswith(OLDER)
    assert (platform.data_dir / "environments" / manifest["environment"] / "bin" / "python").exists()

    safe = str(path.with_suffix(".skops"))
    platform.done("deploy", safe, "--name", "older-skops", "--allow-pickle", timeout_s=500)
    assert platform.predict("older-skops", rows).json()["prediction"] == answers


def test_serve_says_how_to_serve_it(older: tuple[Path, list[Any], list[bool]]) -> None:
    refused = tidegate("serve", str(older[0]), "--allow-pickle")
    assert refused.code == 1
    assert f"saved with scikit-learn {OLDER}" in refused.err
    assert "tidegate register FILE" in refused.err


def test_without_an_index_it_is_refused_with_the_reason(
    own_platform: Platform, older: tuple[Path, list[Any], list[bool]], tmp_path: Path
) -> None:
    own_platform.env = only_from(tmp_path)
    refused = own_platform.start().failed("register", str(older[0]), "--name", "older", "--allow-pickle")
    assert refused["code"] == "environment_failed"
    assert f"saved with scikit-learn {OLDER}" in refused["error"]
    assert "No matching distribution" in refused["error"], sys.version
