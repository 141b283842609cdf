"""What a replica's container is made of: names, labels, limits, and what it may not do. No calls are made here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.core.engines.placement import Placement
from tidegate.core.images.replica_env import thread_env
from tidegate.core.ports import ReplicaSpec

OWN = "io.tidegate."
DATA_DIR, ENDPOINT, REPLICA, TOKEN = f"{OWN}data-dir", f"{OWN}endpoint", f"{OWN}replica", f"{OWN}lease-token"
"""Labels of a container; the model, its version and digest are labels of its image, which it has as well."""
INSIDE, SOCKET = "/run/tidegate", "replica.sock"
PROCESSES_MAX = 4096
LOG_BYTES_MAX, LOG_FILES = "8m", "2"
_PLATFORMS_OWN = (
    "DATA_DIR",
    "FILES_DIR",
    "URL",
    "ALLOWED_HOSTS",
    "AUTH",
    "DOCKER_",
    "IMAGE_",
    "WHEELS_",
    "BACKEND",
    "ECS_",
)


@dataclass(frozen=True)
class ContainerSpec:
    """One container to create."""

    name: str
    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    env: Mapping[str, str]
    placement: Placement
    network: str
    gpus: bool

    def options(self, api: Any, folder: Path) -> dict[str, Any]:
        """Arguments of the SDK's `create_container`; `folder` is where the socket shall appear."""
        return {
            "image": self.image,
            "command": list(self.command),
            "name": self.name,
            "environment": dict(self.env),
            "host_config": api.create_host_config(**self._host_config(folder)),
            "healthcheck": {"test": ["NONE"]},  # the platform asks on the socket, and starts no process to do it
        }

    def _host_config(self, folder: Path) -> dict[str, Any]:
        from docker import types

        config: dict[str, Any] = {
            "mounts": [types.Mount(INSIDE, str(folder), type="bind")],
            "network_mode": self.network,
            "read_only": True,
            "tmpfs": {"/tmp": "rw,nosuid,nodev"},  # noqa: S108 (the container's own)
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
            "pids_limit": PROCESSES_MAX,
            "log_config": types.LogConfig(type="json-file", config={"max-size": LOG_BYTES_MAX, "max-file": LOG_FILES}),
            "restart_policy": {"Name": "no"},  # the reconciler starts a new one, and remembers why
        }
        if self.placement.cpus is not None:
            config["nano_cpus"] = round(self.placement.cpus * 1e9)
        if self.placement.memory_bytes is not None:  # the same for both: none of it is swapped out
            config["mem_limit"] = config["memswap_limit"] = self.placement.memory_bytes
        if self.gpus:
            config["device_requests"] = [types.DeviceRequest(count=-1, capabilities=[["gpu"]])]
        return config


def container_of(
    spec: ReplicaSpec, image: str, device: str | None, env: Mapping[str, str], network: str
) -> ContainerSpec:
    """The container of a replica; its name tells people which endpoint it serves."""
    command = ("--uds", f"{INSIDE}/{SOCKET}", "--uds-open", "--id", spec.id, "--lease-token", str(spec.token))
    return ContainerSpec(
        name=f"tidegate-{spec.endpoint}-{spec.id}",
        image=image,
        command=command,
        labels={ENDPOINT: spec.endpoint, REPLICA: spec.id, TOKEN: str(spec.token)},
        env=_environment(env, spec.placement),
        placement=spec.placement,
        network=network,
        gpus=(device or "").startswith("cuda"),
    )


def _environment(env: Mapping[str, str], placement: Placement) -> dict[str, str]:
    """What the platform was told of replicas, and as many threads as the container has processors."""
    variables = {
        name: value
        for name, value in env.items()
        if name.startswith("TIDEGATE_") and not name.removeprefix("TIDEGATE_").startswith(_PLATFORMS_OWN)
    }
    return variables | thread_env(placement.cpus or 1, env)
