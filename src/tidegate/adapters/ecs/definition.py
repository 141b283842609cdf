"""What a workload is on ECS: names, tags, its task definition and its service, as AWS takes them. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tidegate.core.engines.fargate import CPUS, MEMORY_MIB, MIB, UNITS_A_CPU, fargate_size
from tidegate.core.engines.placement import Placement
from tidegate.core.images.contents import HTTP_PORT, USER_ID
from tidegate.core.images.replica_env import KEY, by_name, replica_env
from tidegate.core.names import check_fits
from tidegate.core.workloads import WorkloadKey, WorkloadSpec
from tidegate.errors import InvalidArgument
from tidegate.settings import Settings

NAME = "ecs"
CONTAINER = "replica"
OWN = "tidegate:"
PLATFORM, ENDPOINT, VERSION, FORM, PLACEMENT = (
    f"{OWN}{n}" for n in ("platform", "endpoint", "version", "form", "placement")
)
TOKEN, MODEL, DIGEST, DEFINITION = (f"{OWN}{n}" for n in ("token", "model", "digest", "definition"))
"""Tags of a service; its tasks have them too, as they were when the task was started."""
NAME_CHARS_MAX, TAG_CHARS_MAX = 255, 256
TMP_MIB = 128
STOP_S_MAX, STOP_S_OVER = 120, 10
"""Fargate's greatest stop timeout; ours is longer than the drain by this."""
HEALTH_EVERY_S, HEALTH_TIMEOUT_S, HEALTH_RETRIES = 5, 5, 3
START_S_MIN, START_S_MAX, START_RETRIES_MAX = 60, 300, 10
COLD_STARTS = 4
FAILED_TASKS_MAX = 3
"""Tasks in a row that may fail before ECS starts no more of a deployment."""
FARGATE = "FARGATE"


@dataclass(frozen=True)
class TaskSize:
    """Of a task: units of CPU (1024 are one) and MiB."""

    cpu_units: int
    memory_mib: int


@dataclass(frozen=True)
class TaskContainer:
    """What a task's container is made of, beside what all have in common. `pull_secret` is an ARN."""

    image: str
    env: Mapping[str, str]
    key: str
    region: str
    key_parameter: str | None = None
    pull_secret: str | None = None
    gpus: int = 0


def workload_name(platform: str, key: WorkloadKey) -> str:
    """Of the service, its task definition's family and the credential. Raises `InvalidArgument`."""
    name = f"{prefix_of(platform)}{key.endpoint}-v{key.version}-{key.suffix}"
    return check_fits(name, NAME_CHARS_MAX, key.endpoint, "ECS")


def prefix_of(platform: str) -> str:
    """What the names of all of a platform's services begin with."""
    return f"tidegate-{platform}-"


# -- tags -------------------------------------------------------------------------------------------------------------


def tags_of(platform: str, spec: WorkloadSpec, digest: str) -> dict[str, str]:
    """All that is needed to know the workload again. Raises `InvalidArgument` for a value that no tag takes."""
    tags = {
        PLATFORM: platform,
        ENDPOINT: spec.key.endpoint,
        MODEL: spec.model,
        VERSION: spec.key.version,
        FORM: spec.key.form,
        PLACEMENT: placement_text(spec.key.placement),
        TOKEN: str(spec.token),
        DIGEST: digest,
    }
    for name, value in tags.items():
        if len(value) > TAG_CHARS_MAX:
            raise InvalidArgument(f"{name} {value[:40]!r}… is too long for a tag of AWS", field=name.removeprefix(OWN))
    return tags


def aws_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """As AWS takes them."""
    return [{"key": name, "value": value} for name, value in tags.items()]


def read_tags(resource: Mapping[str, Any]) -> dict[str, str]:
    """As AWS gives them."""
    return {str(tag.get("key", "")): str(tag.get("value", "")) for tag in resource.get("tags") or ()}


