"""Objects for Kubernetes: its own schemas take them, their parts agree, the same endpoint is the same text."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml

from tidegate.core.manifests.export import manifests_of
from tidegate.core.manifests.served import ExportSettings, Known, KnownImage, ServedRequest
from tidegate.core.manifests.text import write_manifests
from tidegate.errors import InvalidArgument
from tidegate.settings import Settings
from tidegate.wire.endpoints.declared import ExportAnswer

PLAIN: dict[str, Any] = {"endpoint": "churn", "model": "churn", "version": 3}
PUSHED = f"registry.example.com/team/churn@sha256:{'a' * 64}"
DIGEST = "b" * 64


def _export(
    *documents: dict[str, Any], version: str | None = None, autoscaler: str = "engine", **env: str
) -> ExportAnswer:
    settings = ExportSettings.of(Settings.from_env(env))
    return manifests_of(documents, "kubernetes", ServedRequest(version, autoscaler), settings)


def _by_kind(answer: ExportAnswer) -> dict[str, Any]:
    return {one["kind"]: one for one in answer.documents}


def _pod(answer: ExportAnswer) -> Any:
    return _by_kind(answer)["Deployment"]["spec"]["template"]["spec"]


def _container(answer: ExportAnswer) -> Any:
    (container,) = _pod(answer)["containers"]
    return container


EVERY = (
    PLAIN,
    PLAIN | {"replicas": 3},
    PLAIN | {"scaling": {"min": 2, "max": 4, "target": "cpu=55"}, "placement": {"backend": "docker", "cpus": 1.5}},
    PLAIN | {"endpoint": "1e3", "placement": {"backend": "docker", "memory": "1536m"}, "monitor": {"every": "1m"}},
    PLAIN | {"endpoint": "y"},
)


@pytest.mark.parametrize("document", EVERY)
@pytest.mark.parametrize("autoscaler", ["engine", "none"])
def test_the_schemas_of_kubernetes_take_it_and_it_is_the_same_text_twice(
    document: dict[str, Any], autoscaler: str
) -> None:
    answer = _export(document, autoscaler=autoscaler, TIDEGATE_IMAGE_PULL_SECRET="pull")
    text = write_manifests(answer.documents, answer.warnings)
    objects = [one for one in yaml.safe_load_all(text) if one is not None]
    assert objects == answer.documents
    for one in objects:
        kubernetes_validate.validate(one, "1.37", strict=True)
    again = _export(document, autoscaler=autoscaler, TIDEGATE_IMAGE_PULL_SECRET="pull")
    assert write_manifests(again.documents, again.warnings) == text


def test_its_parts_agree() -> None:
    found = _by_kind(_export(PLAIN | {"replicas": 2}))
    assert list(found) == ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
    assert {one["metadata"]["name"] for one in found.values()} == {"tidegate-churn"}
    template, selector = found["Deployment"]["spec"]["template"], found["Deployment"]["spec"]["selector"]["matchLabels"]
    labels = template["metadata"]["labels"]
    assert selector.items() <= labels.items()
    assert found["Service"]["spec"]["selector"] == selector
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == selector
    assert "tidegate.io/version" not in selector  # it cannot be changed, and the next version is rolled out in it
    reference = found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (reference["kind"], reference["name"]) == ("Deployment", found["Deployment"]["metadata"]["name"])
    (container,) = template["spec"]["containers"]
    (port,) = found["Service"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, 8000)
    assert port["targetPort"] in {one["containerPort"] for one in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == port["targetPort"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in template["spec"]["volumes"]}
    leaving_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain_s = float(next(one["value"] for one in container["env"] if one["name"] == "TIDEGATE_DRAIN_S"))
    assert leaving_s + drain_s < template["spec"]["terminationGracePeriodSeconds"]


def test_it_says_what_the_first_manifest_said() -> None:
    answer = _export(PLAIN)
    found, container = _by_kind(answer), _container(answer)
    assert found["Service"]["spec"]["type"] == "LoadBalancer"
    assert {"name": "MODEL_VERSION", "value": "3"} in container["env"]
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "512Mi"},
        "limits": {"cpu": "500m", "memory": "1Gi"},
    }
    liveness, readiness = container["livenessProbe"], container["readinessProbe"]
    assert (liveness["httpGet"]["path"], liveness["initialDelaySeconds"], liveness["periodSeconds"]) == (
        "/health",
        30,
        10,
    )
    assert (readiness["httpGet"]["path"], readiness["periodSeconds"]) == ("/v2/health/ready", 5)
    scaler = found["HorizontalPodAutoscaler"]
    assert scaler["apiVersion"] == "autoscaling/v2"
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (1, 10)
    (metric,) = scaler["spec"]["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    assert "replicas" not in found["Deployment"]["spec"]  # each apply would take back what the autoscaler set


def test_pods_are_by_the_restricted_standard() -> None:
    answer = _export(PLAIN)
    pod, container = _pod(answer), _container(answer)
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all("emptyDir" in one for one in pod["volumes"])
    assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)


def test_a_secret_is_named_and_how_to_make_it_is_said() -> None:
    answer = _export(PLAIN, TIDEGATE_API_KEY="tg-of-ours", TIDEGATE_TOKEN="token-of-ours")
    (key,) = (one for one in _container(answer)["env"] if one["name"] == "TIDEGATE_API_KEY")
    assert key["valueFrom"] == {"secretKeyRef": {"name": "tidegate-churn", "key": "api-key"}}
    text = write_manifests(answer.documents, answer.warnings)
    assert "kubectl create secret generic tidegate-churn --from-literal=api-key=" in text
    assert "of-ours" not in text


def test_limits_and_scaling_are_the_endpoints() -> None:
    limits = {"backend": "docker", "cpus": 2.5, "memory": "2g"}
    answer = _export(
        PLAIN | {"placement": limits, "scaling": {"min": 2, "max": 20, "target": "cpu=55"}}, MAX_REPLICAS="5"
    )
    container, scaler = _container(answer), _by_kind(answer)["HorizontalPodAutoscaler"]["spec"]
    assert container["resources"]["requests"] == container["resources"]["limits"] == {"cpu": "2500m", "memory": "2Gi"}
    assert {"name": "OMP_NUM_THREADS", "value": "2"} in container["env"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 20)
    assert scaler["metrics"][0]["resource"]["target"]["averageUtilization"] == 55
    fixed = _by_kind(_export(PLAIN | {"replicas": 3}, autoscaler="none"))
    assert fixed["Deployment"]["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in fixed
    assert "PodDisruptionBudget" in fixed
    assert "PodDisruptionBudget" not in _by_kind(_export(PLAIN))  # a node would never drain


def test_what_kubernetes_does_not_do_alike_is_a_warning() -> None:
    asleep = {"min": 0, "max": 4, "target": "concurrency=2", "idle": "5m"}
    answer = _export(PLAIN | {"scaling": asleep, "monitor": {"every": "1m"}, "capture": {"sample": 0.5}})
    told = "\n".join(answer.warnings)
    assert "never sleeps here" in told
    assert "target is concurrency=2, which a HorizontalPodAutoscaler cannot measure" in told
    assert "not in it, as only a platform does that: capture, monitor" in told
    assert _by_kind(answer)["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 1
    comments = [line for line in write_manifests(answer.documents, answer.warnings).splitlines() if line[:1] == "#"]
    assert "never sleeps here" in " ".join(line.removeprefix("#").strip() for line in comments)


def test_an_image_is_named_by_its_digest_or_by_its_tag_with_a_warning() -> None:
    def image(known: Known, **env: str) -> tuple[str, bool]:
        settings = ExportSettings.of(Settings.from_env(env))
        answer = manifests_of([PLAIN], "kubernetes", ServedRequest(), settings, lambda _m, v: (v, known))
        return _container(answer)["image"], any("not known to have been pushed" in one for one in answer.warnings)

    registry = {"TIDEGATE_IMAGE_REGISTRY": "registry.example.com/ml/"}
    assert image(Known()) == ("tidegate/churn:3", True)
    assert image(Known(), **registry) == ("registry.example.com/ml/churn:3", True)
    assert image(Known(image=KnownImage("team/churn:3")), **registry) == ("registry.example.com/ml/team/churn:3", True)
    named = KnownImage("registry.other.com/churn:3")
    assert image(Known(image=named), **registry) == ("registry.other.com/churn:3", True)
    assert image(Known(image=KnownImage("r.example.com/a:3", PUSHED)), **registry) == (PUSHED, False)
    settings = ExportSettings.of(Settings.from_env({"TIDEGATE_IMAGE_PULL_SECRET": "pull"}))
    known = manifests_of([PLAIN], "kubernetes", ServedRequest(), settings, lambda _m, v: (v, Known(DIGEST)))
    assert _by_kind(known)["Deployment"]["metadata"]["annotations"] == {"tidegate.io/digest": DIGEST}
    assert _pod(known)["imagePullSecrets"] == [{"name": "pull"}]


def test_a_version_that_asks_for_a_gpu_gets_one() -> None:
    known = manifests_of([PLAIN], "kubernetes", ServedRequest(), ExportSettings(), lambda _m, v: (v, Known(gpu=True)))
    resources = _container(known)["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"
    assert any("CUDA's libraries" in one for one in known.warnings)
    assert "nvidia.com/gpu" not in _container(_export(PLAIN))["resources"]["limits"]


def test_names_that_kubernetes_takes_for_other_values_are_quoted() -> None:
    """Its reader of YAML has more booleans and numbers than Python's."""
    for name in ("y", "n", "no", "1e3", "0o17", "0x1f", "12", "2026-01-01"):
        answer = _export(PLAIN | {"endpoint": name})
        assert f"    app.kubernetes.io/instance: '{name}'\n" in write_manifests(answer.documents)


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    (PLAIN | {"endpoint": "a" * 55}, "is too long for Kubernetes, .* has 64 characters, and 63 are allowed.* up to 54"),
    ({"endpoint": "churn", "version": 3}, "say with 'model' what it serves"),
    ({"endpoint": "churn", "model": "churn"}, "has no version here: give --version"),
    ({"endpoint": "churn", "model": "churn", "traffic": {3: 90, 4: 10}}, r"\(3=90 4=10\).* say with --version which"),
    (PLAIN | {"version": "v1.0"}, "version 'v1.0' is known to the platform alone: give its number"),
    (PLAIN | {"version": "@champion"}, "version '@champion' is known to the platform alone"),
    (PLAIN | {"scaling": {"min": 1, "max": 2, "target": "beauty=4"}}, "beauty"),
    (PLAIN | {"replica": 2}, "did you mean 'replicas'"),
)


