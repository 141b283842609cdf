"""What Cloud Run says of services and revisions, as the control plane knows it: states, addresses, words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.adapters.cloudrun.service import NAME, Facts, credential_of, service_name, tag_of
from tidegate.core.ports import Handle, ReplicaObservation
from tidegate.core.routing.targets import Address
from tidegate.core.workloads import Instance, WorkloadKey, WorkloadState
from tidegate.wire.gateways.snapshot import BATCHES_MAX

FAILED, SUCCEEDED = "CONDITION_FAILED", "CONDITION_SUCCEEDED"
READY = "Ready"
WAITS = ("ACTIVE_REVISION_LIMIT_REACHED", "MIN_INSTANCES_NOT_PROVISIONED", "POSTPONED_RETRY")
"""Reasons that are no fault of a version."""


@dataclass(frozen=True)
class Seen:
    """A service, its revisions by name, and the last lines of those that failed."""

    service: Mapping[str, Any]
    revisions: Mapping[str, Mapping[str, Any]]
    tails: Mapping[str, Sequence[str]]


def short(name: str) -> str:
    """The last part of a resource's full name."""
    return name.rpartition("/")[2]


def condition(resource: Mapping[str, Any], kind: str = READY) -> Mapping[str, Any]:
    """The condition of this type; empty where there is none."""
    found = (one for one in resource.get("conditions") or [] if one.get("type") == kind)
    return next(found, {})


def has_failed(revision: Mapping[str, Any]) -> bool:
    """Whether it will never be ready."""
    ready = condition(revision)
    return ready.get("state") == FAILED and not _is_waiting(ready)


def state_of(seen: Seen, key: WorkloadKey, facts: Facts) -> WorkloadState:
    """What there is of this workload: the pool that its tag leads to.

    While another revision of it is made (other bounds), the one before serves on, and is the instance that is shown.
    """
    tag = tag_of(key)
    served: Mapping[str, Any] = next(
        (one for one in seen.service.get("trafficStatuses") or [] if one.get("tag") == tag), {}
    )
    serving = short(str(served.get("revision", "")))
    url = str(served.get("uri", ""))
    name = facts.revision
    if serving and serving != name and condition(seen.revisions.get(serving, {})).get("state") == SUCCEEDED:
        name = serving
    instance = _instance(seen, key, facts, name, url if name == serving else "")
    return WorkloadState(key, facts.token, facts.count, (instance,), _problem(seen, facts, name))


def _instance(seen: Seen, key: WorkloadKey, facts: Facts, name: str, url: str) -> Instance:
    revision = seen.revisions.get(name, {})
    ready = condition(revision)
    handle = Handle(NAME, {"replica": name, "service": service_name(key), "token": facts.token})
    address = None
    if url:
        audience = str(seen.service.get("uri", ""))
        address = str(Address(url, credential_of(key), "", min(facts.pool, BATCHES_MAX), audience))
    if has_failed(revision):
        said = (_words(ready, revision), *seen.tails.get(name, ()))
        return Instance(name, handle, ReplicaObservation(False, False, address, None, said))
    is_ready = ready.get("state") == SUCCEEDED and address is not None
    waits = str(ready.get("message", "")) if _is_waiting(ready) else ""
    return Instance(name, handle, ReplicaObservation(True, is_ready, address), waits=waits)


def _is_waiting(ready: Mapping[str, Any]) -> bool:
    reasons = {ready.get("reason"), ready.get("revisionReason")}
    return bool(reasons & set(WAITS)) or "quota" in str(ready.get("message", "")).lower()


def _problem(seen: Seen, facts: Facts, shown: str) -> str:
    """Why there is no such revision, where the service says so; and of one that shall follow, why it does not."""
    wanted = seen.revisions.get(facts.revision, {})
    if shown != facts.revision and has_failed(wanted):
        return f"its bounds stay as they were: {_words(condition(wanted), wanted)}"
    if facts.revision in seen.revisions or seen.service.get("reconciling"):
        return ""
    terminal = seen.service.get("terminalCondition") or {}
    return str(terminal.get("message", "")) if terminal.get("state") == FAILED else ""


def _words(ready: Mapping[str, Any], revision: Mapping[str, Any]) -> str:
    """Why it failed, with what to do."""
    message = " ".join(str(ready.get("message", "")).split())[:500]
    image = next((str(one.get("image", "")) for one in revision.get("containers") or []), "")
    reason, low = str(ready.get("reason") or ready.get("revisionReason") or ""), message.lower()
    if reason == "CONTAINER_MISSING" or ("image" in low and "not found" in low):
        return (
            f"the image {image} is not in its registry ({message}): build and push it again (tidegate build … --push), "
            "or look at TIDEGATE_IMAGE_REGISTRY"
        )
    if reason in ("CONTAINER_PERMISSION_DENIED", "CONTAINER_IMAGE_UNAUTHORIZED"):
        return (
            f"Cloud Run may not read the image {image} ({message}): give the project's Cloud Run service agent "
            "(service-PROJECT_NUMBER@serverless-robot-prod.iam.gserviceaccount.com) roles/artifactregistry.reader on "
            "its repository"
        )
    if "amd64" in low or "exec format" in low:
        return f"the image {image} is not for linux/amd64 ({message}): build it on such a machine"
    if "memory limit" in low:
        return f"it needed more memory than it has ({message}): deploy with more --memory"
    return f"the revision did not start ({message or reason or 'no reason given'})"