def key_of(tags: Mapping[str, str]) -> WorkloadKey | None:
    """The workload that tags are of; None for none that this release can read."""
    try:
        placement = placement_of(tags[PLACEMENT])
        return WorkloadKey(tags[ENDPOINT], tags[VERSION], placement, tags.get(FORM, ""))
    except (KeyError, ValueError, TypeError):
        return None


def placement_text(placement: Placement) -> str:
    """In characters that a tag takes.

    >>> placement_text(Placement("ecs", 0.5, 1 << 30))
    'cpus=0.5 memory_bytes=1073741824'
    >>> placement_of("cpus=0.5 memory_bytes=1073741824") == Placement("ecs", 0.5, 1 << 30)
    True
    """
    chosen = {name: value for name, value in asdict(placement).items() if name != "backend" and value is not None}
    return " ".join(f"{name}={json.dumps(value)}" for name, value in chosen.items())


def placement_of(text: str) -> Placement:
    """What `placement_text` reads as. Raises `ValueError` or `TypeError`."""
    return Placement(
        NAME, **{name: json.loads(value) for name, _, value in (part.partition("=") for part in text.split())}
    )


# -- sizes ------------------------------------------------------------------------------------------------------------


def size_of(placement: Placement, settings: Settings) -> TaskSize:
    """How large its tasks are: on Fargate the next size there is. Raises `InvalidArgument`."""
    if on_fargate(settings):
        return TaskSize(*fargate_size(placement.cpus, placement.memory_bytes))
    cpus = CPUS if placement.cpus is None else placement.cpus
    memory_mib = MEMORY_MIB if placement.memory_bytes is None else math.ceil(placement.memory_bytes / MIB)
    return TaskSize(max(128, math.ceil(cpus * UNITS_A_CPU)), memory_mib)


def on_fargate(settings: Settings) -> bool:
    """Whether AWS has the machines."""
    provider = settings.ecs_capacity_provider
    return provider.startswith(FARGATE) if provider else settings.ecs_launch_type == FARGATE


def stop_s(settings: Settings) -> int:
    """How long a task may take to end once it was told to. Raises `InvalidArgument` for what Fargate does not have."""
    wanted = math.ceil(settings.drain_s) + STOP_S_OVER
    if wanted > STOP_S_MAX:
        raise InvalidArgument(
            f"TIDEGATE_DRAIN_S={settings.drain_s:g} is more than ECS waits for a task that ends: give at most "
            f"{STOP_S_MAX - STOP_S_OVER}",
            field="TIDEGATE_DRAIN_S",
        )
    return wanted


# -- what is made -----------------------------------------------------------------------------------------------------


def environment(spec: WorkloadSpec, settings: Settings, size: TaskSize, env: Mapping[str, str]) -> dict[str, str]:
    """What the container's replica is told: the version, how long it drains, and its threads."""
    return replica_env(spec.key.version, settings.drain_s, size.cpu_units / UNITS_A_CPU, env)


def task_definition(name: str, spec: WorkloadSpec, settings: Settings, container: TaskContainer) -> dict[str, Any]:
    """The request of RegisterTaskDefinition, without tags. Raises `InvalidArgument`."""
    size, fargate = size_of(spec.key.placement, settings), on_fargate(settings)
    if container.gpus and fargate:
        raise InvalidArgument(
            "Fargate has no GPUs: run on instances of your own that have (TIDEGATE_ECS_LAUNCH_TYPE=EC2), or register "
            "the version with --device cpu",
            field="device",
        )
    role = {"executionRoleArn": settings.ecs_execution_role} if settings.ecs_execution_role else {}
    return {
        "family": name,
        **role,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE" if fargate else "EC2"],
        "cpu": str(size.cpu_units),
        "memory": str(size.memory_mib),
        "runtimePlatform": {"cpuArchitecture": settings.ecs_architecture, "operatingSystemFamily": "LINUX"},
        "containerDefinitions": [_container(name, spec, settings, container)],
    }


