"""Of CloudWatch Logs, SSM, EC2, IAM and STS as much as the adapter and `doctor` ask for."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

from support.ecs.cluster import Cluster
from support.ecs.shapes import ApiError
from support.ecs.state import ACCOUNT, GROUPS, ROLE, SUBNETS
from tidegate import clock


class LogsApi:
    """What tasks wrote."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def GetLogEvents(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (AWS's name)
        if request["logGroupName"] not in self._cluster.log_groups:
            raise ApiError("ResourceNotFoundException", "The specified log group does not exist.")
        service, container, task_id = request["logStreamName"].split("/")
        found = [one for one in self._cluster.tasks if one.id == task_id and one.process is not None]
        if not found or (found[0].service.name, found[0].container["name"]) != (service, container):
            raise ApiError("ResourceNotFoundException", "The specified log stream does not exist.")
        process = found[0].process
        lines = process.lines() if process is not None else []
        at_ms = int(clock.now() * 1000)
        lines = lines[: request["limit"]] if request.get("startFromHead") else lines[-request["limit"] :]
        return {"events": [{"timestamp": at_ms, "message": line, "ingestionTime": at_ms} for line in lines]}

    def DescribeLogGroups(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        prefix = request.get("logGroupNamePrefix", "")
        found = [name for name in sorted(self._cluster.log_groups) if name.startswith(prefix)]
        return {"logGroups": [{"logGroupName": name} for name in found]}


class SsmApi:
    """The Parameter Store."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def PutParameter(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (AWS's name)
        if request["Name"] in self._cluster.parameters and not request.get("Overwrite"):
            raise ApiError("ParameterAlreadyExists", "The parameter already exists.")
        if request.get("Overwrite") and request.get("Tags"):
            raise ApiError("ValidationException", "tags and overwrite can't be used together.")
        assert request["Type"] == "SecureString"
        self._cluster.parameters[request["Name"]] = request["Value"]
        return {"Version": 1}

    def DeleteParameter(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if self._cluster.parameters.pop(request["Name"], None) is None:
            raise ApiError("ParameterNotFound", "")
        return {}


def query(action: str, form: dict[str, str]) -> str:
    """The XML that EC2, IAM and STS answer."""
    if action == "GetCallerIdentity":
        arn = f"arn:aws:iam::{ACCOUNT}:user/tests"
        body = f"<Arn>{arn}</Arn><UserId>AIDATESTS</UserId><Account>{ACCOUNT}</Account>"
        return _wrapped(action, body, "https://sts.amazonaws.com/doc/2011-06-15/")
    if action == "GetRole":
        name = form["RoleName"]
        if name != ROLE.rpartition("/")[2]:
            raise ApiError("NoSuchEntity", f"The role with name {name} cannot be found.", 404)
        fields = {
            "RoleName": name,
            "Arn": ROLE,
            "Path": "/",
            "RoleId": "AROATESTS",
            "CreateDate": "2026-01-01T00:00:00Z",
        }
        fields["AssumeRolePolicyDocument"] = (
            '{"Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
        )
        body = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in fields.items())
        return _wrapped(action, f"<Role>{body}</Role>", "https://iam.amazonaws.com/doc/2010-05-08/")
    if action == "DescribeSubnets":
        return _listed(action, form, "SubnetId", SUBNETS, "InvalidSubnetID.NotFound", ("subnetSet", "subnetId"))
    if action == "DescribeSecurityGroups":
        return _listed(action, form, "GroupId", GROUPS, "InvalidGroup.NotFound", ("securityGroupInfo", "groupId"))
    raise ApiError("InvalidAction", action)


def _wrapped(action: str, body: str, namespace: str) -> str:
    return f'<{action}Response xmlns="{namespace}"><{action}Result>{body}</{action}Result></{action}Response>'


def _listed(
    action: str, form: dict[str, str], given: str, there: tuple[str, ...], missing: str, named: tuple[str, str]
) -> str:
    asked = [value for key, value in form.items() if key.startswith(f"{given}.")]
    for one in asked:
        if one not in there:
            raise ApiError(missing, f"The ID '{one}' does not exist")
    group, item = named
    body = "".join(f"<item><{item}>{one}</{item}><vpcId>vpc-1</vpcId></item>" for one in asked)
    return f'<{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><{group}>{body}</{group}></{action}Response>'
