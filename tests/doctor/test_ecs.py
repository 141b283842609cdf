"""What `tidegate doctor` says of replicas on AWS ECS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.ecs.server import FakeAws
from support.ecs.shapes import ApiError
from tidegate.doctor.ecs import ecs
from tidegate.doctor.findings import DoctorFacts, FindingState
from tidegate.errors import InvalidArgument, MissingExtra, TidegateError
from tidegate.settings import Settings


@pytest.fixture(scope="module")
def one_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAws]:
    fake = FakeAws(tmp_path_factory.mktemp("aws"))
    yield fake
    fake.close()


@pytest.fixture
def aws(one_aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    for name, value in one_aws.env.items():
        monkeypatch.setenv(name, value)
    return one_aws


def facts(aws: FakeAws, **changes: str) -> DoctorFacts:
    env = aws.env | changes
    return DoctorFacts(Settings.from_env(env), env)


def test_it_is_off_where_nobody_uses_it() -> None:
    assert ecs(DoctorFacts(Settings(), {}))[0] is FindingState.OFF


def test_all_that_is_needed_is_there(aws: FakeAws) -> None:
    state, said = ecs(facts(aws))
    assert state is FindingState.OK
    assert said.startswith("cluster tidegate-tests in eu-west-1 is active, as arn:aws:iam::")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TIDEGATE_ECS_CLUSTER", "elsewhere", "is not there in eu-west-1: make it"),
        ("TIDEGATE_ECS_SUBNETS", "subnet-9", "The ID 'subnet-9' does not exist"),
        ("TIDEGATE_ECS_SECURITY_GROUPS", "sg-9", "The ID 'sg-9' does not exist"),
        ("TIDEGATE_ECS_EXECUTION_ROLE", "no-arn", "give arn:aws:iam::ACCOUNT:role/NAME"),
        ("TIDEGATE_ECS_EXECUTION_ROLE", "arn:aws:iam::123456789012:role/other", "cannot be found"),
        ("TIDEGATE_ECS_EXECUTION_ROLE", "arn:aws:iam::999999999999:role/tidegate-execution", "this account's role"),
        ("TIDEGATE_ECS_LOG_GROUP", "/ecs/other", "aws logs create-log-group --log-group-name /ecs/other"),
    ],
)
def test_each_setting_that_names_nothing_is_told(aws: FakeAws, name: str, value: str, said: str) -> None:
    with pytest.raises(TidegateError, match=name) as found:
        ecs(facts(aws, **{name: value}))
    assert said in found.value.message


def test_all_that_is_wrong_is_told_at_once(aws: FakeAws) -> None:
    changes = {"TIDEGATE_ECS_LOG_GROUP": "/ecs/other", "TIDEGATE_ECS_SUBNETS": "subnet-9"}
    with pytest.raises(TidegateError) as found:
        ecs(facts(aws, **changes))
    assert all(name in found.value.message for name in changes)


def test_a_setting_that_is_missing_is_told(aws: FakeAws) -> None:
    with pytest.raises(InvalidArgument, match="TIDEGATE_ECS_EXECUTION_ROLE"):
        ecs(facts(aws, TIDEGATE_ECS_EXECUTION_ROLE=""))


def test_rights_that_are_missing_are_named(aws: FakeAws) -> None:
    denied = ApiError("AccessDeniedException", "not authorized")
    with aws.refusing(denied, "DescribeLogGroups"), pytest.raises(TidegateError, match="allow logs:DescribeLogGroups"):
        ecs(facts(aws))


def test_without_boto3_it_says_what_to_install(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidegate.doctor.ecs.find_spec", lambda _name: None)
    with pytest.raises(MissingExtra, match=r"tidegate\[ecs\]"):
        ecs(facts(aws))
