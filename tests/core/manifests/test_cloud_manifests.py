"""Manifests for AWS ECS and Google Cloud Run: botocore's own models take the requests, and the settings are in them."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tidegate.core.manifests.export import manifests_of
from tidegate.core.manifests.served import ExportSettings, Known, KnownImage, ServedRequest
from tidegate.core.manifests.text import files_of, key_commands, write_manifests
from tidegate.errors import InvalidArgument
from tidegate.settings import Settings
from tidegate.wire.endpoints.declared import ExportAnswer

PLAIN: dict[str, Any] = {"endpoint": "churn", "model": "churn", "version": 3}
PUSHED = f"eu-docker.pkg.dev/project/team/churn@sha256:{'a' * 64}"
ON_AWS = {
    "AWS_REGION": "eu-central-1",
    "TIDEGATE_ECS_CLUSTER": "arn:aws:ecs:eu-central-1:1:cluster/models",
    "TIDEGATE_ECS_SUBNETS": "subnet-1, subnet-2",
    "TIDEGATE_ECS_SECURITY_GROUPS": "sg-1",
    "TIDEGATE_ECS_EXECUTION_ROLE": "arn:aws:iam::123456789012:role/tidegate",
}
ON_GOOGLE = {"TIDEGATE_CLOUDRUN_SERVICE_ACCOUNT": "replicas@project.iam.gserviceaccount.com"}


def export(form: str, document: dict[str, Any], autoscaler: str = "engine", **env: str) -> ExportAnswer:
    settings = ExportSettings.of(Settings.from_env(env))
    known = Known("b" * 64, KnownImage("churn:3", PUSHED))
    request = ServedRequest(autoscaler=autoscaler)
    return manifests_of([document], form, request, settings, lambda _model, version: (version, known))


EVERY = (
    PLAIN,
    PLAIN | {"replicas": 3},
    PLAIN | {"scaling": {"min": 2, "max": 4, "target": "cpu=55"}, "placement": {"backend": "docker", "cpus": 1.5}},
    PLAIN | {"scaling": {"min": 0, "max": 2, "target": "concurrency=4"}, "monitor": {"every": "1m"}},
    PLAIN | {"placement": {"backend": "docker", "memory": "3g"}},
)


@pytest.mark.parametrize("document", EVERY)
@pytest.mark.parametrize("autoscaler", ["engine", "none"])
@pytest.mark.parametrize(
    "more",
    [{}, {"TIDEGATE_ECS_LAUNCH_TYPE": "EC2"}, {"TIDEGATE_ECS_CAPACITY_PROVIDER": "FARGATE_SPOT"}],
    ids=["fargate", "ec2", "spot"],
)
def test_the_models_of_aws_take_each_request(document: dict[str, Any], autoscaler: str, more: dict[str, str]) -> None:
    session = pytest.importorskip("botocore.session").get_session()
    validate = pytest.importorskip("botocore.validate").ParamValidator().validate
    answer = export("ecs", document, autoscaler, **ON_AWS, **more)
    commands = [one["command"] for one in answer.documents]
    assert commands[:2] == ["ecs register-task-definition", "ecs create-service"]
    assert len(commands) == (4 if autoscaler == "engine" else 2)
    for one in answer.documents:
        service, _, command = one["command"].partition(" ")
        operation = "".join(part.capitalize() for part in command.split("-"))
        shape = session.get_service_model(service).operation_model(operation).input_shape
        assert validate(one["input"], shape).generate_report() == ""
    assert write_manifests(answer.documents, answer.warnings, "ecs") == write_manifests(
        export("ecs", document, autoscaler, **ON_AWS, **more).documents, (), "ecs"
    )


def test_a_service_of_ecs_is_as_the_settings_say() -> None:
    task, service, target, policy = (
        one["input"] for one in export("ecs", PLAIN | {"replicas": 2}, **ON_AWS, MAX_REPLICAS="6").documents
    )
    (container,) = task["containerDefinitions"]
    assert (container["image"], task["cpu"], task["memory"]) == (PUSHED, "512", "1024")
    assert container["secrets"] == [{"name": "TIDEGATE_API_KEY", "valueFrom": "/tidegate/tidegate-churn"}]
    assert {one["name"]: one["value"] for one in container["environment"]}["MODEL_VERSION"] == "3"
    assert (container["readonlyRootFilesystem"], container["user"]) == (True, "10001:10001")
    assert task["family"] == service["serviceName"] == service["taskDefinition"] == "tidegate-churn"
    network = service["networkConfiguration"]["awsvpcConfiguration"]
    assert network == {"subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"], "assignPublicIp": "DISABLED"}
    assert (service["desiredCount"], service["launchType"]) == (2, "FARGATE")
    assert target["ResourceId"] == policy["ResourceId"] == "service/models/tidegate-churn"
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 6)
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 70.0
    assert "tidegate:platform" not in {tag["key"] for tag in service["tags"]}, "no platform takes it for its own"


def test_requests_of_ecs_are_files_and_commands() -> None:
    documents = export("ecs", PLAIN, **ON_AWS).documents
    files = files_of(documents)
    assert [name for name, _, _ in files] == [
        "1-register-task-definition.json",
        "2-create-service.json",
        "3-register-scalable-target.json",
        "4-put-scaling-policy.json",
    ]
    assert json.loads(files[0][1]) == documents[0]["input"]
    assert files[0][2] == "ecs register-task-definition"
    (command,) = key_commands(documents)
    assert command.startswith("aws ssm put-parameter --type SecureString --name /tidegate/tidegate-churn ")
    assert json.loads(write_manifests(documents, (), "ecs")) == documents


def test_what_ecs_cannot_run_is_refused_and_says_what_to_set() -> None:
    with pytest.raises(InvalidArgument, match="need TIDEGATE_ECS_EXECUTION_ROLE and TIDEGATE_ECS_SUBNETS and AWS_REG"):
        export("ecs", PLAIN)
    with pytest.raises(InvalidArgument, match="16 CPUs"):
        export("ecs", PLAIN | {"placement": {"backend": "docker", "cpus": 17}}, **ON_AWS)
    settings = ExportSettings.of(Settings.from_env(ON_AWS))
    with pytest.raises(InvalidArgument, match="Fargate has no GPUs"):
        manifests_of([PLAIN], "ecs", ServedRequest(), settings, lambda _m, v: (v, Known(gpu=True)))


@pytest.mark.parametrize("document", EVERY)
@pytest.mark.parametrize("autoscaler", ["engine", "none"])
def test_a_service_of_cloud_run_is_whole_and_the_same_twice(document: dict[str, Any], autoscaler: str) -> None:
    answer = export("cloudrun", document, autoscaler, **ON_GOOGLE)
    text = write_manifests(answer.documents, answer.warnings, "cloudrun")
    again = export("cloudrun", document, autoscaler, **ON_GOOGLE)
    assert write_manifests(again.documents, again.warnings, "cloudrun") == text
    (service,) = [one for one in yaml.safe_load_all(text) if one is not None]
    assert service == answer.documents[0]
    assert "gcloud secrets create tidegate-churn" in text
    assert (service["apiVersion"], service["metadata"]["name"]) == ("serving.knative.dev/v1", "tidegate-churn")
    template = service["spec"]["template"]
    low, high = (
        int(template["metadata"]["annotations"][f"autoscaling.knative.dev/{one}Scale"]) for one in ("min", "max")
    )
    assert low <= high
    assert high >= 1
    (container,) = template["spec"]["containers"]
    assert container["image"] == PUSHED
    assert template["spec"]["serviceAccountName"] == ON_GOOGLE["TIDEGATE_CLOUDRUN_SERVICE_ACCOUNT"]
    assert template["spec"]["containerConcurrency"] == 4
    for probe in (container["startupProbe"], container["livenessProbe"]):
        assert probe["timeoutSeconds"] <= probe["periodSeconds"] <= 240
    start = container["startupProbe"]
    assert start["periodSeconds"] * start["failureThreshold"] <= 240, "Cloud Run waits no longer"
    key = next(one for one in container["env"] if one["name"] == "TIDEGATE_API_KEY")
    assert key["valueFrom"] == {"secretKeyRef": {"name": "tidegate-churn", "key": "latest"}}


@pytest.mark.parametrize("document", EVERY)
def test_the_container_of_cloud_run_is_one_that_kubernetes_knows(document: dict[str, Any]) -> None:
    """Its parts are those of a pod; `metadata` and annotations are Cloud Run's own."""
    (service,) = export("cloudrun", document, **ON_GOOGLE).documents
    spec = {"containers": service["spec"]["template"]["spec"]["containers"]}
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}, "1.37", strict=True
    )


