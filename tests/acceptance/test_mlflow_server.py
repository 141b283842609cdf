"""Models that a training script logged to an MLflow server with its artifacts in S3: deployed as they are, followed.

The servers are real and slow to start, so one platform goes through all of it, a step a test, in order.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support import train_mlflow
from support.platform import Platform, clean_env, tidegate
from support.services.mlflow import Mlflow
from support.services.s3 import S3
from support.wait import until
from tidegate.adapters.mlflow.registry import MlflowRegistry
from tidegate.errors import RegistryUnavailable

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(400)]

CALM_S = 120.0


@dataclass
class World:
    """The platform, the servers and what the training script's models say."""

    platform: Platform
    mlflow: Mlflow
    s3: S3
    folder: Path
    says: dict[str, Any]

    def move(self, version: int, alias: str = "champion") -> None:
        """Move the alias in MLflow, as its own interface does."""
        self._mlflow(f"set_registered_model_alias('churn', {alias!r}, '{version}')")

    def delete_there(self, version: int) -> None:
        self._mlflow(f"delete_model_version('churn', '{version}')")

    def _mlflow(self, call: str) -> None:
        code = f"import mlflow; mlflow.MlflowClient().{call}"
        subprocess.run([sys.executable, "-c", code], env=clean_env(**self.mlflow.env), check=True, timeout=CALM_S)

    def endpoint(self, state: str, version: int) -> Any:
        """The endpoint once it says so of the alias."""

        def look() -> Any:
            seen = self.platform.endpoint("churn")
            follow = seen["follow"]
            return seen if (follow["state"], follow["version"]) == (state, str(version)) else None

        return until(look, CALM_S, f"following {state} at {version}")

    def serves(self, version: int) -> None:
        """It answers as this version of the training script's models does."""

        def right() -> bool:
            answer = self.platform.predict("churn", self.says["rows"]).json()
            return bool(answer.get("confidence") == pytest.approx(self.says["churn"][version - 1], rel=1e-6))

        until(right, CALM_S, f"version {version} answering")

    def registry(self, status: str, reason: str = "") -> str:
        """The platform's word on the registry, once it is this."""

        def look() -> str:
            view = self.platform.api("GET", "/api/v1/status").json()["registry"]
            told = str(view["reason"])
            return told or "-" if view["status"] == status and reason in told else ""

        return until(look, CALM_S, f"registry {status} ({reason})")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mlflow_server: Mlflow, s3: S3) -> Iterator[World]:
    """Everything started, and the models trained."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    env = {**mlflow_server.env, **s3.env, "TIDEGATE_REGISTRY_POLL_S": "0.5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    platform = Platform(folder / "data", env=env)
    try:
        mlflow_server.wait()
        argv = [sys.executable, "-P", train_mlflow.__file__, str(folder)]
        training = subprocess.Popen(
            argv,
            env=clean_env(**mlflow_server.env, **s3.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        platform.start()
        with training:
            said, _ = training.communicate(timeout=240)
        assert training.returncode == 0, said
        yield World(platform, mlflow_server, s3, folder, json.loads((folder / "says.json").read_text()))
    finally:
        platform.stop()


def test_a_pickle_takes_the_trust_of_its_name_and_is_deployed_as_it_is_and_followed(world: World) -> None:
    follow = ["deploy", "churn@champion", "--follow", "--no-accelerate", "--validation-data"]
    follow += [str(world.folder / "holdout.csv"), "--target", "y", "--min-score", "0.9"]
    refused = world.platform.failed(*follow)
    assert refused["code"] == "pickle_not_granted"
    assert "tidegate models trust" in refused["error"]
    assert world.platform.done("models")["models"] == [], "nothing half-done"
    world.platform.done("models", "trust", "churn", "--pickle")
    done = world.platform.done(*follow)
    assert (done["follow"]["alias"], done["follow"]["version"], done["traffic"]) == ("champion", "1", {"1": 100.0})
    world.serves(1)
    version = world.platform.done("models", "show", "churn@champion")
    assert version["pickle_granted"] is True
    assert version["score"] > 0.9
    assert version["run_id"]
    assert "champion" in version["aliases"]


def test_what_is_no_pickle_needs_no_trust(world: World) -> None:
    done = world.platform.done("deploy", "models:/trees/1", "--no-accelerate")
    assert done["traffic"] == {"1": 100.0}
    assert world.platform.predict("trees", world.says["rows"]).json()["prediction"] == world.says["trees"]
    assert world.platform.failed("deploy", "trees:2")["code"] == "unknown_version"
    assert world.platform.failed("deploy", "nobody@champion")["code"] == "unknown_version"


def test_a_moved_alias_is_rolled_to_and_one_that_fails_the_gate_is_refused_visibly(world: World) -> None:
    world.move(2)
    world.endpoint("current", 2)
    world.serves(2)
    world.move(3)
    seen = world.endpoint("refused", 3)
    assert (seen["target"], seen["traffic"]) == ({"2": 100.0}, {"2": 100.0})
    assert "does not follow @champion to version 3" in seen["reason"]
    assert "score" in seen["reason"]
    history = world.platform.api("GET", "/api/v1/endpoints/churn/history").json()["history"]
    assert [(entry["action"], entry["actor"]) for entry in history[:2]] == [
        ("refused", "@champion"),
        ("follow", "@champion"),
    ]
    assert "version 3" in history[0]["note"]
    said = world.platform.cli("status", "churn").out
    assert "follows @champion: version 3 is refused" in said
    world.serves(2)


def test_without_mlflow_and_s3_replicas_restart_roll_back_and_scale(world: World) -> None:
    kept = world.s3.copy()
    world.mlflow.kill()
    world.s3.stop()
    try:
        away = world.registry("unavailable", "does not answer")
        assert world.mlflow.url in away
        assert "only-for-tests" not in away
        for pid in world.platform.replica_pids():
            os.kill(pid, signal.SIGKILL)
        world.serves(2)
        world.platform.done("rollback", "churn")
        world.serves(1)
        world.platform.done("scale", "churn", "--replicas", "2")
        assert "does not answer" in world.platform.endpoint("churn")["follow"]["trouble"]
        error = world.platform.failed("deploy", "churn@champion")
        assert error["code"] == "registry_unavailable"
        assert f"registry MLflow at {world.mlflow.url}" in world.platform.cli("status").out
    finally:
        world.mlflow.begin()
        world.s3.start()
        world.mlflow.wait()
    assert "there is no bucket s3://models" in world.registry("unavailable", "bucket")
    world.move(4)
    seen = world.endpoint("waiting", 4)
    assert "there is no bucket s3://models" in seen["reason"]
    world.s3.make_bucket()
    world.s3.refuse_keys(True)
    assert "AWS_SECRET_ACCESS_KEY" in world.registry("unavailable", "refuses these credentials")
    world.s3.refuse_keys(False)
    world.s3.put_back(kept)
    world.registry("ready")
    world.endpoint("current", 4)
    world.serves(4)


def test_a_version_that_is_deleted_in_mlflow_runs_on(world: World) -> None:
    world.delete_there(4)
    until(lambda: "has no alias 'champion'" in world.platform.endpoint("churn")["reason"], CALM_S, "the alias's end")
    for pid in world.platform.replica_pids():
        os.kill(pid, signal.SIGKILL)
    world.serves(4)
    done = world.platform.done("traffic", "churn", "4=50", "2=50")
    assert done["follow"] is None


def test_a_wrong_password_is_said_without_the_password(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    registry = MlflowRegistry.remote(world.mlflow.url.replace("//", "//tidegate:a-wrong-one@"))
    with pytest.raises(RegistryUnavailable, match="refuses these credentials") as refused:
        registry.check()
    assert "a-wrong-one" not in refused.value.message
    assert "MLFLOW_TRACKING_PASSWORD" in refused.value.message


def test_the_doctor_says_of_server_and_bucket_what_is_wrong(world: World, tmp_path: Path) -> None:
    def told(**more: str) -> dict[str, str]:
        """The lines of both, each after its state."""
        env = {**world.mlflow.env, **world.s3.env, **more}
        ran = tidegate("doctor", "--json", "--data-dir", str(tmp_path / "data"), env=env)
        assert "only-for-tests" not in ran.said
        lines = {part["part"]: f"{part['state']}: {part['said']}" for part in ran.json["parts"]}
        assert ran.code == (1 if "wrong:" in " ".join(lines.values()) else 0), ran.said
        return {part: lines[part] for part in ("mlflow", "s3")}

    well = told()
    assert well["mlflow"].startswith("ok: MLflow 3.")
    assert well["mlflow"].endswith("artifacts in s3://models/mlflow/0")
    assert well["s3"] == f"ok: 127.0.0.1:{world.s3.port} answers and has the bucket 'models'"
    wrong = told(MLFLOW_TRACKING_PASSWORD="a-wrong-one")["mlflow"]
    assert wrong.startswith("wrong: MLflow at")
    assert wrong.endswith("set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN")
    kept = world.s3.copy()
    world.s3.refuse_keys(True)
    assert "refuses the keys (403): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in told()["s3"]
    world.s3.stop()
    world.s3.start()
    assert "has no bucket 'models', where MLflow keeps artifacts: make it" in told()["s3"]
    world.s3.stop()
    world.mlflow.kill()
    try:
        away = told()
        assert away["mlflow"].endswith("refuses connections: start it, or correct MLFLOW_TRACKING_URI")
        assert away["s3"].endswith("refuses connections: start it, or correct MLFLOW_S3_ENDPOINT_URL")
    finally:
        world.mlflow.begin()
        world.s3.start().make_bucket()
        world.s3.put_back(kept)
        world.mlflow.wait()
    assert told() == well
