"""What holds where people say nothing, and what this machine is called: values made of the settings alone."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from tidegate.core.engines.placement import Placement, check_backend, check_limits
from tidegate.core.scaling.policy import ScalingDefaults
from tidegate.settings import Settings

HOST_CHARS_MAX = 255


def default_placement(settings: Settings) -> Placement:
    """Where replicas run of endpoints that do not say, and what they may use there. Raises `InvalidArgument`."""
    cpus, memory_bytes = settings.docker_cpus or None, settings.docker_memory_bytes or None
    check_limits(cpus, memory_bytes)
    return Placement(check_backend(settings.backend), cpus, memory_bytes)


def scaling_defaults(settings: Settings) -> ScalingDefaults:
    """What holds where people do not say how replicas follow the load, and how far they may go."""
    cpu_percent = float(settings.target_cpu_utilization)
    return ScalingDefaults(settings.min_replicas, settings.max_replicas, cpu_percent, settings.replicas_limit)


def host_id(data_dir: Path) -> str:
    """This machine and data directory, in words; unique as far as machines have names of their own."""
    whole = f"{os.uname().nodename}:{os.path.realpath(data_dir)}"
    if len(whole) <= HOST_CHARS_MAX:
        return whole
    return f"{whole[: HOST_CHARS_MAX - 17]}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
