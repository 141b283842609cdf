"""What Cloud Run refuses of a service beyond the form of its fields, as its documentation says."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from support.cloudrun.schema import faults

SERVICE = re.compile(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?")
REVISION = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL = re.compile(r"[a-z0-9_-]{0,63}")
ANNOTATION = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
RESERVED = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
MEMORY_MIB = {"1": (512, 4096), "2": (512, 8192), "4": (2048, 16384), "8": (4096, 32768)}
BY_REVISION = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"


def refusals(name: str, service: Mapping[str, Any], revisions: Collection[str], *, anew: bool) -> Iterator[str]:
    """Why a service of this name is not taken; `revisions` are those it has. `anew`: its template makes another one."""
    yield from faults("Service", {key: value for key, value in service.items() if key != "name"})
    if not SERVICE.fullmatch(name):
        yield f"service_id {name!r} must be 1-49 characters of a-z, 0-9 and -"
    for key, value in (service.get("labels") or {}).items():
        if key.startswith(RESERVED) or not LABEL.fullmatch(value):
            yield f"label {key}={value!r} is not allowed"
    for key in service.get("annotations") or {}:
        if key.startswith(RESERVED) or not ANNOTATION.fullmatch(key):
            yield f"annotation {key!r} is not allowed"
    template = service.get("template") or {}
    yield from _of_template(name, template)
    made = str(template.get("revision", ""))
    if anew and made in revisions:
        yield f"revision {made!r} exists already"
    yield from _of_traffic(name, service.get("traffic") or [], {*revisions, made})


def _of_template(service: str, template: Mapping[str, Any]) -> Iterator[str]:
    revision, containers = str(template.get("revision", "")), template.get("containers") or []
    if not REVISION.fullmatch(revision) or not revision.startswith(f"{service}-"):
        yield f"revision {revision!r} must begin with the service's name and have up to 63 characters"
    if len(containers) != 1 or not containers[0].get("image"):
        yield "template.containers: one container with an image is expected"
        return
    limits = (containers[0].get("resources") or {}).get("limits") or {}
    least, most = MEMORY_MIB.get(limits.get("cpu", ""), (0, 0))
    mib = int(str(limits.get("memory", "0Mi")).removesuffix("Mi"))
    if not least <= mib <= most or not most:
        yield f"limits {limits} are not allowed together"
    if any(one["name"] in ("PORT", "K_SERVICE", "K_REVISION") for one in containers[0].get("env") or []):
        yield "The following reserved env names were provided: PORT"
    scaling = template.get("scaling") or {}
    if int(scaling.get("minInstanceCount", 0)) > int(scaling.get("maxInstanceCount", 100)):
        yield "min instances must not be above max instances"
    for kind in ("startupProbe", "livenessProbe"):
        probe = containers[0].get(kind) or {}
        if probe.get("timeoutSeconds", 1) >= probe.get("periodSeconds", 10):
            yield f"{kind}: timeoutSeconds must be smaller than periodSeconds"
        if kind == "startupProbe" and probe.get("failureThreshold", 3) * probe.get("periodSeconds", 10) > 240:
            yield "startupProbe: the whole must not be above 240 seconds"


def _of_traffic(service: str, traffic: list[dict[str, Any]], revisions: Collection[str]) -> Iterator[str]:
    if sum(int(one.get("percent", 0)) for one in traffic) != 100:
        yield "traffic percents must add up to 100"
    tags = [str(one.get("tag", "")) for one in traffic if one.get("tag")]
    if len(tags) != len(set(tags)):
        yield "a traffic tag is there twice"
    for tag in tags:
        if len(tag) + len(service) > 46:
            yield f"traffic tag {tag!r} and service name {service!r} together cannot exceed 46 characters"
    for one in traffic:
        if one.get("type") == BY_REVISION and one.get("revision") not in revisions:
            yield f"Revision {one.get('revision')!r} does not exist"
