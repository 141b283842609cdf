"""What ECS says of services and tasks, as `core.workloads` has it. Pure: AWS's answers in, values out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tidegate.adapters.ecs.choosing import Rollout, RunningTask
from tidegate.adapters.ecs.definition import DEFINITION, NAME, TOKEN, key_of, read_tags
from tidegate.adapters.ecs.stopped import StoppedTask
from tidegate.core.images.contents import HTTP_PORT
from tidegate.core.ports import Handle, ReplicaObservation
from tidegate.core.routing.targets import Address
from tidegate.core.workloads import Instance, WorkloadKey

Facts = Mapping[str, Any]
"""A service or task, as AWS describes it."""
EVENTS_LOOKED_AT = 10
_PLACED = re.compile(r"has started \d+ tasks|has reached a steady state", re.I)
_NOT_PLACED = re.compile(r"unable to place|unable to consistently start|was unable to|throttl", re.I)


def seconds(at: object) -> float:
    """Of a time as boto3 gives it; 0 for none."""
    return at.timestamp() if isinstance(at, datetime) else 0.0


def id_of(arn: str) -> str:
    """The last part of an ARN: a task's id, a service's name, a definition with its revision."""
    return arn.rpartition("/")[2]


# -- services ---------------------------------------------------------------------------------------------------------


def workload_of(service: Facts, platform_tag: str, platform: str) -> WorkloadKey | None:
    """The workload that a service of this platform is; None for any other service."""
    tags = read_tags(service)
    return key_of(tags) if tags.get(platform_tag) == platform else None


def token_of(service: Facts) -> int:
    """Of the lease under which it was written last."""
    text = read_tags(service).get(TOKEN, "0")
    return int(text) if text.isdecimal() else 0


def primary(service: Facts) -> Facts:
    """The deployment that holds now."""
    found: Facts = next((one for one in service.get("deployments") or () if one.get("status") == "PRIMARY"), {})
    return found


def rollout_of(service: Facts) -> Rollout:
    """How its deployment goes."""
    deployment = primary(service)
    failed = int(deployment.get("failedTasks", 0))
    return Rollout(str(deployment.get("rolloutState", "")), failed, seconds(deployment.get("updatedAt")))


def changed_by_others(service: Facts) -> str:
    """The task definition that somebody gave the service in place of ours; "" where it is ours."""
    ours, theirs = read_tags(service).get(DEFINITION, ""), id_of(str(primary(service).get("taskDefinition", "")))
    return theirs if ours and theirs and ours != theirs else ""


def problem_of(service: Facts, platform_fault: str) -> str:
    """Why the service has fewer tasks than it was asked for, with what to do; "" where nothing keeps it.

    The deployment is judged by its id: an older one's end, or a service that is steady after somebody's rollback, says
    nothing of it.
    """
    name, deployment = service.get("serviceName", ""), primary(service)
    if (theirs := changed_by_others(service)) != "":
        return f"somebody changed the service {name}: it runs {theirs}, and is set back"
    if int(service.get("runningCount", 0)) >= int(service.get("desiredCount", 0)):
        return ""
    if deployment.get("rolloutState") == "FAILED":
        why = deployment.get("rolloutStateReason", "tasks failed to start")
        problem = f"ECS starts no more tasks of {name} (deployment {deployment.get('id', '')}): {why}"
        return f"{problem}; {platform_fault}" if platform_fault else problem
    return platform_fault or _not_placed(service)


def _not_placed(service: Facts) -> str:
    """What the newest events say, unless a task was started after them."""
    for event in sorted(service.get("events") or (), key=lambda one: -seconds(one.get("createdAt")))[:EVENTS_LOOKED_AT]:
        message = str(event.get("message", ""))
        if _PLACED.search(message):
            return ""
        if _NOT_PLACED.search(message):
            return f"{message} Add capacity to the cluster, or ask for less with --cpus and --memory"
    return ""


# -- tasks ------------------------------------------------------------------------------------------------------------


def service_of(task: Facts) -> str:
    """The name of the service that a task is of; "" for none."""
    group = str(task.get("group", ""))
    return group.removeprefix("service:") if group.startswith("service:") else ""


def is_over(task: Facts) -> bool:
    """Whether nothing of it runs any more, though ECS may still clear up behind it."""
    containers = task.get("containers") or ()
    return task.get("lastStatus") == "STOPPED" or any(
        one.get("lastStatus") == "STOPPED" and one.get("exitCode") is not None for one in containers
    )


def is_ready(task: Facts) -> bool:
    """Whether it runs, and answered a prediction when it was last asked."""
    return task.get("lastStatus") == "RUNNING" and task.get("healthStatus") == "HEALTHY"


def is_leaving(task: Facts) -> bool:
    """Whether ECS ends it, or has."""
    return task.get("desiredStatus") == "STOPPED"


def running_task(task: Facts) -> RunningTask:
    """As it is chosen by."""
    return RunningTask(id_of(str(task["taskArn"])), is_ready(task), seconds(task.get("createdAt")))


def address_of(task: Facts, credential: str) -> str | None:
    """Of its network interface; None before it has one."""
    details = (
        detail
        for attachment in task.get("attachments") or ()
        if attachment.get("type") == "ElasticNetworkInterface"
        for detail in attachment.get("details") or ()
    )
    ip = next((str(one["value"]) for one in details if one.get("name") == "privateIPv4Address"), None)
    return None if ip is None else str(Address(f"tcp:{ip}:{HTTP_PORT}", credential))


def handle_of(task: Facts, service: str) -> Handle:
    """Enough to find it and its log again."""
    text = read_tags(task).get(TOKEN, "0")
    token = int(text) if text.isdecimal() else 0
    return Handle(NAME, {"replica": id_of(str(task["taskArn"])), "workload": service, "token": token})


def living(task: Facts, service: str) -> Instance:
    """A task that is not over. ECS takes time to find a place and pull the image: nobody is to blame for that."""
    status = str(task.get("lastStatus", ""))
    seen = ReplicaObservation(True, is_ready(task), address_of(task, service))
    leaving = is_leaving(task)
    waits = "" if status == "RUNNING" or leaving else f"ECS prepares the task ({status.lower()})"
    return Instance(id_of(str(task["taskArn"])), handle_of(task, service), seen, leaving, waits)


def dead(task: Facts, service: str, end: StoppedTask, lines: Sequence[str]) -> Instance:
    """A task that is over; its last lines, and why ECS says it ended."""
    seen = ReplicaObservation(False, False, address_of(task, service), end.exit_code, (*lines, end.why))
    return Instance(id_of(str(task["taskArn"])), handle_of(task, service), seen)
