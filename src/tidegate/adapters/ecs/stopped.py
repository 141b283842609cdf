"""Why a task of ECS ended, in our words and with what to do about it. Pure: AWS's answer in, a value out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

WORDS_MAX = 400


class Blame(StrEnum):
    """Whose doing it is that a task ended."""

    VERSION = "version"
    PLATFORM = "platform"
    ASKED = "asked"


@dataclass(frozen=True)
class StoppedTask:
    """`why` is a sentence; `exit_code` as of a process, negative for a signal."""

    blame: Blame
    why: str
    exit_code: int | None = None


_PULL = "CannotPull"
_NETWORK = re.compile(r"i/o timeout|dial tcp|deadline exceeded|connection refused|no such host|request canceled", re.I)
_NOT_THERE = re.compile(r"not found|manifest unknown|does not exist|no such image", re.I)
_FORBIDDEN = re.compile(
    r"access denied|unauthorized|no basic auth|forbidden|\b40[13]\b|not authorized|AccessDenied", re.I
)
_OTHER_PROCESSOR = re.compile(r"descriptor matching platform|no match(ing)? .*platform|exec format error", re.I)
_CAPACITY = re.compile(r"capacity is unavailable|RESOURCE:|unable to place|insufficient", re.I)
_MACHINE = ("SpotInterruption", "TerminationNotice")
_BY_SCHEDULER = re.compile(r"scaling activity initiated|deployment|service .*(deleted|inactive|draining)", re.I)
_HEALTH = re.compile(r"failed (container )?health checks", re.I)


def ended(task: Mapping[str, Any], architecture: str, memory_mib: int | None = None) -> StoppedTask:
    """What a task that ended, or is ending, is to be taken for.

    What `stopCode`, `stoppedReason` and the container's `reason` say:

    says                                   | blame    | what to do
    ---------------------------------------|----------|-------------------------------------------------
    scaling, a deployment, StopTask        | asked    | nothing
    no capacity, Spot, the machine went    | platform | waits
    ResourceInitializationError            | platform | log group, role, network
    an image without a network to pull it  | platform | TIDEGATE_ECS_PUBLIC_IP or a NAT gateway
    any other image that cannot be pulled  | version  | push it, the role's rights, TIDEGATE_ECS_ARCHITECTURE
    OutOfMemoryError                       | version  | --memory
    a health check failed                  | version  | the log
    anything else: it exited               | version  | the log
    """
    container: Mapping[str, Any] = next(iter(task.get("containers") or ()), {})
    code, reason = str(task.get("stopCode", "")), str(task.get("stoppedReason", ""))
    reason_text = " ".join(f"{reason} {container.get('reason', '')}".split())[:WORDS_MAX]
    exit_code = _exit_code(container)
    if _HEALTH.search(reason):
        why = f"it ran, and did not answer its health check, so ECS ended it ({reason_text})"
        return StoppedTask(Blame.VERSION, why, exit_code)
    if code == "UserInitiated" or (code == "ServiceSchedulerInitiated" and _BY_SCHEDULER.search(reason)):
        return StoppedTask(Blame.ASKED, f"ECS ended it as it was asked to ({reason_text})", exit_code)
    if code in _MACHINE or _CAPACITY.search(reason_text):
        return StoppedTask(Blame.PLATFORM, f"ECS has no room for it now ({reason_text}): it is tried again", exit_code)
    if "ResourceInitializationError" in reason_text:
        return StoppedTask(Blame.PLATFORM, _not_prepared(reason_text), exit_code)
    if _PULL in reason_text:
        return _not_pulled(container, reason_text, architecture)
    return StoppedTask(Blame.VERSION, _of_container(reason_text, architecture, memory_mib), exit_code)


def _of_container(reason: str, architecture: str, memory_mib: int | None) -> str:
    if _OTHER_PROCESSOR.search(reason):
        return _other_processor(architecture, reason)
    if "OutOfMemory" in reason:
        limit = f": its limit is {memory_mib} MiB" if memory_mib else ""
        return f"it was ended for want of memory{limit} (deploy with more --memory)"
    return reason or "ECS does not say why it ended"


def _not_pulled(container: Mapping[str, Any], reason: str, architecture: str) -> StoppedTask:
    image = container.get("image", "")
    if _OTHER_PROCESSOR.search(reason):
        return StoppedTask(Blame.VERSION, _other_processor(architecture, reason))
    if _NOT_THERE.search(reason):
        todo = "push it with 'tidegate build MODEL --push', to a registry that ECS reaches"
        return StoppedTask(Blame.VERSION, f"the image {image} is not in its registry ({reason}): {todo}")
    if _FORBIDDEN.search(reason):
        todo = (
            "give the role TIDEGATE_ECS_EXECUTION_ROLE the policy AmazonECSTaskExecutionRolePolicy, and for a registry "
            "outside AWS name a secret of Secrets Manager (its ARN) as TIDEGATE_IMAGE_PULL_SECRET"
        )
        return StoppedTask(Blame.VERSION, f"ECS may not pull the image {image} ({reason}): {todo}")
    if _NETWORK.search(reason):
        todo = (
            "TIDEGATE_ECS_SUBNETS need a NAT gateway or endpoints of ECR and S3; in a public subnet set "
            "TIDEGATE_ECS_PUBLIC_IP=1"
        )
        return StoppedTask(Blame.PLATFORM, f"ECS does not reach the registry of the image {image} ({reason}): {todo}")
    return StoppedTask(Blame.VERSION, f"the image {image} cannot be pulled ({reason})")


def _other_processor(architecture: str, reason: str) -> str:
    other = "ARM64" if architecture == "X86_64" else "X86_64"
    return (
        f"the image is built for another processor than TIDEGATE_ECS_ARCHITECTURE={architecture} ({reason}): build it "
        f"on such a machine, or set TIDEGATE_ECS_ARCHITECTURE={other}"
    )


def _not_prepared(reason: str) -> str:
    lowered = reason.lower()
    if "log group" in lowered or "logging driver" in lowered:
        todo = "make the log group TIDEGATE_ECS_LOG_GROUP, and let TIDEGATE_ECS_EXECUTION_ROLE write to it"
    elif "secret" in lowered or "ssm" in lowered:
        todo = "let TIDEGATE_ECS_EXECUTION_ROLE read the parameters below TIDEGATE_ECS_KEY_PREFIX (ssm:GetParameters)"
    else:
        todo = "TIDEGATE_ECS_SUBNETS need a way to AWS's API: a NAT gateway, endpoints, or TIDEGATE_ECS_PUBLIC_IP=1"
    return f"ECS cannot prepare the task ({reason}): {todo}"


def _exit_code(container: Mapping[str, Any]) -> int | None:
    """As of a process: negative for a signal."""
    found = container.get("exitCode")
    if found is None:
        return None
    code = int(found)
    return 128 - code if 128 < code < 128 + 65 else code
