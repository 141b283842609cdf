"""One version as requests of AWS: a task definition, a service, and how it scales, for `aws … --cli-input-json`. Pure.

They run an image of `tidegate build` by itself, without a platform: no tag of them is one by which a platform knows its
own.
"""

from __future__ import annotations

import math
from typing import Any

from tidegate.core.engines.fargate import CPUS, MEMORY_MIB, MIB, UNITS_A_CPU, fargate_size
from tidegate.core.images.contents import GRPC_PORT, HTTP_PORT, USER_ID
from tidegate.core.images.replica_env import KEY, by_name, replica_env
from tidegate.core.manifests.served import Served
from tidegate.errors import InvalidArgument
from tidegate.settings import Settings

PREFIX, CONTAINER = "tidegate-", "replica"
KEYS = "/tidegate"
"""Below it the keys of replicas are kept in the Parameter Store, where no setting says otherwise."""
TMP_MIB, CPU_UNITS_MIN = 128, 128
DRAIN_S, STOP_S = 20, 30
START_S = 300
SCALE_OUT_PAUSE_S, SCALE_IN_PAUSE_S = 60, 300
REGISTER, CREATE, SCALABLE, POLICY = (
    "ecs register-task-definition",
    "ecs create-service",
    "application-autoscaling register-scalable-target",
    "application-autoscaling put-scaling-policy",
)


def name_of(endpoint: str) -> str:
    """What its service and the family of its task definitions are called; any name of an endpoint fits."""
    return f"{PREFIX}{endpoint}"


def key_parameter(endpoint: str, settings: Settings) -> str:
    """The parameter that has the key that clients send."""
    return f"{settings.ecs_key_prefix or KEYS}/{name_of(endpoint)}"


def ecs_requests(served: Served, settings: Settings) -> list[dict[str, Any]]:
    """Each with its `command` and its `input`, in the order in which they are sent. Raises `InvalidArgument`."""
    _check(settings)
    name = name_of(served.endpoint)
    found = [(REGISTER, _task_definition(served, settings)), (CREATE, _service(served, settings))]
    if served.scale.high is not None:
        where = {
            "ServiceNamespace": "ecs",
            "ResourceId": f"service/{settings.ecs_cluster.rpartition('/')[2]}/{name}",
            "ScalableDimension": "ecs:service:DesiredCount",
        }
        found.append((SCALABLE, {**where, "MinCapacity": served.scale.low, "MaxCapacity": served.scale.high}))
        found.append((POLICY, {"PolicyName": f"{name}-cpu", **where, **_by_cpu(served)}))
    return [{"command": command, "input": body} for command, body in found]


def _check(settings: Settings) -> None:
    needed = {
        "TIDEGATE_ECS_EXECUTION_ROLE": (settings.ecs_execution_role, "arn:aws:iam::123456789012:role/tidegate"),
        "TIDEGATE_ECS_SUBNETS": (settings.ecs_subnets, "subnet-1a2b3c4d"),
        "AWS_REGION": (settings.aws_region, "eu-central-1"),
    }
    if missing := [name for name, (value, _) in needed.items() if not value]:
        examples = " ".join(f"{name}={needed[name][1]}" for name in missing)
        raise InvalidArgument(
            f"manifests for ECS need {' and '.join(missing)}: set for example {examples}", field="format"
        )


def _on_fargate(settings: Settings) -> bool:
    provider = settings.ecs_capacity_provider
    return provider.startswith("FARGATE") if provider else settings.ecs_launch_type == "FARGATE"


def _size(served: Served, settings: Settings) -> tuple[int, int]:
    """Units of CPU and MiB: on Fargate the next size there is. Raises `InvalidArgument`."""
    if _on_fargate(settings):
        return fargate_size(served.cpus, served.memory_bytes)
    cpus = CPUS if served.cpus is None else served.cpus
    memory_mib = MEMORY_MIB if served.memory_bytes is None else math.ceil(served.memory_bytes / MIB)
    return max(CPU_UNITS_MIN, math.ceil(cpus * UNITS_A_CPU)), memory_mib


