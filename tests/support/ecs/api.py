"""ECS's operations on the fake cluster, each with the refusals that AWS has for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from support.ecs.cluster import Cluster
from support.ecs.shapes import ApiError
from support.ecs.state import (
    ARN,
    CLUSTER,
    GROUPS,
    REGION,
    ROLE,
    SUBNETS,
    Definition,
    Deployment,
    Service,
    Task,
)
from tidegate import clock

PAGE = 100
_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_TAG = re.compile(r"[\w\s+\-=.:/@]*")
_FARGATE = {256: (512, 2048), 512: (1024, 4096), 1024: (2048, 8192), 2048: (4096, 16384), 4096: (8192, 30720)}


def refuse(message: str, code: str = "InvalidParameterException") -> ApiError:
    return ApiError(code, message)


class EcsApi:
    """One method for each operation, named as in AWS's API."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    # -- clusters and definitions --------------------------------------------------------------------------------------

    def DescribeClusters(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 (AWS's name)
        found = [name for name in request.get("clusters", ["default"]) if _last(name) == CLUSTER]
        gone = [name for name in request.get("clusters", ["default"]) if _last(name) != CLUSTER]
        told = {"clusterArn": f"{ARN}:cluster/{CLUSTER}", "clusterName": CLUSTER, "status": "ACTIVE"}
        return {"clusters": [told for _ in found], "failures": [{"arn": one, "reason": "MISSING"} for one in gone]}

    def RegisterTaskDefinition(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        tags = request.pop("tags", [])
        _check_tags(tags)
        _check_definition(request)
        revisions = self._cluster.definitions.setdefault(request["family"], [])
        made = Definition(request, tags, len(revisions) + 1)
        revisions.append(made)
        return {"taskDefinition": made.told(), "tags": tags}

    def DescribeTaskDefinition(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self._definition(request["taskDefinition"], active=False)
        return {"taskDefinition": found.told(), "tags": found.tags if "TAGS" in request.get("include", ()) else []}

    def ListTaskDefinitions(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        status, prefix = request.get("status", "ACTIVE"), request.get("familyPrefix", "")
        arns = [
            one.arn
            for family, all_of in self._cluster.definitions.items()
            if family == prefix or not prefix
            for one in all_of
            if one.status == status
        ]
        return {"taskDefinitionArns": arns}

    def DeregisterTaskDefinition(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self._definition(request["taskDefinition"], active=False)
        found.status = "INACTIVE"
        return {"taskDefinition": found.told()}

    def DeleteTaskDefinitions(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        _at_most(request["taskDefinitions"], 10, "taskDefinitions")
        deleted = []
        for arn in request["taskDefinitions"]:
            found = self._definition(arn, active=False)
            if found.status != "INACTIVE":
                raise refuse("The specified task definition is not INACTIVE.", "ClientException")
            found.status = "DELETE_IN_PROGRESS"
            deleted.append(found.told())
        return {"taskDefinitions": deleted, "failures": []}

    def _definition(self, named: str, *, active: bool) -> Definition:
        family, _, revision = _last(named).partition(":")
        found = [one for one in self._cluster.definitions.get(family, ()) if one.status != "DELETE_IN_PROGRESS"]
        found = [one for one in found if str(one.revision) == revision or (not revision and one.status == "ACTIVE")]
        if not found:
            raise refuse("Unable to describe task definition.", "ClientException")
        if active and found[-1].status != "ACTIVE":
            raise refuse("TaskDefinition is inactive", "ClientException")
        return found[-1]

    # -- services ------------------------------------------------------------------------------------------------------

    def CreateService(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        _check_cluster(request)
        name = request["serviceName"]
        there = self._cluster.services.get(name)
        if there is not None and there.status == "DRAINING":
            raise refuse("Unable to Start a service that is still Draining.")
        if there is not None and there.status == "ACTIVE":
            raise refuse("Creation of service was not idempotent.")
        _check_service(request)
        definition = self._definition(request["taskDefinition"], active=True)
        deployments = [Deployment(definition)]
        made = Service(name, request, request.get("desiredCount", 0), list(request.get("tags", ())), deployments)
        self._cluster.services[name] = made
        return {"service": self._told(made, tags=True)}

    def UpdateService(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self._service(request["service"], request)
        if found.status != "ACTIVE":
            raise ApiError("ServiceNotActiveException", "Service was not ACTIVE.")
        found.desired = request.get("desiredCount", found.desired)
        named = request.get("taskDefinition")
        definition = self._definition(named, active=True) if named else found.primary.definition
        if request.get("forceNewDeployment") or definition is not found.primary.definition:
            found.primary.status = "ACTIVE"
            found.deployments.insert(0, Deployment(definition))
        return {"service": self._told(found, tags=False)}

    def DeleteService(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self._service(request["service"], request)
        if found.status == "INACTIVE":
            raise ApiError("ServiceNotActiveException", "Service was not ACTIVE.")
        if found.desired and not request.get("force"):
            raise refuse("The service cannot be stopped while it is scaled above 0.")
        found.status, found.desired = "DRAINING", 0
        return {"service": self._told(found, tags=False)}

    def DescribeServices(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        _check_cluster(request)
        _at_most(request["services"], 10, "services")
        names = [_last(one) for one in request["services"]]
        tags = "TAGS" in request.get("include", ())
        found = [
            self._told(self._cluster.services[name], tags=tags) for name in names if name in self._cluster.services
        ]
        gone = [
            {"arn": f"{ARN}:service/{CLUSTER}/{one}", "reason": "MISSING"}
            for one in names
            if one not in self._cluster.services
        ]
        return {"services": found, "failures": gone}

    def ListServices(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        _check_cluster(request)
        listed = [one.arn for one in self._cluster.services.values() if one.status != "INACTIVE"]
        return _page(listed, request, "serviceArns", 10)

    def TagResource(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        _check_tags(request["tags"])
        found = self._service(_last(request["resourceArn"]), {"cluster": CLUSTER})
        new = {one["key"]: one["value"] for one in (*found.tags, *request["tags"])}
        found.tags = [{"key": key, "value": value} for key, value in new.items()]
        return {}

    def _service(self, named: str, request: dict[str, Any]) -> Service:
        _check_cluster(request)
        found = self._cluster.services.get(_last(named))
        if found is None:
            raise ApiError("ServiceNotFoundException", "Service not found.")
        return found

    def _told(self, service: Service, *, tags: bool) -> dict[str, Any]:
        tasks = [task for task in self._cluster.tasks if task.service is service]
        running = [task for task in tasks if task.status == "RUNNING"]
        pending = [task for task in tasks if task.desired == "RUNNING" and task.status in ("PROVISIONING", "PENDING")]
        return {
            "serviceArn": service.arn,
            "serviceName": service.name,
            "clusterArn": f"{ARN}:cluster/{CLUSTER}",
            "status": service.status,
            "desiredCount": service.desired,
            "runningCount": len(running),
            "pendingCount": len(pending),
            "taskDefinition": service.primary.definition.arn,
            "deployments": [_deployment(one, service, tasks) for one in service.deployments],
            "events": [{"id": str(i), "createdAt": at, "message": told} for i, (at, told) in enumerate(service.events)],
            "createdAt": service.created_s,
            **({"tags": service.tags} if tags else {}),
        }

    # -- tasks ---------------------------------------------------------------------------------------------------------

    def ListTasks(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        _check_cluster(request)
        wanted, name = request.get("desiredStatus", "RUNNING"), request.get("serviceName")
        if name is not None:
            self._service(name, request)
        listed = [
            task.arn
            for task in self._cluster.tasks
            if task.desired == wanted and (name is None or task.service.name == name)
        ]
        return _page(listed, request, "taskArns", PAGE)

    def DescribeTasks(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        _check_cluster(request)
        _at_most(request["tasks"], 100, "tasks")
        found = self._tasks(request["tasks"])
        return {"tasks": [one.told(tags="TAGS" in request.get("include", ())) for one in found], "failures": []}

    def StopTask(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        found = self._tasks([request["task"]])
        if not found:
            raise refuse("The referenced task was not found.")
        self._cluster.stop(found[0], "UserInitiated", request.get("reason", "Task stopped by user"))
        return {"task": found[0].told(tags=False)}

    def UpdateTaskProtection(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        _check_cluster(request)
        _at_most(request["tasks"], 10, "tasks")
        minutes = request.get("expiresInMinutes", 120)
        if not 1 <= minutes <= 2880:
            raise refuse("expiresInMinutes should be between 1 and 2880")
        protected, failures = [], []
        for named in request["tasks"]:
            task = next(iter(self._tasks([named])), None)
            if task is None or task.desired == "STOPPED":
                failures.append({"arn": named, "reason": "MISSING" if task is None else "TASK_NOT_VALID"})
                continue
            on = request["protectionEnabled"]
            task.protected_until_s = clock.now() + 60.0 * minutes if on else 0.0
            protected.append({"taskArn": task.arn, "protectionEnabled": on})
        return {"protectedTasks": protected, "failures": failures}

    def _tasks(self, named: Sequence[str]) -> list[Task]:
        ids = {_last(one) for one in named}
        return [task for task in self._cluster.tasks if task.id in ids]


def _deployment(one: Deployment, service: Service, tasks: Sequence[Task]) -> dict[str, Any]:
    mine = [task for task in tasks if task.deployment is one]
    return {
        "id": one.id,
        "status": one.status,
        "taskDefinition": one.definition.arn,
        "desiredCount": service.desired,
        "runningCount": sum(task.status == "RUNNING" for task in mine),
        "failedTasks": one.failed,
        "rolloutState": one.rollout,
        "rolloutStateReason": one.reason,
        "createdAt": one.created_s,
        "updatedAt": one.updated_s,
    }


def _last(arn: str) -> str:
    return arn.rpartition("/")[2]


def _page(listed: list[str], request: dict[str, Any], name: str, size: int) -> dict[str, Any]:
    first = int(request.get("nextToken", "0"))
    size = request.get("maxResults", size)
    further = {"nextToken": str(first + size)} if first + size < len(listed) else {}
    return {name: listed[first : first + size], **further}


def _at_most(items: Sequence[str], most: int, what: str) -> None:
    if len(items) > most:
        raise refuse(f"{what} can have at most {most} items.")


def _check_cluster(request: dict[str, Any]) -> None:
    if _last(request.get("cluster", "default")) != CLUSTER:
        raise ApiError("ClusterNotFoundException", "Cluster not found.")


def _check_tags(tags: Sequence[dict[str, str]]) -> None:
    _at_most([one["key"] for one in tags], 50, "tags")
    for one in tags:
        if not (_TAG.fullmatch(one["key"]) and _TAG.fullmatch(one["value"]) and len(one["value"]) <= 256):
            raise refuse(f"Some tags contain invalid characters: {one}")
        if one["key"].lower().startswith("aws:"):
            raise refuse("aws: prefixed tag key names are not allowed for external use.")


def _check_definition(request: dict[str, Any]) -> None:
    if not _NAME.fullmatch(request["family"]):
        raise refuse("Family contains invalid characters or is too long.", "ClientException")
    container = request["containerDefinitions"][0]
    options = container["logConfiguration"]["options"]
    if options.get("awslogs-region") != REGION:
        raise refuse("Log driver awslogs requires option awslogs-region.", "ClientException")
    check = container["healthCheck"]
    if not (5 <= check["interval"] <= 300 and 2 <= check["timeout"] <= 60):
        raise refuse("Health check interval or timeout out of range.", "ClientException")
    if not (1 <= check["retries"] <= 10 and 0 <= check["startPeriod"] <= 300):
        raise refuse("Health check retries or startPeriod out of range.", "ClientException")
    if "FARGATE" not in request.get("requiresCompatibilities", ()):
        return
    low, high = _FARGATE.get(int(request.get("cpu", "0")), (0, -1))
    if not low <= int(request.get("memory", "0")) <= high:
        raise refuse("No Fargate configuration exists for given values.", "ClientException")
    if request.get("networkMode") != "awsvpc":
        raise refuse("Fargate only supports network mode 'awsvpc'.", "ClientException")
    if not 2 <= container.get("stopTimeout", 30) <= 120:
        raise refuse("Fargate's stopTimeout must be between 2 and 120.", "ClientException")
    if request.get("executionRoleArn") != ROLE:
        raise refuse(
            "Fargate requires task definition to have execution role ARN to support log driver awslogs.",
            "ClientException",
        )


def _check_service(request: dict[str, Any]) -> None:
    _check_tags(request.get("tags", ()))
    if not _NAME.fullmatch(request["serviceName"]):
        raise refuse("Service name contains invalid characters or is too long.")
    if "launchType" in request and "capacityProviderStrategy" in request:
        raise refuse("Specifying both a launch type and capacity provider strategy is not supported.")
    if len(request.get("clientToken", "")) > 36:
        raise refuse("clientToken is too long.")
    network = request.get("networkConfiguration", {}).get("awsvpcConfiguration")
    if network is None:
        raise refuse("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    for subnet in network["subnets"]:
        if subnet not in SUBNETS:
            raise refuse(f"Error retrieving subnet information for [{subnet}]: The subnet ID '{subnet}' does not exist")
    for group in network.get("securityGroups", ()):
        if group not in GROUPS:
            where = f"Error retrieving security group information for [{group}]"
            raise refuse(f"{where}: The security group '{group}' does not exist")
    if network.get("assignPublicIp") == "ENABLED" and request.get("launchType") == "EC2":
        raise refuse("Assign public IP is not supported for this launch type.")
