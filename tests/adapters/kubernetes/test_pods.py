"""Pods of the fake cluster are real processes, and go through what pods of a real one go through."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from support.kubernetes.cluster import FakeCluster, running_cluster
from support.kubernetes.containers import Image
from support.wait import until
from tidegate.adapters.kubernetes.api import KubernetesApi, connect
from tidegate.adapters.kubernetes.kinds import DEPLOYMENT, ENDPOINT_SLICE, EVENT, POD

Object = dict[str, Any]
WITHIN_S = 30.0
SERVER = """
import http.server, json, os, signal, sys, time
class Says(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        code = 503 if self.path == "/ready" and os.path.exists("/data/unready") else 200
        said = json.dumps({"env": dict(os.environ), "argv": sys.argv[1:], "file": open("/data/made").read()}).encode()
        self.send_response(code); self.send_header("content-length", str(len(said))); self.end_headers()
        self.wfile.write(said)
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: (print("told to end", flush=True), sys.exit(0)))
print("begins", flush=True)
http.server.HTTPServer((sys.argv[1], 8000), Says).serve_forever()
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeCluster]:
    with running_cluster(tmp_path_factory.mktemp("cluster"), backoff_s=0.1) as running:
        script = "import pathlib, sys; p = pathlib.Path('/data'); "
        running.images |= {
            "says:1": Image(
                ("python", "-c", "exec(open('/data/server.py').read())"), ("0.0.0.0", "--model", "/data/made")
            ),
            "makes:1": Image(("python", "-c", f"{script}(p / 'made').write_text('by the init container')")),
            "fails:1": Image(("python", "-c", "import sys; print('it broke', file=sys.stderr); sys.exit(3)")),
            "deaf:1": Image(
                ("python", "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)")
            ),
            "root:1": Image(("python", "-c", "import time; time.sleep(600)"), user=0),
        }
        yield running


@pytest.fixture
def api(cluster: FakeCluster) -> Iterator[KubernetesApi]:
    api = connect(cluster.kubeconfig(), None, {})
    yield api
    for one in api.list(DEPLOYMENT).items:
        api.delete(DEPLOYMENT, one["metadata"]["name"])
    for pod in api.list(POD).items:
        api.delete(POD, pod["metadata"]["name"], grace_s=0)
    until(lambda: not api.list(POD).items, WITHIN_S, "the pods' end")


def deployment(replicas: int = 1, image: str = "fails:1", **container: Any) -> Object:
    pod = {"containers": [{"name": "replica", "image": image, **container}], "terminationGracePeriodSeconds": 20}
    template = {"metadata": {"labels": {"app": "churn"}}, "spec": pod}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "churn"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "churn"}, "spec": spec}


def says(replicas: int = 1) -> Object:
    """A server that an init container prepares a folder for."""
    made = deployment(
        replicas,
        "says:1",
        env=[
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "churn", "key": "key"}}},
            {"name": "WHERE", "value": "$(KEY) at /data/x"},
        ],
        readinessProbe={"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 2},
        ports=[{"name": "http", "containerPort": 8000}],
        lifecycle={"preStop": {"sleep": {"seconds": 20}}},  # a second, sped up
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
    )
    pod = made["spec"]["template"]["spec"]
    mount = [{"name": "data", "mountPath": "/data"}]
    write = f"open('/data/server.py', 'w').write({SERVER!r})"
    pod["initContainers"] = [
        {"name": "fetch", "image": "makes:1", "volumeMounts": mount},
        {"name": "write", "image": "makes:1", "command": ["python", "-c", write], "volumeMounts": mount},
    ]
    pod["volumes"] = [{"name": "data", "emptyDir": {}}]
    return made


def pods(api: KubernetesApi) -> list[Object]:
    return api.list(POD, "app=churn").items


def ready(pod: Object) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))


def all_ready(api: KubernetesApi, count: int) -> list[Object]:
    def look() -> list[Object]:
        found = pods(api)
        return found if len(found) == count and all(map(ready, found)) else []

    return until(look, WITHIN_S, f"{count} ready pods")


def waiting(api: KubernetesApi, which: str = "containerStatuses") -> Object:
    statuses = [one for pod in pods(api) for one in pod["status"].get(which, [])]
    found: Object = statuses[0]["state"].get("waiting", {}) if statuses else {}
    return found


