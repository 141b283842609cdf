"""`tidegate build` on a real engine: images are built, run and asked. One file, so that one engine serves all."""

from __future__ import annotations

import json
import platform as machines
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from support.docker_engine import DockerEngine, base_archive, running_engine, running_registry
from support.images import building_on
from support.models import Models
from support.platform import Platform
from support.wait import free_ports, until
from tidegate.core.images.contents import PLATFORMS

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]  # the first time, the base image is made

KEY = {"Authorization": "Bearer a-key"}
ROOM_BYTES = 70 << 20
"""Beside the base image: less than the libraries take."""
NO_CONTROL_PLANE = {"mlflow", "mlflow-skinny", "sqlalchemy", "alembic", "fastapi", "psutil", "pyarrow"}
NO_SKLEARN = {"scikit-learn", "joblib", "pandas", "scipy"}


@pytest.fixture(scope="module")
def registry_port() -> int:
    """Where the registry of the platform is, in tests that have one."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def builder(
    engine: DockerEngine, models: Models, registry_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Platform]:
    """A platform that builds on the engine, with two versions of a forest, which are served in fast forms."""
    env = building_on(engine) | {"TIDEGATE_IMAGE_REGISTRY": f"127.0.0.1:{registry_port}/team"}
    running = Platform(tmp_path_factory.mktemp("builder") / "data", env=env)
    try:
        running.start()
        for file, label in (("forest", "v1.0.0"), ("small", "v1.1.0")):
            given = (models.path(f"{file}.joblib"), "--name", "forest", "--allow-pickle", "--label", label)
            running.done("register", *given)
        yield running
    finally:
        running.stop()


def python_model(folder: Path, on_load: str = "pass") -> str:
    """A folder with a plain Python class: loading it runs its code."""
    folder.mkdir()
    (folder / "model.py").write_text(
        "import os\n\nimport numpy as np\n\n\n"
        "class Model:\n"
        "    example = [1.0, 2.0]\n\n"
        "    def __init__(self):\n"
        f"        {on_load}\n\n"
        "    def predict(self, inputs):\n"
        "        return np.asarray(inputs).sum(axis=1)\n"
    )
    (folder / "requirements.txt").write_text("numpy\nonnxruntime\n")  # as the forest's image, so that a layer is shared
    return str(folder)


@pytest.fixture(scope="module")
def forest(builder: Platform) -> Any:
    """The image of the first version."""
    return builder.done("build", "forest:v1.0.0", timeout_s=600)


@pytest.fixture(scope="module")
def client(engine: DockerEngine) -> Iterator[docker.DockerClient]:
    made = docker.DockerClient(base_url=engine.host, timeout=60)
    yield made
    made.close()


@contextmanager
def running(client: docker.DockerClient, engine: DockerEngine, image: str, **options: Any) -> Iterator[Any]:
    """A container, as `docker run` makes one."""
    container = client.containers.run(image, detach=True, network=engine.network, **options)
    try:
        yield container
    finally:
        container.remove(force=True)


def address(container: Any, engine: DockerEngine) -> str:
    """Of a container that answers."""
    container.reload()
    host = str(container.attrs["NetworkSettings"]["Networks"][engine.network]["IPAddress"])

    def ready() -> bool:
        container.reload()
        assert container.status == "running", container.logs().decode()
        try:
            return httpx.get(f"http://{host}:8000/v2/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    until(ready, 60, "the container")
    return host


def test_an_image_alone_serves_every_protocol(
    engine: DockerEngine, client: docker.DockerClient, forest: Any, models: Models
) -> None:
    rows = models.rows[:3]
    wanted = models.says("forest", rows)
    tensor = {"name": "input", "shape": list(rows.shape), "datatype": "FP64", "data": rows.tolist()}
    limits: dict[str, Any] = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
    with running(client, engine, forest["image"], environment={"TIDEGATE_API_KEY": "a-key"}, **limits) as container:
        host = address(container, engine)
        with httpx.Client(base_url=f"http://{host}:8000", headers=KEY, timeout=30) as http:
            plain = http.post("/predict", json={"features": rows.tolist()}).json()
            v2 = http.post("/v2/models/forest/infer", json={"inputs": [tensor]}).json()
            mlflow = http.post("/invocations", json={"inputs": rows.tolist()}).json()
            tensorflow = http.post("/v1/models/forest:predict", json={"instances": rows.tolist()}).json()
            assert http.get("/metrics").status_code == 200
        assert (plain["prediction"], plain["model_version"]) == (wanted, "1")
        assert {output["name"]: output["data"] for output in v2["outputs"]}["prediction"] == wanted
        assert mlflow["predictions"] == wanted
        assert [answer["prediction"] for answer in tensorflow["predictions"]] == wanted
        assert over_grpc(f"{host}:8001", rows) == wanted
        assert httpx.post(f"http://{host}:8000/predict", json={"features": rows.tolist()}).status_code == 401
        health = container.attrs["Config"]["Healthcheck"]["Test"]
        assert container.exec_run(health[1:]).exit_code == 0
        assert container.exec_run(["id", "-u"]).output.strip() == b"10001"
        assert container.exec_run(["touch", "/model/x"]).exit_code != 0


def over_grpc(url: str, rows: np.ndarray) -> list[Any]:
    """The predictions, as an unmodified client of another project gets them."""
    given = triton.InferInput("input", list(rows.shape), "FP64")
    given.set_data_from_numpy(rows)
    with triton.InferenceServerClient(url) as client:
        answer = client.infer("forest", [given], headers={"authorization": KEY["Authorization"]})
    return list(answer.as_numpy("prediction").tolist())


def test_an_image_refuses_to_start_without_a_key_unless_told(
    engine: DockerEngine, client: docker.DockerClient, forest: Any
) -> None:
    with running(client, engine, forest["image"]) as container:
        assert container.wait(timeout=60)["StatusCode"] == 2
        assert "TIDEGATE_API_KEY" in container.logs().decode()
    with running(client, engine, forest["image"], environment={"TIDEGATE_AUTH": "none"}) as container:
        assert httpx.get(f"http://{address(container, engine)}:8000/v2").status_code == 200
        container.stop(timeout=60)
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0  # it ended by itself, when it was asked to


def test_an_image_says_what_is_in_it_and_holds_no_more(
    builder: Platform, client: docker.DockerClient, forest: Any
) -> None:
    version = builder.api("GET", "/api/v1/models/forest/versions/1").json()
    image = client.images.get("tidegate/forest:1")
    assert (image.id, image.attrs["Size"], image.attrs["Config"]["User"]) == (
        forest["id"],
        forest["size_bytes"],
        "10001:10001",
    )
    labels = image.labels
    assert labels["io.tidegate.digest"] == version["digest"]
    assert labels["io.tidegate.run-id"] == version["run_id"]
    assert labels["org.opencontainers.image.version"] == "v1.0.0"
    assert labels["io.tidegate.pickle-granted"] == "false"  # the fast form stands in for it
    assert {"8000/tcp", "8001/tcp"} <= image.attrs["Config"]["ExposedPorts"].keys()
    inside = distributions(client, forest["image"])
    assert not inside & (NO_CONTROL_PLANE | NO_SKLEARN)
    assert {"numpy", "onnxruntime"} <= inside
    listed = {component["name"] for component in forest["sbom"]["components"] if component["type"] == "library"}
    assert listed == inside
    files = client.containers.run(forest["image"], ["-c", FILES], entrypoint=PYTHON, remove=True, network="none")
    assert not [name for name in json.loads(files) if name.endswith((".joblib", ".pkl"))]
    assert forest["size_bytes"] < 420e6


PYTHON = "/opt/tidegate/bin/python"
FILES = "import json, pathlib; print(json.dumps([str(p) for p in pathlib.Path('/model').rglob('*')]))"
DISTRIBUTIONS = "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))"


def distributions(client: docker.DockerClient, image: str) -> set[str]:
    """What pip would list in the image."""
    out = client.containers.run(image, ["-c", DISTRIBUTIONS], entrypoint=PYTHON, remove=True, network="none")
    return {name.lower().replace("_", "-") for name in json.loads(out)}


def test_another_version_reuses_all_layers_but_the_last(builder: Platform, forest: Any, tmp_path: Path) -> None:
    bill = tmp_path / "bill.json"
    ran = builder.cli("build", "forest:2", "--sbom", str(bill), timeout_s=300)
    assert ran.code == 0, ran.said
    assert "docker run" in ran.out
    second = builder.api("GET", "/api/v1/models/forest/versions/2/image").json()
    assert second["layers"][:-1] == forest["layers"][:-1]
    assert second["layers"][-1] != forest["layers"][-1]
    assert json.loads(bill.read_text()) == second["sbom"]
    again = builder.done("build", "forest:2")
    assert again["layers"] == second["layers"]


def test_code_is_in_an_image_where_it_was_granted(
    engine: DockerEngine, client: docker.DockerClient, builder: Platform, tmp_path: Path
) -> None:
    builder.done("register", python_model(tmp_path / "sums"), "--name", "sums", "--allow-pickle")
    image = builder.done("build", "sums", "--tag", "example/sums", timeout_s=300)
    assert (image["image"], image["pickle_granted"], image["form"]) == ("example/sums:latest", True, None)
    assert client.images.get(image["id"]).labels["io.tidegate.pickle-granted"] == "true"
    assert not distributions(client, image["id"]) & (NO_CONTROL_PLANE | NO_SKLEARN)
    with running(client, engine, image["id"], environment={"TIDEGATE_API_KEY": "a-key"}, read_only=True) as container:
        url = f"http://{address(container, engine)}:8000/predict"
        answer = httpx.post(url, json={"features": [[1.0, 2.5], [3.0, 4.0]]}, headers=KEY, timeout=30).json()
        assert answer["prediction"] == [3.5, 7.0]


def test_an_image_that_does_not_start_is_not_kept(
    builder: Platform, client: docker.DockerClient, tmp_path: Path
) -> None:
    """Its model refuses the image's user, whom it did not meet at the gate."""
    folder = python_model(tmp_path / "rooted", "assert os.getuid() != 10001, 'it takes no image'")
    builder.done("register", folder, "--name", "rooted", "--allow-pickle")
    failed = builder.failed("build", "rooted", timeout_s=300)
    assert failed["code"] == "image_build_failed"
    assert "it takes no image" in failed["error"]
    assert not [tag for image in client.images.list() for tag in image.tags if "rooted" in tag]
    labelled = client.images.list(all=True, filters={"label": "io.tidegate.model=rooted"})
    assert labelled == []
    assert builder.api("GET", "/api/v1/models/rooted/versions/1/image").json()["code"] == "unknown_image"