def _tags(served: Served) -> list[dict[str, str]]:
    tags = {"endpoint": served.endpoint, "model": served.model, "version": served.version, "digest": served.digest}
    return [{"key": f"tidegate:{name}", "value": value} for name, value in tags.items() if value is not None]


def _task_definition(served: Served, settings: Settings) -> dict[str, Any]:
    cpu_units, memory_mib = _size(served, settings)
    fargate = _on_fargate(settings)
    if served.gpu and fargate:
        raise InvalidArgument(
            "Fargate has no GPUs: run on instances of your own that have (TIDEGATE_ECS_LAUNCH_TYPE=EC2), or register "
            "the version with --device cpu",
            field="device",
        )
    return {
        "family": name_of(served.endpoint),
        "executionRoleArn": settings.ecs_execution_role,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE" if fargate else "EC2"],
        "cpu": str(cpu_units),
        "memory": str(memory_mib),
        "runtimePlatform": {"cpuArchitecture": settings.ecs_architecture, "operatingSystemFamily": "LINUX"},
        "containerDefinitions": [_container(served, settings, cpu_units / UNITS_A_CPU)],
        "tags": _tags(served),
    }


def _container(served: Served, settings: Settings, cpus: float) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": served.image,
        "essential": True,
        "portMappings": [{"containerPort": port, "protocol": "tcp"} for port in (HTTP_PORT, GRPC_PORT)],
        "environment": by_name(replica_env(served.version, DRAIN_S, cpus)),
        "secrets": [{"name": KEY, "valueFrom": key_parameter(served.endpoint, settings)}],
        **({"repositoryCredentials": {"credentialsParameter": served.pull_secret}} if served.pull_secret else {}),
        **({"resourceRequirements": [{"type": "GPU", "value": "1"}]} if served.gpu else {}),
        "user": f"{USER_ID}:{USER_ID}",
        "readonlyRootFilesystem": True,
        "linuxParameters": {
            "capabilities": {"drop": ["ALL"]},
            "tmpfs": [{"containerPath": "/tmp", "size": TMP_MIB, "mountOptions": ["rw", "nosuid", "nodev"]}],  # noqa: S108
        },
        "stopTimeout": STOP_S,
        "healthCheck": {
            "command": ["CMD", "/opt/tidegate/bin/python", "-m", "tidegate.server.health"],
            "interval": 10,
            "timeout": 5,
            "retries": 3,
            "startPeriod": START_S,
        },
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": settings.ecs_log_group,
                "awslogs-region": settings.aws_region,
                "awslogs-stream-prefix": name_of(served.endpoint),
            },
        },
    }


def _service(served: Served, settings: Settings) -> dict[str, Any]:
    provider = settings.ecs_capacity_provider
    launched = (
        {"capacityProviderStrategy": [{"capacityProvider": provider, "weight": 1}]}
        if provider
        else {"launchType": settings.ecs_launch_type}
    )
    groups = _listed(settings.ecs_security_groups)
    network: dict[str, Any] = {"subnets": _listed(settings.ecs_subnets)}
    network |= {"securityGroups": groups} if groups else {}
    network |= {"assignPublicIp": "ENABLED" if settings.ecs_public_ip else "DISABLED"} if _on_fargate(settings) else {}
    return {
        "cluster": settings.ecs_cluster,
        "serviceName": name_of(served.endpoint),
        "taskDefinition": name_of(served.endpoint),
        "desiredCount": served.scale.low,
        **launched,
        "deploymentConfiguration": {
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        },
        "networkConfiguration": {"awsvpcConfiguration": network},
        "enableECSManagedTags": True,
        "propagateTags": "SERVICE",
        "tags": _tags(served),
    }


def _by_cpu(served: Served) -> dict[str, Any]:
    return {
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": float(served.scale.cpu_percent),
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ECSServiceAverageCPUUtilization"},
            "ScaleOutCooldown": SCALE_OUT_PAUSE_S,
            "ScaleInCooldown": SCALE_IN_PAUSE_S,
        },
    }


def _listed(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]