def waits(api: KubernetesApi, reason: str) -> Object:
    return until(lambda: ((found := waiting(api)).get("reason") == reason and found) or {}, WITHIN_S, reason)


def reasons(api: KubernetesApi) -> set[str]:
    return {one["reason"] for one in api.list(EVENT).items}


def secret(api: KubernetesApi) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "churn"}, "stringData": {"key": "hush"}}
    api.apply(body)


def test_a_pod_serves_from_its_init_containers_to_its_hook(cluster: FakeCluster, api: KubernetesApi) -> None:
    api.apply(says())
    waits(api, "CreateContainerConfigError")
    assert waiting(api)["message"] == 'secret "churn" not found'
    secret(api)
    service = {"clusterIP": "None", "selector": {"app": "churn"}, "ports": [{"name": "http", "port": 8000}]}
    api.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "churn"}, "spec": service})
    (pod,) = all_ready(api, 1)
    name, ip = pod["metadata"]["name"], pod["status"]["podIP"]
    said = json.loads(urllib3.request("GET", f"http://{ip}:8000/").data)
    assert said["file"] == "by the init container"
    assert said["env"]["KEY"] == "hush"
    assert said["env"]["WHERE"].startswith("hush at ")
    assert said["argv"][:2] == [ip, "--model"]
    assert "TIDEGATE_API_KEY" not in said["env"]
    assert api.logs(name, "replica", 5) == ["begins"]
    assert conditions(api) == [(ip, True, True, False)]
    cluster.kubelet.container(name, "replica").place.volumes["data"].joinpath("unready").touch()
    until(lambda: conditions(api) == [(ip, False, False, False)], WITHIN_S, "an unready endpoint")
    cluster.kubelet.container(name, "replica").place.volumes["data"].joinpath("unready").unlink()
    until(lambda: conditions(api) == [(ip, True, True, False)], WITHIN_S, "a ready endpoint")
    events = api.watch(POD, "app=churn", api.list(POD).resource_version, 30)
    next(events)
    slices = api.watch(ENDPOINT_SLICE, "", api.list(ENDPOINT_SLICE).resource_version, 30)
    next(slices)
    api.delete(POD, name)
    terminating = next(e for e in slices if e.type == "MODIFIED" and (ip, False, True, True) in _of(e.object))
    assert terminating.type == "MODIFIED"
    assert next(e for e in events if e.type == "DELETED").object["metadata"]["name"] == name
    (another,) = all_ready(api, 1)
    assert another["status"]["podIP"] != ip


def conditions(api: KubernetesApi) -> list[tuple[Any, ...]]:
    return [found for one in api.list(ENDPOINT_SLICE).items for found in _of(one)]


def _of(one: Object) -> list[tuple[Any, ...]]:
    return [
        (end["addresses"][0], *(end["conditions"][name] for name in ("ready", "serving", "terminating")))
        for end in one["endpoints"] or ()
    ]


def test_a_container_that_fails_is_started_again_ever_later(api: KubernetesApi) -> None:
    api.apply(deployment(terminationMessagePolicy="FallbackToLogsOnError"))
    waits(api, "CrashLoopBackOff")
    until(lambda: pods(api)[0]["status"]["containerStatuses"][0]["restartCount"] >= 2, WITHIN_S, "restarts")
    last = pods(api)[0]["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"], last["message"]) == (3, "Error", "it broke")
    assert api.logs(pods(api)[0]["metadata"]["name"], "replica", 5, previous=True) == ["it broke"]
    assert {"Started", "BackOff"} <= reasons(api)


def test_a_container_that_is_killed_says_as_what(cluster: FakeCluster, api: KubernetesApi) -> None:
    secret(api)
    api.apply(says())
    (pod,) = all_ready(api, 1)
    name = pod["metadata"]["name"]
    for reason, exit_code in (("OOMKilled", 137), ("Error", 137)):
        cluster.crash(name, reason="" if reason == "Error" else reason)
        until(lambda why=reason: last(api).get("reason") == why, WITHIN_S, reason)  # type: ignore[misc]
        assert last(api)["exitCode"] == exit_code
        all_ready(api, 1)
    assert pods(api)[0]["status"]["containerStatuses"][0]["restartCount"] == 2
    assert pods(api)[0]["status"]["podIP"] == pod["status"]["podIP"]  # the pod stays