def test_cloud_run_sleeps_by_itself_and_is_told_no_target() -> None:
    asleep = {"scaling": {"min": 0, "max": 2, "target": "concurrency=4"}}
    answer = export("cloudrun", PLAIN | asleep, **ON_GOOGLE)
    annotations = answer.documents[0]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["autoscaling.knative.dev/minScale"] == "0"
    assert any("concurrency=4, which Cloud Run" in one for one in answer.warnings)
    assert not any("never sleeps" in one for one in answer.warnings)
    on_aws = export("ecs", PLAIN | asleep, **ON_AWS)
    assert any("never sleeps" in one for one in on_aws.warnings)
    assert any("Application Auto Scaling cannot measure" in one for one in on_aws.warnings)


def test_what_cloud_run_cannot_run_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"49 are allowed\. Give it a name of up to 40"):
        export("cloudrun", PLAIN | {"endpoint": "e" * 41})
    assert export("cloudrun", PLAIN | {"endpoint": "e" * 40}).documents
    with pytest.raises(InvalidArgument, match="8 CPUs"):
        export("cloudrun", PLAIN | {"placement": {"backend": "docker", "cpus": 9}})
    settings = ExportSettings()
    with pytest.raises(InvalidArgument, match="no GPU"):
        manifests_of([PLAIN], "cloudrun", ServedRequest(), settings, lambda _m, v: (v, Known(gpu=True)))


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("ghcr.io/team/churn:3", True),
        ("foogcr.io/team/churn:3", True),
        ("europe-python.pkg.dev/p/r/churn:3", True),
        ("team/churn:3", False),
        ("eu.gcr.io/team/churn:3", False),
        ("europe-docker.pkg.dev/p/r/churn:3", False),
    ],
)
def test_an_image_in_the_wrong_place_is_said(image: str, told: bool) -> None:
    known = Known(image=KnownImage(image, f"{image}@sha256:{'a' * 64}"))
    answer = manifests_of([PLAIN], "cloudrun", ServedRequest(), ExportSettings(), lambda _m, v: (v, known))
    assert any("Artifact Registry" in one for one in answer.warnings) == told


def test_a_split_wants_a_version() -> None:
    split = {"endpoint": "churn", "model": "churn", "traffic": {"1": 50, "2": 50}}
    for form in ("kubernetes", "ecs", "cloudrun"):
        with pytest.raises(InvalidArgument, match="--version"):
            export(form, split, **ON_AWS)
