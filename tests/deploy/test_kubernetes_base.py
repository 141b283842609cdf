"""deploy/kubernetes: objects that Kubernetes' schemas take, in one namespace, whose commands and settings are ours."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from support.services import missing
from tidegate.adapters.kubernetes.platform_secret import KEYS
from tidegate.adapters.kubernetes.rights import RIGHTS
from tidegate.control.options import parse
from tidegate.core.images.delivery import runtime_image
from tidegate.gateway.__main__ import _parse as parse_gateway
from tidegate.settings import Settings

FOLDER = Path(__file__).resolve().parent.parent.parent / "deploy" / "kubernetes"
FILES = ("access", "control", "gateway", "network")
NAMESPACED = {
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "Service",
    "StatefulSet",
    "Deployment",
    "PodDisruptionBudget",
    "NetworkPolicy",
}
RULES_MAX = 9
NOT_SETTINGS = {"POD_NAME", "TIDEGATE_GATEWAY_URL"}
"""Taken by the arguments beside them."""

Object = dict[str, Any]


def base() -> list[Object]:
    """The objects as they stand in the files."""
    return [one for name in FILES for one in yaml.safe_load_all((FOLDER / "base" / f"{name}.yaml").read_text())]


def rendered(folder: str = ".") -> list[Object]:
    """The objects as kubectl makes them of one of the folders."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        missing("kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", str(FOLDER / folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def named(objects: list[Object], kind: str, name: str = "") -> Object:
    (found,) = [one for one in objects if one["kind"] == kind and one["metadata"]["name"].startswith(name)]
    return found


def pods(objects: list[Object]) -> dict[str, Object]:
    templated = (one for one in objects if one["kind"] in ("Deployment", "StatefulSet"))
    return {one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in templated}


def containers(pod: Object) -> Iterator[Object]:
    yield from pod.get("initContainers", [])
    yield from pod["containers"]


def test_the_schemas_of_kubernetes_take_every_object_and_all_are_of_one_namespace() -> None:
    for one in base():
        kubernetes_validate.validate(one, "1.37", strict=True)
        assert one["kind"] in NAMESPACED
        assert "namespace" not in one["metadata"]


def test_the_role_allows_what_the_adapter_asks_for_and_nothing_else() -> None:
    rules = named(base(), "Role")["rules"]
    allowed = [
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    # A rule of two groups allows each of its resources in both: what there is not does no harm.
    there = {(right.kind.group, right.resource) for right in RIGHTS}
    needed = {(right.kind.group, right.resource, right.verb) for right in RIGHTS}
    assert {one for one in allowed if one[:2] in there} == needed
    assert {resource for _, resource, _ in allowed} == {right.resource for right in RIGHTS}
    assert len(rules) <= RULES_MAX


@pytest.mark.parametrize("name", ["tidegate-control", "tidegate-gateway"])
def test_pods_keep_to_the_restricted_pod_security_standard(name: str) -> None:
    pod = pods(base())[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all(set(volume) - {"name"} <= {"emptyDir"} for volume in pod["volumes"])
    for container in containers(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"]
        assert not any("hostPort" in port for port in container.get("ports", []))


def test_only_the_control_plane_has_an_account() -> None:
    found = pods(base())
    assert found["tidegate-control"]["serviceAccountName"] == named(base(), "ServiceAccount")["metadata"]["name"]
    assert found["tidegate-control"]["automountServiceAccountToken"] is True
    assert found["tidegate-gateway"]["automountServiceAccountToken"] is False


def test_settings_in_the_environment_exist_and_keys_come_from_the_secret_that_is_made() -> None:
    known = {item.metadata["env"] for item in fields(Settings)} | NOT_SETTINGS
    used: set[str] = set()
    for pod in pods(base()).values():
        for container in containers(pod):
            for env in container.get("env", []):
                assert env["name"] in known, env["name"]
                reference = env.get("valueFrom", {}).get("secretKeyRef")
                if reference is not None:
                    assert reference["name"] == "tidegate-keys"
                    used.add(reference["key"])
    assert used == set(KEYS)
    literals = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())["configMapGenerator"][0]["literals"]
    assert {literal.partition("=")[0] for literal in literals} <= known


def test_its_commands_are_taken_by_the_processes_they_start() -> None:
    found = {container["name"]: container for pod in pods(base()).values() for container in containers(pod)}
    commands = {name: [str(word) for word in container["command"]] for name, container in found.items()}
    modules = {name: command[2] for name, command in commands.items()}
    assert modules == {
        "keys": "tidegate.control.keys_secret",
        "control": "tidegate.control",
        "gateway": "tidegate.gateway",
        "compactor": "tidegate.compactor",
    }
    told = [word.replace("$(TIDEGATE_GATEWAY_URL)", "http://tidegate-gateway") for word in commands["control"][3:]]
    control = parse(told)
    assert control.backend == "kubernetes"
    assert (control.control_port, control.gateways) == (found["control"]["ports"][0]["containerPort"], 0)
    gateway = parse_gateway(commands["gateway"][3:])
    services = {one["metadata"]["name"]: one for one in base() if one["kind"] == "Service"}
    assert gateway.control_url == f"http://tidegate-control:{services['tidegate-control']['spec']['ports'][0]['port']}"
    assert gateway.port == found["gateway"]["ports"][0]["containerPort"]
    assert commands["keys"][-2:] == ["--secret", "tidegate-keys"]


def test_selectors_meet_the_labels_that_pods_get() -> None:
    objects = rendered()
    labels = {
        one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"]
        for one in objects
        if one["kind"] in ("Deployment", "StatefulSet")
    }
    for name, selected in labels.items():
        for kind in ("Service", "Deployment", "StatefulSet", "PodDisruptionBudget"):
            for one in objects:
                if one["kind"] == kind and one["metadata"]["name"] == name:
                    selector = one["spec"]["selector"]
                    assert selector.get("matchLabels", selector).items() <= selected.items()


def test_the_image_is_named_once_and_replicas_run_in_it_too() -> None:
    objects = rendered()
    images = {container["image"] for pod in pods(objects).values() for container in containers(pod)}
    assert len(images) == 1
    (control,) = pods(objects)["tidegate-control"]["containers"]
    env = {one["name"]: one.get("value") for one in control["env"]}
    assert {env["TIDEGATE_RUNTIME_IMAGE"]} == images == {runtime_image()}


def test_an_overlay_keeps_the_state_in_postgresql() -> None:
    (control,) = pods(rendered("overlays/postgres"))["tidegate-control"]["containers"]
    (database,) = [one for one in control["env"] if one["name"] == "DATABASE_URL"]
    assert database["valueFrom"]["secretKeyRef"] == {"name": "tidegate-database", "key": "url"}


def test_an_overlay_puts_captured_rows_into_a_bucket() -> None:
    settings = named(rendered("overlays/s3"), "ConfigMap", "tidegate-settings")["data"]
    Settings.from_env(settings)
    assert settings["TIDEGATE_CAPTURE_URL"].startswith("s3://")
    assert "TIDEGATE_DRAIN_S" in settings, "what the base says stays"
