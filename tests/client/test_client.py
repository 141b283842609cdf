"""The client against the real API of a control plane (no loops run: endpoints stay where services leave them)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from support.control import container_at
from tidegate import Client, errors
from tidegate.api.app import create_app
from tidegate.client.models import save_model


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    data_dir = tmp_path_factory.mktemp("data")
    container = container_at(data_dir)
    container.take_over()
    container.start()
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(container), log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with Client(url=f"http://127.0.0.1:{listening.getsockname()[1]}", token=container.keys.token) as made:
            yield made
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
        container.close()


@pytest.fixture(scope="module")
def frame() -> Any:
    rows, truth = load_breast_cancer(return_X_y=True, as_frame=True)
    return rows.assign(benign=truth)


@pytest.fixture(scope="module")
def pipeline(frame: Any) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(
        frame.drop(columns="benign"), frame["benign"]
    )


@pytest.fixture(scope="module")
def churn(client: Client, frame: Any, pipeline: Any) -> str:
    """A registered model with a version."""
    said: list[str] = []
    version = client.register(
        pipeline,
        name="churn",
        validation_data=frame,
        target="benign",
        label="v1.0.0",
        tags={"team": "risk"},
        on_progress=lambda message, _: said.append(message),
    )
    assert (version.version, version.label, version.tags["team"]) == ("1", "v1.0.0", "risk")
    truth = frame["benign"].tolist()
    assert version.score == pytest.approx(pipeline.score(frame.drop(columns="benign"), truth))
    assert said[0] == "uploading model.skops"
    return "churn"


def test_the_same_file_again_is_the_same_version(client: Client, pipeline: Any, tmp_path: Path) -> None:
    path = save_model(pipeline, tmp_path, allow_pickle=False)
    assert client.register(path, name="twice").version == "1"
    job = client.register(path, name="twice", wait=False)
    assert client.wait_for_job(job.id).result == {"model": "twice", "version": "1", "created": False}
    assert [version.version for version in client.model("twice").versions] == ["1"]


def test_models_versions_and_aliases(client: Client, churn: str) -> None:
    assert churn in [model.name for model in client.models()]
    client.set_alias(churn, "champion", 1)
    assert client.version(churn, "@champion") == client.version(churn, "v1.0.0")
    assert client.version(churn, 1).aliases == ["champion"]
    with pytest.raises(errors.UnknownVersion):
        client.version(churn, 9)


def test_a_version_below_the_gate_raises_the_gates_error(client: Client, frame: Any) -> None:
    poor = LogisticRegression().fit(frame.drop(columns="benign").mul(0), frame["benign"])
    with pytest.raises(errors.ScoreBelowGate, match=r"0\.99"):
        client.register(poor, name="poor", validation_data=frame, target="benign", min_score=0.99)
    with pytest.raises(errors.UnknownModel):
        client.model("poor")


def test_a_pickle_needs_a_grant_and_trust_is_one(client: Client, pipeline: Any, tmp_path: Path) -> None:
    import joblib

    joblib.dump(pipeline, tmp_path / "model.joblib")
    with pytest.raises(errors.PickleNotGranted):
        client.register(tmp_path / "model.joblib", name="pickled")
    assert client.trust("pickled", pickle=True).pickle_trusted
    assert client.register(tmp_path / "model.joblib", name="pickled").pickle_granted
    client.delete_version("pickled", 1)
    client.delete_model("pickled")
    with pytest.raises(errors.UnknownModel):
        client.model("pickled")


def test_changes_of_an_endpoint(client: Client, churn: str) -> None:
    asked = client.deploy(f"{churn}:v1.0.0", endpoint="eu", wait=False)
    assert (asked.name, asked.target, asked.status) == ("eu", {"1": 100}, "deploying")
    with pytest.raises(errors.DeadlineExceeded, match="'eu'"):
        client.wait_for_endpoint(asked, timeout_s=0.1)
    assert client.scale("eu", 2, wait=False).name == "eu"
    with pytest.raises(errors.Conflict):
        client.rollback("eu", wait=False)
    with pytest.raises(errors.InvalidArgument, match="100"):
        client.traffic("eu", {"1": 90}, wait=False)
    assert [entry.action for entry in client.history("eu")] == ["scale", "deploy"]
    assert client.logs("eu") == []
    assert "eu" in [endpoint.name for endpoint in client.endpoints()]
    client.delete("eu", wait=False)
    assert client.endpoint("eu").status == "deleting"


def test_jobs_and_status(client: Client, churn: str) -> None:
    jobs = client.jobs(state="succeeded", subject=churn, limit=1)
    assert [job.subject for job in jobs] == [churn]
    assert client.job(jobs[0].id) == jobs[0]
    with pytest.raises(errors.UnknownJob):
        client.job("nothing")
    status = client.status()
    assert status.models
    assert status.database is not None
    assert status.database.status == "ready"
    assert client.gateway_url == status.gateway_url


def test_without_the_token_the_door_is_shut(client: Client) -> None:
    with Client(url=client.location.url, token="wrong") as stranger, pytest.raises(errors.Unauthenticated):
        stranger.models()


def test_predict_asks_the_gateway(standin: Any, client: Client) -> None:
    answer = {"prediction": [1], "confidence": 0.97, "model_version": "2", "id": "r-1"}
    standin.says("POST /predict/churn", answer, X_Tidegate_Version="2")
    with Client(url=client.location.url, gateway_url=standin.url) as caller:
        found = caller.predict("churn", [1.0, 2.0], version=2, key="user-7")
    assert (found.prediction, found.confidence, found.model_version, found.id) == ([1], 0.97, "2", "r-1")
    (asked,) = standin.asked
    assert asked.body == b'{"features":[1.0,2.0],"model_version":"2"}'
    assert asked.headers["x-tidegate-key"] == "user-7"


def test_a_change_worked_out_from_what_was_read_undoes_nobody_elses(client: Client, churn: str) -> None:
    read = client.deploy(churn, endpoint="read-first", wait=False)
    changed = client.scale("read-first", 2, wait=False, only_if=read)
    with pytest.raises(errors.ChangedMeanwhile):
        client.traffic("read-first", {"1": 100}, wait=False, only_if=read)
    with pytest.raises(errors.ChangedMeanwhile):
        client.deploy(churn, endpoint="read-first", replicas=5, wait=False, only_if=read)
    with pytest.raises(errors.ChangedMeanwhile):
        client.delete("read-first", wait=False, only_if=read)
    assert client.endpoint("read-first").revision == changed.revision
    client.delete("read-first", wait=False, only_if=changed)
