"""Whether replicas can run on AWS ECS: credentials, and everything that the settings name."""

from __future__ import annotations

from importlib.util import find_spec

from tidegate.core.engines.capabilities import ECS
from tidegate.doctor.findings import DoctorFacts, FindingState, Verdict
from tidegate.errors import MissingExtra


def ecs(facts: DoctorFacts) -> Verdict:
    """Cluster, subnets, security groups, role and log group. Only platforms that name subnets need any."""
    settings = facts.settings
    if settings.backend != ECS and not settings.ecs_subnets:
        return FindingState.OFF, "not used (TIDEGATE_ECS_SUBNETS and the settings beside it say where)"
    if find_spec("boto3") is None:
        raise MissingExtra("replicas on ECS need boto3: pip install 'tidegate[ecs]'")
    from tidegate.adapters.ecs.examine import examine

    return FindingState.OK, examine(settings)
