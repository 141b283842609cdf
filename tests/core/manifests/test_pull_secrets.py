"""What images are pulled with: each engine takes its own kind of secret."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.core.manifests.export import manifests_of
from tidegate.core.manifests.served import ExportSettings, Known, KnownImage, ServedRequest
from tidegate.errors import InvalidArgument
from tidegate.settings import Settings
from tidegate.wire.endpoints.declared import ExportAnswer

ARN, NAME = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:team/pull-Ab1cD2", "pull"
PLACE = {
    "AWS_REGION": "eu-west-1",
    "TIDEGATE_ECS_EXECUTION_ROLE": "arn:aws:iam::123456789012:role/tidegate",
    "TIDEGATE_ECS_SUBNETS": "subnet-1",
}
DOCUMENT = {"endpoint": "churn", "model": "churn", "version": 3}
KNOWN = Known(image=KnownImage("churn:3", f"registry.example.com/churn@sha256:{'c' * 64}"))


def _export(form: str, secret: str) -> ExportAnswer:
    settings = ExportSettings.of(Settings.from_env({**PLACE, "TIDEGATE_IMAGE_PULL_SECRET": secret}))
    return manifests_of([DOCUMENT], form, ServedRequest(), settings, lambda _model, version: (version, KNOWN))


def _container(answer: ExportAnswer) -> dict[str, Any]:
    found: dict[str, Any] = answer.documents[0]["input"]["containerDefinitions"][0]
    return found


def _pod(answer: ExportAnswer) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in answer.documents if one["kind"] == "Deployment")
    pod: dict[str, Any] = found["spec"]["template"]["spec"]
    return pod


def test_each_engine_pulls_with_its_own_kind_and_says_where_there_is_none() -> None:
    ecs, pods = _export("ecs", ARN), _export("kubernetes", NAME)
    assert _container(ecs)["repositoryCredentials"] == {"credentialsParameter": ARN}
    assert _pod(pods)["imagePullSecrets"] == [{"name": NAME}]
    assert "TIDEGATE_IMAGE_PULL_SECRET" not in str([*ecs.warnings, *pods.warnings])
    ecs, pods = _export("ecs", NAME), _export("kubernetes", ARN)
    assert "repositoryCredentials" not in _container(ecs)
    assert "TIDEGATE_IMAGE_PULL_SECRET is not the ARN of a secret of Secrets Manager" in str(ecs.warnings)
    assert "imagePullSecrets" not in _pod(pods)
    assert "TIDEGATE_IMAGE_PULL_SECRET is not the name of a Secret in the cluster" in str(pods.warnings)
    assert "TIDEGATE_IMAGE_PULL_SECRET" not in str(_export("cloudrun", NAME).warnings)


@pytest.mark.parametrize("secret", ["pass Word", "arn:aws:s3:::bucket", f"{ARN} x"])
def test_what_names_no_secret_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(InvalidArgument, match="neither the name of a Secret") as refused:
        _export("ecs", secret)
    assert secret not in refused.value.message
