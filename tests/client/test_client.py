"""The client against the real API of a control plane, over HTTP and in process (no loops run: endpoints stay where
services leave them).
"""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import skops.io
import uvicorn
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from support.control import container_at
from tidegate import Client, errors
from tidegate.api.app import create_app
from tidegate.client.registration.saving import save_model
from tidegate.client.rest import paging
from tidegate.client.transport.in_process import Caller, InProcess
from tidegate.wiring import Container


@dataclass(frozen=True)
class Reached:
    """A control plane, and how to make clients of it over the transport that is tested."""

    container: Container
    of: Callable[..., Client]


@contextmanager
def _over_http(container: Container) -> Iterator[Reached]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(container), log_level="warning", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        yield Reached(container, lambda token, **more: Client(url=url, token=token, **more))
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@contextmanager
def _in_process(container: Container) -> Iterator[Reached]:
    api = InProcess(create_app(container))
    try:
        yield Reached(container, lambda token, **more: Client.in_process(api, Caller(f"Bearer {token}"), **more))
    finally:
        api.close()


@pytest.fixture(scope="module", params=[_over_http, _in_process], ids=["HTTP", "in process"])
def reached(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    container = container_at(tmp_path_factory.mktemp("data"))
    container.take_over()
    container.start()
    try:
        with request.param(container) as made:
            yield made
    finally:
        container.close()


@pytest.fixture(scope="module")
def client(reached: Reached) -> Iterator[Client]:
    with reached.of(reached.container.keys.token) as made:
        yield made


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
def saved(pipeline: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(pipeline, tmp_path_factory.mktemp("model"), allow_pickle=False)


@pytest.fixture(scope="module")
def churn(client: Client, frame: Any, saved: Path) -> str:
    """A registered model with a version."""
    said: list[str] = []
    version = client.register(
        saved,
        name="churn",
        validation_data=frame,
        target="benign",
        label="v1.0.0",
        tags={"team": "risk"},
        accelerate=False,
        on_progress=lambda message, _: said.append(message),
    )
    assert (version.version, version.label, version.tags["team"]) == ("1", "v1.0.0", "risk")
    truth = frame["benign"].tolist()
    assert version.score == pytest.approx(skops.io.load(saved).score(frame.drop(columns="benign"), truth))
    assert said[0] == "uploading model.skops"
    return "churn"


def test_the_same_model_again_is_the_same_version(client: Client, churn: str, pipeline: Any, saved: Path) -> None:
    job = client.register(saved, name=churn, wait=False)
    assert client.jobs.wait(job.id).result == {"model": churn, "version": "1", "created": False}
    assert client.register(pipeline, name="objects", accelerate=False).framework == "skops"
    assert [version.version for version in client.models.get(churn).versions] == ["1"]


def test_models_versions_and_aliases(client: Client, churn: str) -> None:
    assert churn in [model.name for model in client.models.list()]
    client.models.set_alias(churn, "champion", 1)
    assert client.models.version(churn, "@champion") == client.models.version(churn, "v1.0.0")
    assert client.models.version(churn, 1).aliases == ["champion"]
    with pytest.raises(errors.UnknownVersion):
        client.models.version(churn, 9)


def test_a_version_below_the_gate_raises_the_gates_error(client: Client, frame: Any) -> None:
    poor = LogisticRegression().fit(frame.drop(columns="benign").mul(0), frame["benign"])
    with pytest.raises(errors.ScoreBelowGate, match=r"0\.99"):
        client.register(poor, name="poor", validation_data=frame, target="benign", min_score=0.99)
    with pytest.raises(errors.UnknownModel):
        client.models.get("poor")


def test_a_pickle_needs_a_grant_and_trust_is_one(client: Client, pipeline: Any, tmp_path: Path) -> None:
    import joblib

    joblib.dump(pipeline, tmp_path / "model.joblib")
    with pytest.raises(errors.PickleNotGranted):
        client.register(tmp_path / "model.joblib", name="pickled")
    assert client.models.trust("pickled", pickle=True).pickle_trusted
    assert client.register(tmp_path / "model.joblib", name="pickled", accelerate=False).pickle_granted
    client.models.delete_version("pickled", 1)
    client.models.delete("pickled")
    with pytest.raises(errors.UnknownModel):
        client.models.get("pickled")


def test_changes_of_an_endpoint(client: Client, churn: str) -> None:
    asked = client.deploy(f"{churn}:v1.0.0", endpoint="eu", wait=False)
    assert (asked.name, asked.target, asked.status) == ("eu", {"1": 100}, "deploying")
    with pytest.raises(errors.DeadlineExceeded, match="'eu'"):
        client.endpoints.wait_for(asked, timeout_s=0.1)
    assert client.endpoints.scale("eu", 2, wait=False).name == "eu"
    followed = client.endpoints.scale("eu", min=2, max=5, target="concurrency=4", down_s=60.0, wait=False).scaling
    assert followed is not None
    assert (followed.min, followed.max, followed.metric, followed.target, followed.down_s) == (
        2,
        5,
        "concurrency",
        4,
        60,
    )
    assert [(one.version, one.rule) for one in client.endpoints.explain_scale("eu").versions] == [("1", "unknown")]
    assert client.endpoints.scale("eu", 1, wait=False).scaling is None
    with pytest.raises(errors.Conflict):
        client.rollback("eu", wait=False)
    with pytest.raises(errors.InvalidArgument, match="100"):
        client.traffic("eu", {"1": 90}, wait=False)
    assert [entry.action for entry in client.endpoints.history("eu")] == ["scale", "scale", "scale", "deploy"]
    assert client.endpoints.logs("eu") == []
    assert "eu" in [endpoint.name for endpoint in client.endpoints.list()]
    client.endpoints.delete("eu", wait=False)
    assert client.endpoints.get("eu").status == "deleting"


def test_lists_are_read_page_by_page(client: Client, churn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("page-a", "page-b", "page-c"):
        client.deploy(churn, endpoint=name, wait=False)
    whole = client.endpoints.list()
    first = client.endpoints.page(limit=2)
    assert (first.rows, first.next) == (whole[:2], whole[1].name)
    assert client.endpoints.page(limit=1000, cursor=first.next).rows == whole[2:]
    monkeypatch.setattr(paging, "ROWS_AT_ONCE", 2)
    assert client.endpoints.list() == whole
    assert client.models.list() == client.models.page(1000).rows
    assert client.jobs.page(limit=1).rows == client.jobs.list(limit=1)
    with pytest.raises(errors.InvalidArgument, match="limit"):
        client.endpoints.page(limit=1001)
    with pytest.raises(errors.InvalidArgument, match="cursor"):
        client.jobs.page(cursor="x")


def test_jobs_and_status(client: Client, churn: str) -> None:
    jobs = client.jobs.list(state="succeeded", subject=churn, limit=1)
    assert [job.subject for job in jobs] == [churn]
    assert client.jobs.get(jobs[0].id) == jobs[0]
    with pytest.raises(errors.UnknownJob):
        client.jobs.get("nothing")
    status = client.platform.status()
    assert status.models
    assert status.database is not None
    assert status.database.status == "ready"
    assert client.gateway.url == status.gateway_url


def test_without_the_token_the_door_is_shut(reached: Reached) -> None:
    with reached.of("wrong") as stranger, pytest.raises(errors.Unauthenticated):
        stranger.models.list()


def test_what_is_uploaded_can_be_named_later(client: Client, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a,b\n" * 1_000_000)  # more than one chunk
    upload = client.models.upload(tmp_path / "rows.csv")
    assert upload.size_bytes == 4_000_000
    assert upload.sha256 == hashlib.sha256(b"a,b\n" * 1_000_000).hexdigest()


def test_predict_asks_the_gateway(standin: Any, reached: Reached) -> None:
    answer = {"prediction": [1], "confidence": 0.97, "model_version": "2", "id": "r-1"}
    standin.says("POST /predict/churn", answer, X_Tidegate_Version="2")
    with reached.of("wrong", gateway_url=standin.url) as caller:
        found = caller.predict("churn", [1.0, 2.0], version=2, key="user-7")
    assert (found.prediction, found.confidence, found.model_version, found.id) == ([1], 0.97, "2", "r-1")
    (asked,) = standin.asked
    assert asked.body == b'{"features":[1.0,2.0],"model_version":"2"}'
    assert asked.headers["x-tidegate-key"] == "user-7"
    assert "authorization" not in asked.headers


def test_a_change_worked_out_from_what_was_read_undoes_nobody_elses(client: Client, churn: str) -> None:
    read = client.deploy(churn, endpoint="read-first", wait=False)
    changed = client.endpoints.scale("read-first", 2, wait=False, only_if=read)
    with pytest.raises(errors.ChangedMeanwhile):
        client.traffic("read-first", {"1": 100}, wait=False, only_if=read)
    with pytest.raises(errors.ChangedMeanwhile):
        client.deploy(churn, endpoint="read-first", replicas=5, wait=False, only_if=read)
    with pytest.raises(errors.ChangedMeanwhile):
        client.endpoints.delete("read-first", wait=False, only_if=read)
    assert client.endpoints.get("read-first").revision == changed.revision
    client.endpoints.delete("read-first", wait=False, only_if=changed)