def last(api: KubernetesApi) -> Object:
    found: Object = pods(api)[0]["status"]["containerStatuses"][0]["lastState"].get("terminated", {})
    return found


def test_images_that_cannot_be_had_are_told_apart(cluster: FakeCluster, api: KubernetesApi) -> None:
    api.apply(deployment(image="none:1"))
    assert 'Back-off pulling image "none:1"' in waits(api, "ImagePullBackOff")["message"]
    cluster.images["none:1"] = cluster.images["deaf:1"]
    until(lambda: pods(api)[0]["status"]["phase"] == "Running", WITHIN_S, "the image's arrival")


def test_a_pod_that_must_not_run_as_root_does_not(api: KubernetesApi) -> None:
    api.apply(deployment(image="root:1", securityContext={"runAsNonRoot": True}))
    assert "image will run as root" in waits(api, "CreateContainerConfigError")["message"]


def test_a_pod_that_fits_nowhere_waits_for_room(cluster: FakeCluster, api: KubernetesApi) -> None:
    cluster.node.cpu = "1"
    api.apply(deployment(2, "deaf:1", resources={"requests": {"cpu": "600m"}}))

    def scheduled() -> list[str]:
        return sorted(
            one.get("reason", one["status"])
            for pod in pods(api)
            for one in pod["status"].get("conditions", ())
            if one["type"] == "PodScheduled"
        )

    until(lambda: scheduled() == ["True", "Unschedulable"], WITHIN_S, "one that waits")
    assert "FailedScheduling" in reasons(api)
    cluster.node.cpu = "2"
    until(lambda: scheduled() == ["True", "True"], WITHIN_S, "room")


def test_those_that_cost_least_go_first(api: KubernetesApi) -> None:
    secret(api)
    api.apply(says(3))
    names = [pod["metadata"]["name"] for pod in all_ready(api, 3)]
    mark = {"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": "-1000"}}}
    api.patch(POD, names[1], mark)
    api.patch(DEPLOYMENT, "churn", {"spec": {"replicas": 2}}, subresource="scale")
    until(lambda: {pod["metadata"]["name"] for pod in pods(api)} == {names[0], names[2]}, WITHIN_S, "the end of one")


def test_one_that_does_not_end_is_killed_when_its_grace_is_over(api: KubernetesApi) -> None:
    api.apply(deployment(image="deaf:1"))
    until(lambda: pods(api) and pods(api)[0]["status"]["phase"] == "Running", WITHIN_S, "a pod")
    name = pods(api)[0]["metadata"]["name"]
    api.delete(POD, name)
    assert api.get(POD, name) is not None
    api.delete(POD, name, grace_s=0)  # nobody waits for the 20 seconds
    until(lambda: api.get(POD, name) is None, WITHIN_S, "its end")


def test_a_liveness_probe_that_fails_ends_the_container(cluster: FakeCluster, api: KubernetesApi) -> None:
    secret(api)
    made = says()
    probe = {"httpGet": {"path": "/ready", "port": 8000}, "periodSeconds": 1, "failureThreshold": 1}
    made["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = probe
    api.apply(made)
    (pod,) = all_ready(api, 1)
    data = cluster.kubelet.container(pod["metadata"]["name"], "replica").place.volumes["data"]
    (data / "unready").touch()
    until(lambda: pods(api)[0]["status"]["containerStatuses"][0]["restartCount"] == 1, WITHIN_S, "a restart")
    (data / "unready").unlink()
    assert {"Unhealthy", "Killing"} <= reasons(api)
    all_ready(api, 1)


def test_nothing_outlives_the_cluster(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_cluster(tmp_path_factory.mktemp("short")) as running:
        running.images["deaf:1"] = Image(("python", "-c", "import time; time.sleep(600)"))
        api = connect(running.kubeconfig(), None, {})
        api.apply(deployment(2, "deaf:1"))

        def started() -> list[int]:
            names = [pod["metadata"]["name"] for pod in pods(api) if pod["status"].get("phase") == "Running"]
            found = [running.kubelet.container(name, "replica").process for name in names]
            return [one.pid for one in found if one is not None]

        until(lambda: len(started()) == 2, WITHIN_S, "two processes")
        ids = started()
    assert [one for one in ids if alive(one)] == []


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