def test_what_cannot_be_built_is_refused_in_plain_words(builder: Platform, forest: Any) -> None:
    missing = builder.failed("build", "forest:7")
    assert (missing["code"], "2 (v1.1.0)" in missing["error"]) == ("unknown_version", True)
    base = builder.failed("build", "forest:1", "--base", "127.0.0.1:9/no/such:base")
    assert (base["code"], "--base" in base["error"]) == ("image_build_failed", True)
    assert builder.cli("build", "forest:1", "--tag", "Not A Name").code == 2
    assert builder.cli("build", "forest:1", "--push", "--platform", "plan9/386").code == 2
    job = builder.done("build", "forest:1", "--base", "127.0.0.1:9/no/such:base", "--no-wait")
    until(lambda: builder.done("jobs", job["id"])["state"] == "failed", 60, "the end of the job")
    assert "base image" in builder.cli("jobs", job["id"]).out
    assert builder.api("GET", "/api/v1/models/forest/versions/1/image").json() == forest  # the one before stays


def test_an_image_is_pushed_to_the_registry_in_its_name(builder: Platform, forest: Any, tmp_path: Path) -> None:
    with running_registry(tmp_path) as registry:
        tag = f"{registry}/team/forest:1"
        pushed = builder.done("build", "forest:1", "--tag", tag, "--push", timeout_s=300)
        assert (pushed["pushed"], pushed["id"]) == (True, forest["id"])
        there = httpx.get(
            f"http://{registry}/v2/team/forest/manifests/1",
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        )
        assert there.json()["config"]["digest"] == forest["id"]


