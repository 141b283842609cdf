"""What the cluster holds, and how it is said in AWS's words."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from support.ecs.replicas import Process
from tidegate import clock

REGION, ACCOUNT, CLUSTER = "eu-west-1", "123456789012", "tidegate-tests"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/tidegate-execution"
SUBNETS, GROUPS = ("subnet-0a1b2c3d", "subnet-4e5f6a7b"), ("sg-0a1b2c3d",)
ARN = f"arn:aws:ecs:{REGION}:{ACCOUNT}"


@dataclass
class Definition:
    """One revision of a task definition."""

    content: dict[str, Any]
    tags: list[dict[str, str]]
    revision: int
    status: str = "ACTIVE"

    @property
    def arn(self) -> str:
        return f"{ARN}:task-definition/{self.content['family']}:{self.revision}"

    def told(self) -> dict[str, Any]:
        return {**self.content, "taskDefinitionArn": self.arn, "revision": self.revision, "status": self.status}


@dataclass
class Deployment:
    """A service's way to one task definition."""

    definition: Definition
    id: str = field(default_factory=lambda: f"ecs-svc/{uuid.uuid4().int % 10**19:019d}")
    status: str = "PRIMARY"
    rollout: str = "IN_PROGRESS"
    reason: str = "ECS deployment in progress."
    failed: int = 0
    failed_in_all: int = 0
    created_s: float = field(default_factory=clock.now)
    updated_s: float = field(default_factory=clock.now)
    start_after_s: float = 0.0


@dataclass
class Service:
    """As it was asked for, and what became of it."""

    name: str
    request: dict[str, Any]
    desired: int
    tags: list[dict[str, str]]
    deployments: list[Deployment]
    status: str = "ACTIVE"
    events: list[tuple[float, str]] = field(default_factory=list)
    created_s: float = field(default_factory=clock.now)

    @property
    def arn(self) -> str:
        return f"{ARN}:service/{CLUSTER}/{self.name}"

    @property
    def primary(self) -> Deployment:
        return next(one for one in self.deployments if one.status == "PRIMARY")

    def say(self, what: str) -> None:
        """One of its events; the last hundred are kept."""
        self.events = [(clock.now(), f"(service {self.name}) {what}"), *self.events][:100]


@dataclass
class Task:
    """One task of a service."""

    service: Service
    deployment: Deployment
    ip: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: str = "PROVISIONING"
    desired: str = "RUNNING"
    health: str = "UNKNOWN"
    process: Process | None = None
    exit_code: int | None = None
    stop_code: str = ""
    reason: str = ""
    container_reason: str = ""
    protected_until_s: float = 0.0
    created_s: float = field(default_factory=clock.now)
    started_s: float | None = None
    stopping_s: float | None = None
    stopped_s: float | None = None
    tags: list[dict[str, str]] = field(default_factory=list)

    @property
    def arn(self) -> str:
        return f"{ARN}:task/{CLUSTER}/{self.id}"

    @property
    def container(self) -> dict[str, Any]:
        found: dict[str, Any] = self.deployment.definition.content["containerDefinitions"][0]
        return found

    @property
    def is_over(self) -> bool:
        return self.status == "STOPPED"

    def told(self, *, tags: bool) -> dict[str, Any]:
        definition = self.deployment.definition
        times = {"createdAt": self.created_s, "startedAt": self.started_s}
        times |= {"stoppingAt": self.stopping_s, "stoppedAt": self.stopped_s}
        return {
            "taskArn": self.arn,
            "clusterArn": f"{ARN}:cluster/{CLUSTER}",
            "taskDefinitionArn": definition.arn,
            "group": f"service:{self.service.name}",
            "startedBy": self.deployment.id,
            "lastStatus": self.status,
            "desiredStatus": self.desired,
            "healthStatus": self.health,
            "cpu": definition.content["cpu"],
            "memory": definition.content["memory"],
            "launchType": self.service.request.get("launchType", "FARGATE"),
            "attachments": self._attachments(),
            "containers": [self._container()],
            **{name: value for name, value in times.items() if value is not None},
            **({"stopCode": self.stop_code} if self.stop_code else {}),
            **({"stoppedReason": self.reason} if self.reason else {}),
            **({"tags": self.tags} if tags else {}),
        }

    def _attachments(self) -> list[dict[str, Any]]:
        if self.status == "PROVISIONING":
            return [{"id": self.id, "type": "ElasticNetworkInterface", "status": "PRECREATED", "details": []}]
        details = {"subnetId": SUBNETS[0], "networkInterfaceId": f"eni-{self.id[:17]}", "privateIPv4Address": self.ip}
        return [
            {
                "id": self.id,
                "type": "ElasticNetworkInterface",
                "status": "DELETED" if self.is_over else "ATTACHED",
                "details": [{"name": name, "value": value} for name, value in details.items()],
            }
        ]

    def _container(self) -> dict[str, Any]:
        status = self.status if self.status in ("RUNNING", "STOPPED") else "PENDING"
        if self.exit_code is not None:
            status = "STOPPED"
        return {
            "containerArn": f"{ARN}:container/{CLUSTER}/{self.id}/c",
            "taskArn": self.arn,
            "name": self.container["name"],
            "image": self.container["image"],
            "lastStatus": status,
            "healthStatus": self.health,
            **({"exitCode": self.exit_code} if self.exit_code is not None else {}),
            **({"reason": self.container_reason} if self.container_reason else {}),
        }
