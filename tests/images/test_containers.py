"""`tidegate up --backend docker` on a real engine, from the first image to the last container.

One platform, one after the other: each test begins with an endpoint that is well.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import docker
import httpx
import pytest

from support.docker_engine import DockerEngine
from support.images import building_on, derive_image, plain_model
from support.platform import Platform
from support.wait import until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200)]  # the first time, the base image is made

READY_S = 120.0
ROW = [1.0, 2.5]


@pytest.fixture(scope="module")
def client(engine: DockerEngine) -> Iterator[docker.APIClient]:
    made = docker.APIClient(base_url=engine.host, timeout=60)
    yield made
    made.close()


@pytest.fixture(scope="module")
def here(engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with an endpoint that was just asked for: two containers of a version without an image."""
    folder = tmp_path_factory.mktemp("containers")
    running = Platform(folder / "data", env=building_on(engine), options=("--backend", "docker"))
    try:
        running.start()
        running.done("register", str(plain_model(folder / "plain")), "--name", "sums", "--allow-pickle")
        running.done("deploy", "sums", "--replicas", "2", "--cpus", "0.5", "--memory", "200m", "--no-wait")
        yield running
    finally:
        running.stop()


def ids(here: Platform, client: docker.APIClient) -> set[str]:
    """What the engine has of this platform, in any state."""
    found = client.containers(all=True, filters={"label": [f"io.tidegate.data-dir={here.data_dir}"]})
    return {str(one["Id"]) for one in found}


def memory(here: Platform, client: docker.APIClient) -> list[int]:
    """How much each of them may use, once none comes or goes."""
    return [client.inspect_container(one)["HostConfig"]["Memory"] for one in ids(here, client)]


def is_well(here: Platform, replicas: int = 2) -> bool:
    endpoint = here.endpoint("sums")
    return bool(endpoint["status"] == "ready" and endpoint["variants"][0]["replicas"]["ready"] == replicas)


@contextmanager
def load(here: Platform) -> Iterator[Counter[str]]:
    """Requests one after the other from two clients, counted by what came of them; at the end all must be well."""
    over, came = threading.Event(), Counter[str]()

    def ask() -> None:
        with httpx.Client(base_url=here.gateway_url, timeout=30) as http:
            while not over.is_set():
                try:
                    came[str(http.post("/predict/sums", json={"features": ROW}).status_code)] += 1
                except httpx.TransportError as error:
                    came[repr(error)] += 1

    clients = [threading.Thread(target=ask) for _ in range(2)]
    for one in clients:
        one.start()
    try:
        until(lambda: came["200"] > 10, READY_S, "answers")
        yield came
    finally:
        over.set()
        for one in clients:
            one.join()
    assert came.keys() == {"200"}, came


def test_a_version_without_an_image_waits_for_the_job_that_builds_it(here: Platform, client: docker.APIClient) -> None:
    until(lambda: "waits for its image" in here.endpoint("sums")["reason"], READY_S, "a reason")
    reason = here.endpoint("sums")["reason"]
    assert reason.startswith("version 1: waits for its image: job ")
    (job,) = [one for one in here.done("jobs")["jobs"] if one["kind"] == "build"]
    assert f"'tidegate jobs {job['id']}'" in reason
    until(lambda: is_well(here), 300, "the endpoint")
    assert here.done("jobs", job["id"])["state"] == "succeeded"
    assert here.predict("sums", ROW).json()["prediction"] == [3.5]
    assert memory(here, client) == [200 << 20] * 2
    assert {client.inspect_container(one)["HostConfig"]["NanoCpus"] for one in ids(here, client)} == {500_000_000}
    endpoint = here.done("status", "sums")
    assert (endpoint["backend"], endpoint["cpus"], endpoint["memory_bytes"]) == ("docker", 0.5, 200 << 20)
    assert "on docker with 0.5 CPU, 200 MiB each" in here.cli("status", "sums").out
    assert here.done("status")["engine"]["status"] == "ready"
    assert here.replica_pids() == set(), "none is a process of the platform's own"


def test_a_container_that_is_killed_under_load_costs_no_request(here: Platform, client: docker.APIClient) -> None:
    until(lambda: is_well(here), READY_S, "the endpoint")
    first, second = ids(here, client)
    with load(here):
        client.kill(first)
        until(lambda: first not in ids(here, client) and is_well(here), READY_S, "the replacement")
    assert second in ids(here, client)
    (killed,) = [log for log in here.done("logs", "sums")["logs"] if log["failed"]]
    assert killed["failed"]["signal"] == "SIGKILL"


