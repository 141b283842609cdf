"""What `tidegate export --format ecs` writes, sent as it says: a version runs by itself, without a platform."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
import urllib3

from support.ecs.replicas import Image
from support.ecs.server import FakeAws
from support.images import plain_model
from support.replicas import packaged
from support.wait import until
from tidegate.core.manifests.export import manifests_of
from tidegate.core.manifests.served import ExportSettings, Known, KnownImage, ServedRequest
from tidegate.settings import Settings

PUSHED, KEY = f"registry.example.com/team/churn@sha256:{'c' * 64}", "a-key-that-clients-send"


@pytest.mark.parametrize("launch_type", ["FARGATE", "EC2"])
def test_exported_requests_run_a_version_that_answers(aws: FakeAws, tmp_path: Path, launch_type: str) -> None:
    file, manifest = packaged(plain_model(tmp_path / "plain"), tmp_path, version="3")
    aws.cluster.images[PUSHED] = Image(file)
    aws.cluster.parameters["/tidegate/tidegate-churn"] = KEY
    settings = ExportSettings.of(Settings.from_env(ecs_launch_type=launch_type))
    document = {"endpoint": "churn", "model": "churn", "version": 3}
    known = Known(manifest.digest, KnownImage("churn:3", PUSHED))
    answer = manifests_of(
        [document], "ecs", ServedRequest(autoscaler="none"), settings, lambda _model, version: (version, known)
    )
    ecs = boto3.client("ecs", region_name="eu-west-1")
    for one in answer.documents:
        getattr(ecs, one["command"].partition(" ")[2].replace("-", "_"))(**one["input"])

    def running() -> str:
        living = aws.cluster.living(aws.cluster.services["tidegate-churn"])
        return next((task.ip for task in living if task.health == "HEALTHY"), "")

    url = f"http://{until(running, what='a task that is healthy')}:8000/predict"
    headers = {"authorization": f"Bearer {KEY}"}  # by loopback a replica without a platform asks for none
    answered = urllib3.request("POST", url, json={"features": [1.0, 2.0]}, headers=headers, timeout=20)
    assert (answered.status, answered.json()["model_version"]) == (200, "3")
    ecs.delete_service(cluster="tidegate-tests", service="tidegate-churn", force=True)
    until(lambda: aws.cluster.services["tidegate-churn"].status == "INACTIVE", what="its end")
    aws.cluster.parameters.clear()
