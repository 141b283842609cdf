"""Whether everything on AWS is there that replicas on ECS need. Called by `tidegate doctor`; changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

from tidegate.adapters.ecs.client import AwsClient, AwsRefusal
from tidegate.adapters.ecs.definition import listed
from tidegate.adapters.ecs.workloads import check_settings
from tidegate.errors import PartUnavailable, TidegateError
from tidegate.settings import Settings

TASKS = "ecs-tasks.amazonaws.com"


def examine(settings: Settings, client: AwsClient | None = None) -> str:
    """What there is, in one line. Raises `TidegateError` with all that is wrong, and what to do about each."""
    client = client or AwsClient(settings.aws_region, attempts_max=1)
    check_settings(settings)
    who = client.call("sts", "get_caller_identity")
    checks = (_cluster, _subnets, _security_groups, _role, _log_group)
    wrong = [said for check in checks for said in _of(check, client, settings)]
    if wrong:
        raise PartUnavailable("; ".join(wrong))
    return f"cluster {settings.ecs_cluster} in {client.region} is active, as {who.get('Arn', '?')}; nothing is missing"


def _of(check: Callable[[AwsClient, Settings], Iterator[str]], client: AwsClient, settings: Settings) -> list[str]:
    """What one check finds; what keeps it from looking is a finding too."""
    try:
        return list(check(client, settings))
    except TidegateError as error:
        return [error.message]


def _cluster(client: AwsClient, settings: Settings) -> Iterator[str]:
    try:
        found = client.call("ecs", "describe_clusters", clusters=[settings.ecs_cluster]).get("clusters", [])
    except AwsRefusal as refusal:
        yield f"TIDEGATE_ECS_CLUSTER={settings.ecs_cluster}: {refusal.message}"
        return
    if not found or found[0].get("status") != "ACTIVE":
        status = found[0].get("status", "unknown").lower() if found else "not there"
        there = f"TIDEGATE_ECS_CLUSTER={settings.ecs_cluster} is {status} in {client.region}"
        yield f"{there}: make it (aws ecs create-cluster)"


def _subnets(client: AwsClient, settings: Settings) -> Iterator[str]:
    ids = listed(settings.ecs_subnets)
    try:
        found = client.call("ec2", "describe_subnets", SubnetIds=ids).get("Subnets", [])
    except AwsRefusal as refusal:
        yield f"TIDEGATE_ECS_SUBNETS={settings.ecs_subnets}: {refusal.message}"
        return
    networks = sorted({str(one.get("VpcId", "")) for one in found})
    if len(networks) > 1:
        yield f"TIDEGATE_ECS_SUBNETS are in several networks ({', '.join(networks)}): name subnets of one"


def _security_groups(client: AwsClient, settings: Settings) -> Iterator[str]:
    ids = listed(settings.ecs_security_groups)
    if not ids:
        return
    try:
        client.call("ec2", "describe_security_groups", GroupIds=ids)
    except AwsRefusal as refusal:
        yield f"TIDEGATE_ECS_SECURITY_GROUPS={settings.ecs_security_groups}: {refusal.message}"


def _role(client: AwsClient, settings: Settings) -> Iterator[str]:
    arn = str(settings.ecs_execution_role)
    setting = f"TIDEGATE_ECS_EXECUTION_ROLE={arn}"
    if not arn.startswith("arn:") or ":role/" not in arn:
        yield f"{setting} is no ARN of a role: give arn:aws:iam::ACCOUNT:role/NAME"
        return
    try:
        role: dict[str, Any] = client.call("iam", "get_role", RoleName=arn.rpartition("/")[2])["Role"]
    except AwsRefusal as refusal:
        yield f"{setting}: {refusal.message}"
        return
    if role.get("Arn") != arn:
        yield f"{setting}: this account's role of that name is {role.get('Arn')}"
    elif TASKS not in _trusted(role):
        yield f"{setting} cannot be taken by tasks: let {TASKS} assume it (its trust policy)"


def _trusted(role: dict[str, Any]) -> str:
    """The policy that says who may take the role, as text."""
    document = role.get("AssumeRolePolicyDocument", "")
    return unquote(document) if isinstance(document, str) else json.dumps(document)


def _log_group(client: AwsClient, settings: Settings) -> Iterator[str]:
    group = settings.ecs_log_group
    try:
        found = client.call("logs", "describe_log_groups", logGroupNamePrefix=group).get("logGroups", [])
    except AwsRefusal as refusal:
        yield f"TIDEGATE_ECS_LOG_GROUP={group}: {refusal.message}"
        return
    if group not in [one.get("logGroupName") for one in found]:
        yield (
            f"TIDEGATE_ECS_LOG_GROUP={group} is not there, and without it no task starts: make it (aws logs "
            f"create-log-group --log-group-name {group})"
        )