def _container(name: str, spec: WorkloadSpec, settings: Settings, container: TaskContainer) -> dict[str, Any]:
    env = dict(container.env)
    secrets = {}
    if container.key_parameter is None:
        env[KEY] = container.key
    else:
        secrets = {"secrets": [{"name": KEY, "valueFrom": container.key_parameter}]}
    pull = {"repositoryCredentials": {"credentialsParameter": container.pull_secret}} if container.pull_secret else {}
    gpus = {"resourceRequirements": [{"type": "GPU", "value": str(container.gpus)}]} if container.gpus else {}
    return {
        "name": CONTAINER,
        "image": container.image,
        "essential": True,
        "command": ["--host", "0.0.0.0", "--port", str(HTTP_PORT), "--managed"],  # noqa: S104 (its own network)
        "portMappings": [{"containerPort": HTTP_PORT, "protocol": "tcp"}],
        "environment": by_name(env),
        **secrets,
        **pull,
        **gpus,
        "user": f"{USER_ID}:{USER_ID}",
        "readonlyRootFilesystem": True,
        "linuxParameters": {
            "capabilities": {"drop": ["ALL"]},
            "tmpfs": [{"containerPath": "/tmp", "size": TMP_MIB, "mountOptions": ["rw", "nosuid", "nodev"]}],  # noqa: S108
        },
        "stopTimeout": stop_s(settings),
        "healthCheck": health_check(spec, settings),
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": settings.ecs_log_group,
                "awslogs-region": container.region,
                "awslogs-stream-prefix": name,
            },
        },
    }


def health_check(spec: WorkloadSpec, settings: Settings) -> dict[str, Any]:
    """Whether a prediction was answered, asked by the image's own Python. A slow start is not held against it."""
    wanted_s = max(START_S_MIN, settings.ready_timeout_s, COLD_STARTS * (spec.cold_start_s or 0.0))
    beyond_s = max(0.0, wanted_s - START_S_MAX)
    return {
        "command": ["CMD", "/opt/tidegate/bin/python", "-m", "tidegate.server.health"],
        "interval": HEALTH_EVERY_S,
        "timeout": HEALTH_TIMEOUT_S,
        "retries": min(START_RETRIES_MAX, HEALTH_RETRIES + math.ceil(beyond_s / HEALTH_EVERY_S)),
        "startPeriod": math.ceil(min(START_S_MAX, wanted_s)),
    }


def service(name: str, spec: WorkloadSpec, settings: Settings, definition: str) -> dict[str, Any]:
    """The request of CreateService, without tags. `definition` is the ARN of a task definition."""
    public = "ENABLED" if settings.ecs_public_ip else "DISABLED"
    network: dict[str, Any] = {"subnets": listed(settings.ecs_subnets)}
    if settings.ecs_security_groups:
        network["securityGroups"] = listed(settings.ecs_security_groups)
    if on_fargate(settings):
        network["assignPublicIp"] = public
    return {
        "cluster": settings.ecs_cluster,
        "serviceName": name,
        "taskDefinition": definition,
        "desiredCount": spec.count,
        **_launched(settings),
        "schedulingStrategy": "REPLICA",
        "deploymentController": {"type": "ECS"},
        "deploymentConfiguration": {"minimumHealthyPercent": 100, "maximumPercent": 200},
        "availabilityZoneRebalancing": "DISABLED",  # a replica ends when gateways have let go of it, and not before
        "networkConfiguration": {"awsvpcConfiguration": network},
        "propagateTags": "SERVICE",
        "enableECSManagedTags": False,
    }


def breaker(*, counts: bool) -> dict[str, Any]:
    """Stops a deployment whose tasks fail; `counts`: AWS's library knows of a number of them."""
    number = {"thresholdConfiguration": {"type": "COUNT", "value": FAILED_TASKS_MAX}} if counts else {}
    return {"enable": True, "rollback": False, **number}


def _launched(settings: Settings) -> dict[str, Any]:
    provider = settings.ecs_capacity_provider
    if provider:
        return {"capacityProviderStrategy": [{"capacityProvider": provider, "weight": 1}]}
    return {"launchType": settings.ecs_launch_type}


def listed(text: str) -> list[str]:
    """A setting of several values, by comma."""
    return [part.strip() for part in text.split(",") if part.strip()]