def test_a_control_plane_that_was_killed_takes_its_containers_over(here: Platform, client: docker.APIClient) -> None:
    until(lambda: is_well(here), READY_S, "the endpoint")
    before = ids(here, client)
    with load(here):
        os.kill(here.control_pid, signal.SIGKILL)
        here.start()
        until(lambda: is_well(here), READY_S, "the endpoint")
    assert ids(here, client) == before


def test_an_engine_that_dies_costs_no_request_and_what_was_asked_meanwhile_is_done_when_it_is_back(
    here: Platform, client: docker.APIClient, engine: DockerEngine
) -> None:
    until(lambda: is_well(here), READY_S, "the endpoint")
    before = ids(here, client)
    with load(here):
        engine.die()
        until(lambda: here.done("status")["engine"]["status"] == "unavailable", READY_S, "the engine being missed")
        refused = here.failed("deploy", "sums", "--memory", "100m")
        assert (refused["code"], engine.host in refused["error"]) == ("engine_unavailable", True)
        assert "start Docker" in refused["error"]
        here.done("scale", "sums", "--replicas", "3", "--no-wait")
        until(lambda: "no container engine answers" in here.endpoint("sums")["reason"], READY_S, "the reason")
        assert "the container engine is away" in here.cli("status").out
        engine.come_back()
        until(lambda: is_well(here, 3), READY_S, "the third replica")
    assert before < ids(here, client)
    assert memory(here, client) == [200 << 20] * 3
    here.done("scale", "sums", "--replicas", "2")


def test_an_engine_that_dies_in_the_middle_of_a_deployment_costs_no_request_and_the_deployment_goes_on(
    here: Platform, client: docker.APIClient, engine: DockerEngine
) -> None:
    until(lambda: is_well(here) and len(ids(here, client)) == 2, READY_S, "the endpoint")
    before = ids(here, client)
    with load(here):
        here.done("deploy", "sums", "--memory", "220m", "--no-wait")
        until(lambda: ids(here, client) - before, READY_S, "the first new container")
        engine.die()
        until(lambda: here.done("status")["engine"]["status"] == "unavailable", READY_S, "the engine being missed")
        engine.come_back()
        until(lambda: is_well(here) and not before & ids(here, client), READY_S, "the end of the old ones")
    assert memory(here, client) == [220 << 20] * 2, "none started twice"
    here.done("deploy", "sums", "--memory", "100m", timeout_s=180)


def test_an_image_that_does_not_start_leaves_the_old_replicas_serving(
    here: Platform, client: docker.APIClient, engine: DockerEngine
) -> None:
    until(lambda: is_well(here) and len(ids(here, client)) == 2, READY_S, "the endpoint")
    before = ids(here, client)
    image = derive_image(engine, "tidegate/sums:1", "RUN rm /model/manifest.json")  # newer, with the same labels
    with load(here):
        failed = here.failed("deploy", "sums", "--memory", "300m", timeout_s=180)
        assert "/model/manifest.json" in failed["error"]
        assert ids(here, client) == before
        client.remove_image(image)
        here.done("deploy", "sums", "--memory", "300m", timeout_s=180)
        until(lambda: not before & ids(here, client), READY_S, "the end of the old ones")
    assert memory(here, client) == [300 << 20] * 2


def test_an_endpoint_moves_to_processes_and_back_without_a_gap(here: Platform, client: docker.APIClient) -> None:
    until(lambda: is_well(here), READY_S, "the endpoint")
    with load(here):
        here.done("deploy", "sums", "--backend", "local", "--replicas", "1", timeout_s=180)
        until(lambda: ids(here, client) == set(), READY_S, "the end of the containers")
        assert len(here.replica_pids()) == 1
        here.done("deploy", "sums", "--backend", "docker", timeout_s=180)
        until(lambda: not here.replica_pids(), READY_S, "the end of the process")
    assert here.cli("deploy", "sums", "--backend", "local", "--cpus", "1").code == 2


def test_down_ends_the_containers_of_a_control_plane_that_was_killed(here: Platform, client: docker.APIClient) -> None:
    until(lambda: is_well(here, 1), READY_S, "the endpoint")
    os.kill(here.control_pid, signal.SIGKILL)
    ran = here.stop()
    assert (ran.code, "1 container;" in ran.out) == (0, True), ran.said
    assert ids(here, client) == set()
    assert list((here.data_dir / "run").glob("*")) == [] or not (here.data_dir / "run").exists()