def test_a_push_goes_to_the_registry_of_the_platform_and_manifests_name_its_digest(
    builder: Platform, engine: DockerEngine, registry_port: int, forest: Any, tmp_path: Path
) -> None:
    """Also after a build that pushes nothing: what a registry has of the version is kept for itself."""
    machine = PLATFORMS[machines.machine()]
    with running_registry(tmp_path, port=registry_port) as registry:
        pushed = builder.done("build", "forest:1", "--push", "--platform", machine, timeout_s=300)
        tag = f"{registry}/team/forest:1"
        assert (pushed["image"], pushed["platform"], pushed["layers"]) == (tag, machine, forest["layers"])
        accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
        there = httpx.get(f"http://{registry}/v2/team/forest/manifests/1", headers=accept)
        assert pushed["pushed_as"] == f"{registry}/team/forest@{there.headers['docker-content-digest']}"
        engine.docker("pull", pushed["pushed_as"])
    builder.done("deploy", "forest:1", "--no-wait")
    builder.done("build", "forest:1")
    assert builder.api("GET", "/api/v1/models/forest/versions/1/image").json()["pushed"] is False
    for form in ("kubernetes", "cloudrun"):
        answer = builder.api("GET", f"/api/v1/export?endpoint=forest&format={form}").json()
        found = answer["documents"][0]["spec"]["template"]["spec"]["containers"][0]["image"]
        assert (found == pushed["pushed_as"]) == (form == "kubernetes" or machine == "linux/amd64")


