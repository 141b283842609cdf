"""Settings of the clouds that replicas are placed on. Part of `settings`, which reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidegate.errors import InvalidArgument
from tidegate.setting_values import setting

LAUNCH_TYPES = ("FARGATE", "EC2")
ARCHITECTURES = ("X86_64", "ARM64")
_HTTP_URL = re.compile(r"https?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?/?")


@dataclass(frozen=True)
class CloudSettings:
    """The first fields of `Settings`."""

    runtime_image: str | None = setting(
        None,
        "TIDEGATE_RUNTIME_IMAGE",
        "Image of Tidegate itself, in which replicas on Kubernetes run that fetch their version; the release's own "
        "(tidegate/tidegate:RELEASE) when unset.",
    )
    control_url_inside: str | None = setting(
        None,
        "TIDEGATE_CONTROL_URL_INSIDE",
        "The control plane as replicas on Kubernetes reach it: http://tidegate-control.NAMESPACE:8800.",
    )
    aws_region: str | None = setting(
        None, "AWS_REGION", "AWS region of the ECS cluster; AWS_DEFAULT_REGION or the profile's when unset."
    )
    ecs_cluster: str = setting("default", "TIDEGATE_ECS_CLUSTER", "ECS cluster that replicas run on: name or ARN.")
    ecs_subnets: str = setting("", "TIDEGATE_ECS_SUBNETS", "Subnets of replicas on ECS, by comma: subnet-1a2b,….")
    ecs_security_groups: str = setting(
        "",
        "TIDEGATE_ECS_SECURITY_GROUPS",
        "Security groups of replicas on ECS, by comma; gateways have to reach port 8000 in them.",
    )
    ecs_execution_role: str | None = setting(
        None,
        "TIDEGATE_ECS_EXECUTION_ROLE",
        "ARN of the role with which ECS pulls images and writes logs.",
    )
    ecs_launch_type: str = setting("FARGATE", "TIDEGATE_ECS_LAUNCH_TYPE", "FARGATE, or EC2: instances of the cluster.")
    ecs_capacity_provider: str | None = setting(
        None,
        "TIDEGATE_ECS_CAPACITY_PROVIDER",
        "Capacity provider of replicas on ECS, in place of the launch type alone: FARGATE_SPOT, or one of your own.",
    )
    ecs_public_ip: bool = setting(
        False,
        "TIDEGATE_ECS_PUBLIC_IP",
        "Give replicas on Fargate a public address: they need one to pull images from a subnet without a NAT gateway.",
    )
    ecs_architecture: str = setting(
        "X86_64", "TIDEGATE_ECS_ARCHITECTURE", "Processor that images for ECS are built for: X86_64 or ARM64."
    )
    ecs_log_group: str = setting(
        "/ecs/tidegate", "TIDEGATE_ECS_LOG_GROUP", "CloudWatch log group of replicas on ECS; it has to exist."
    )
    ecs_key_prefix: str | None = setting(
        None,
        "TIDEGATE_ECS_KEY_PREFIX",
        "Path below which keys of replicas on ECS are kept in SSM's Parameter Store, encrypted: /tidegate. In the task "
        "definition, where whoever may read that sees them, when unset.",
    )

    def check_clouds(self) -> None:
        """Raises `InvalidArgument` naming the variable."""
        if self.control_url_inside is not None and not _HTTP_URL.fullmatch(self.control_url_inside):
            raise InvalidArgument(
                f"TIDEGATE_CONTROL_URL_INSIDE={self.control_url_inside[:100]!r} is no address: give for example "
                "http://tidegate-control.default:8800",
                field="TIDEGATE_CONTROL_URL_INSIDE",
            )
        self._check_one_of("TIDEGATE_ECS_LAUNCH_TYPE", self.ecs_launch_type, LAUNCH_TYPES)
        self._check_one_of("TIDEGATE_ECS_ARCHITECTURE", self.ecs_architecture, ARCHITECTURES)
        prefix, name = self.ecs_key_prefix, "TIDEGATE_ECS_KEY_PREFIX"
        if prefix is not None and (not prefix.startswith("/") or prefix.endswith("/")):
            raise InvalidArgument(f"{name}={prefix!r} begins with '/' and ends with a name, as /tidegate", field=name)

    def _check_one_of(self, name: str, value: str, allowed: tuple[str, ...]) -> None:
        if value not in allowed:
            raise InvalidArgument(f"{name}={value!r} is none of {', '.join(allowed)}", field=name)