@pytest.mark.parametrize(("document", "said"), WRONG)
def test_what_cannot_be_exported_is_refused_with_what_to_do(document: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        _export(document)


def test_a_name_of_the_largest_length_fits() -> None:
    names = {one["metadata"]["name"] for one in _export(PLAIN | {"endpoint": "a" * 54}).documents}
    assert [len(name) for name in names] == [63]


def test_a_split_runs_the_version_that_is_named() -> None:
    split = {"endpoint": "churn", "model": "churn", "traffic": {3: 90, 4: 10}}
    assert _container(_export(split, version="4"))["image"] == "tidegate/churn:4"
    assert _container(_export(split | {"traffic": {3: 100, 4: 0}}))["image"] == "tidegate/churn:3"
    with pytest.raises(InvalidArgument, match="--version is of one endpoint, and there are 2"):
        _export(PLAIN, PLAIN | {"endpoint": "other"}, version="4")


def test_settings_that_name_nothing_are_refused() -> None:
    for env, said in (
        ({"TIDEGATE_IMAGE_REGISTRY": "https://registry.example.com"}, "TIDEGATE_IMAGE_REGISTRY=.* names no registry"),
        ({"TIDEGATE_IMAGE_REGISTRY": "team"}, "names no registry"),
        ({"TIDEGATE_IMAGE_PULL_SECRET": "Pass word"}, "it names what images are pulled with, and is not what is in it"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            ExportSettings.of(Settings.from_env(env))
    for form, said in (("ecs", "set for example TIDEGATE_ECS_EXECUTION_ROLE="), ("helm", "there is no format 'helm'")):
        with pytest.raises(InvalidArgument, match=said):
            manifests_of([PLAIN], form, ServedRequest(), ExportSettings())
    with pytest.raises(InvalidArgument, match="'keda' is none of engine, none"):
        ServedRequest(autoscaler="keda")