def test_a_registry_that_denies_the_push_is_named_and_the_image_stays(
    builder: Platform, client: docker.DockerClient, forest: Any, tmp_path: Path
) -> None:
    with running_registry(tmp_path, locked=True) as registry:
        tag = f"{registry}/team/forest:1"
        failed = builder.failed("build", "forest:1", "--tag", tag, "--push", timeout_s=180)
    assert failed["code"] == "image_push_failed"
    assert f"docker login {registry}" in failed["error"]
    assert client.images.get(tag).id == forest["id"]
    assert builder.api("GET", "/api/v1/models/forest/versions/1/image").json()["pushed"] is False
    nobody = builder.failed("build", "forest:1", "--tag", tag, "--push", timeout_s=180)
    assert (nobody["code"], "is the registry there?" in nobody["error"]) == ("image_push_failed", True)


def test_an_engine_that_is_full_and_one_that_dies_are_named_and_leave_no_image(
    tmp_path: Path, engine: DockerEngine
) -> None:
    with running_engine(base_archive().stat().st_size + ROOM_BYTES) as small:
        platform = Platform(tmp_path / "data", env=building_on(small))
        try:
            platform.start()
            platform.done("register", python_model(tmp_path / "sums"), "--name", "sums", "--allow-pickle")
            failed = platform.failed("build", "sums", timeout_s=300)
            assert (failed["code"], "container engine" in failed["error"]) == ("disk_full", True)
            assert small.docker("images", "--quiet", "--filter", "reference=tidegate/*") == ""
            assert list((platform.data_dir / "jobs").iterdir()) == []
            job = platform.api("POST", "/api/v1/models/sums/versions/1/image").json()["id"]
            until(lambda: platform.api("GET", f"/api/v1/jobs/{job}").json()["progress"] >= 0.05, 60, "the build")
            small.die()
            ended = until(lambda: platform.api("GET", f"/api/v1/jobs/{job}").json()["error"], 120, "the job's end")
            assert (ended["code"], small.host in ended["error"]) == ("engine_unavailable", True)
        finally:
            platform.stop()
