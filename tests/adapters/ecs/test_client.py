"""What AWS's refusals and silences mean."""

from __future__ import annotations

import pytest

from support.ecs.server import FakeAws
from support.ecs.shapes import ApiError
from tidegate.adapters.ecs.client import AwsClient, AwsRefusal
from tidegate.errors import EngineUnavailable


class Time:
    """A clock that stands."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("ExpiredTokenException", "have expired"),
        ("UnrecognizedClientException", "does not take these credentials"),
        ("AccessDeniedException", "does not allow ecs:ListServices"),
        ("ThrottlingException", "what runs is not known"),
        ("ServerException", "AWS fails at ecs:ListServices"),
    ],
)
def test_a_refusal_says_what_to_do(aws: FakeAws, code: str, said: str) -> None:
    client = AwsClient("eu-west-1", attempts_max=1)
    with (
        aws.refusing(ApiError(code, "User: arn:aws:iam::1:user/x is not authorized")),
        pytest.raises(EngineUnavailable, match=said),
    ):
        client.call("ecs", "list_services", cluster="tidegate-tests")


def test_after_a_silence_nothing_is_asked_for_a_moment(aws: FakeAws) -> None:
    time = Time()
    client = AwsClient("eu-west-1", time, attempts_max=1)
    with aws.refusing(ApiError("ThrottlingException", "Rate exceeded")):
        for _ in range(3):
            with pytest.raises(EngineUnavailable, match="too many calls"):
                client.call("ecs", "list_services", cluster="tidegate-tests")
    asked = aws.calls["ListServices"]
    with pytest.raises(EngineUnavailable):
        client.call("ecs", "list_services", cluster="tidegate-tests")
    assert aws.calls["ListServices"] == asked
    time.now += 60.0
    assert client.call("ecs", "list_services", cluster="tidegate-tests")["serviceArns"] is not None
    assert client.fault is None


def test_throttling_is_tried_again_within_a_call(aws: FakeAws) -> None:
    client, before = AwsClient("eu-west-1", attempts_max=2), aws.calls["DescribeClusters"]
    with aws.refusing(ApiError("ThrottlingException", "Rate exceeded")), pytest.raises(EngineUnavailable):
        client.call("ecs", "describe_clusters", clusters=["tidegate-tests"])
    assert aws.calls["DescribeClusters"] == before + 2


@pytest.mark.usefixtures("aws")
def test_without_credentials_it_says_where_they_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(EngineUnavailable, match="AWS_PROFILE"):
        AwsClient("eu-west-1").call("ecs", "describe_clusters")


@pytest.mark.usefixtures("aws")
def test_without_a_region_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(EngineUnavailable, match="AWS_REGION"):
        AwsClient(None).call("ecs", "describe_clusters")


@pytest.mark.usefixtures("aws")
def test_a_region_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", "https://127.0.0.1:9")
    with pytest.raises(EngineUnavailable, match="AWS has no ECS in region 'eu-nowhere-1'"):
        AwsClient("eu-nowhere-1", attempts_max=1).call("ecs", "describe_clusters")


@pytest.mark.usefixtures("aws")
def test_what_the_api_does_not_have_is_refused_by_the_fake_as_by_aws() -> None:
    with pytest.raises(AwsRefusal, match="InvalidParameterException"):
        AwsClient("eu-west-1").call("ecs", "describe_clusters", clusters="not a list")


@pytest.mark.usefixtures("aws")
def test_only_listed_calls_are_made() -> None:
    """The policy for whoever runs it is made of that list."""
    with pytest.raises(ValueError, match="not among CALLS"):
        AwsClient("eu-west-1").call("ecs", "run_task")
