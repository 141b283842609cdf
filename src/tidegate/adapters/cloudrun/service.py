"""What a workload is on Cloud Run: names, labels, a revision's template, traffic, as its API v2 takes them. Pure.

An endpoint is a service, each of its workloads a revision with a tag, whose URL gateways call. What a workload is, how
many replicas it was asked for and under which lease stands in an annotation of the service (`Facts`), so a new process
reads all of it back. Revisions are never changed: another shape is another revision, to which the tag moves.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate.core.engines.cloudrun_registries import pulled
from tidegate.core.engines.cloudrun_size import cloudrun_size
from tidegate.core.engines.placement import Placement
from tidegate.core.images.contents import HTTP_PORT, registry_of
from tidegate.core.images.replica_env import KEY, by_name, replica_env
from tidegate.core.workloads import WorkloadKey, WorkloadSpec
from tidegate.errors import InvalidArgument
from tidegate.wire.decoding import json_decoder

NAME = "cloudrun"
PREFIX = "tidegate-"
SERVICE_CHARS_MAX, SERVICE_AND_TAG_CHARS_MAX = 49, 46
"""A tag and its service share one label of the name in the URL."""
PLATFORM, ENDPOINT, VERSION = "tidegate-platform", "tidegate-endpoint", "tidegate-version"
"""Labels."""
FACTS, DIGEST, MODEL = "tidegate.io/workload-", "tidegate.io/digest", "tidegate.io/model"
"""Annotations; the first is followed by a workload's tag."""
ARGS = ("--host", "0.0.0.0", "--port", str(HTTP_PORT), "--managed")  # noqa: S104 (in an instance of its own)
CONTAINER = "replica"
REQUEST_TIMEOUT_S = 300
INSTANCES_MAX = 1000
START_EVERY_S, START_S_MIN, START_S_MAX = 2, 60, 240
COLD_STARTS = 4
LIVE_EVERY_S, LIVE_TIMEOUT_S, LIVE_FAILURES = 10, 5, 3
UTILIZATION_MIN, CPU_UTILIZATION_MAX, CONCURRENCY_UTILIZATION_MAX = 0.1, 0.9, 0.95
BY_REVISION = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"

_placements = json_decoder(Placement)


class Facts(msgspec.Struct, frozen=True):
    """Of one workload, as its service has it in an annotation. `shape` tells whether its revision is as it should be.

    `pool` is how many batches its instances take at once, all together; `image` what its revision was made of.
    """

    version: str
    placement: str
    form: str
    token: int
    count: int
    pool: int
    shape: str
    revision: str
    image: str = ""


_facts = json_decoder(Facts)


@dataclass(frozen=True)
class InstanceBounds:
    """Of a revision's instances, and what its engine keeps them at."""

    min: int
    max: int
    cpu: float | None = None
    concurrency: float | None = None


@dataclass(frozen=True)
class KeySecret:
    """A version of a secret of Secret Manager that has a replica's key."""

    secret: str
    version: str


@dataclass(frozen=True)
class ReplicaContainer:
    """What the container of a revision is made of. `key` is what gateways show it, `drain_s` how long one that ends may
    finish what it has. `in_secret`: the key shall be in Secret Manager.
    """

    image: str
    key: str
    digest: str
    service_account: str
    concurrency: int
    drain_s: float
    in_secret: bool = False


# -- names ----------------------------------------------------------------------------------------------------------


def service_name(key: WorkloadKey) -> str:
    """Of the endpoint's service. Raises `InvalidArgument` for one that is too long.

    >>> service_name(WorkloadKey("churn", "3", Placement("cloudrun")))
    'tidegate-churn'
    """
    name = f"{PREFIX}{key.endpoint}"
    fits = min(SERVICE_CHARS_MAX, SERVICE_AND_TAG_CHARS_MAX - len(tag_of(key)))
    if len(name) > fits:
        raise InvalidArgument(
            f"endpoint {key.endpoint!r} is too long for Cloud Run: with version {key.version} its service and tag "
            f"would have {len(name) + len(tag_of(key))} characters together, and {SERVICE_AND_TAG_CHARS_MAX} are "
            f"allowed. Give it a name of up to {fits - len(PREFIX)}",
            field="endpoint",
        )
    return name


def tag_of(key: WorkloadKey) -> str:
    """Of the workload's revision, in the URL that gateways call."""
    return f"v{key.version}-{key.suffix}"


def credential_of(key: WorkloadKey) -> str:
    """The name of the key that its replicas ask for."""
    return f"{PREFIX}{key.endpoint}-{tag_of(key)}"


def check_image(image: str, project: str, region: str) -> None:
    """Raises `InvalidArgument` for an image in a registry that Cloud Run does not pull from."""
    if not pulled(image):
        raise InvalidArgument(
            f"Cloud Run pulls no images from {registry_of(image)}: set TIDEGATE_IMAGE_REGISTRY to a repository of "
            f"Artifact Registry ({region}-docker.pkg.dev/{project}/REPOSITORY), and have it pushed there (tidegate "
            "build … --push)",
            field="backend",
        )


# -- what is in a service ---------------------------------------------------------------------------------------------


def facts_of(service: Mapping[str, Any]) -> dict[str, Facts]:
    """The workloads of a service by their tags, in order; what cannot be read is none of ours."""
    found = {}
    for name, text in sorted((service.get("annotations") or {}).items()):
        if name.startswith(FACTS):
            try:
                found[name.removeprefix(FACTS)] = _facts.decode(text)
            except msgspec.DecodeError:
                continue
    return found


def workload_of(service: Mapping[str, Any], facts: Facts) -> WorkloadKey | None:
    """The workload that these facts are of; None where they do not say."""
    endpoint = (service.get("labels") or {}).get(ENDPOINT, "")
    try:
        return WorkloadKey(endpoint, facts.version, _placements.decode(facts.placement), facts.form)
    except msgspec.DecodeError:
        return None


def told_of(spec: WorkloadSpec, bounds: InstanceBounds, replica: ReplicaContainer, revision: str = "") -> Facts:
    """What the service shall say of this workload."""
    placement = msgspec.json.encode(spec.key.placement, order="sorted").decode()
    pool = bounds.max * replica.concurrency
    shape = shape_of(spec.key.placement, bounds, replica)
    return Facts(
        spec.key.version, placement, spec.key.form, spec.token, spec.count, pool, shape, revision, replica.image
    )


def annotated(service: Mapping[str, Any], facts: Mapping[str, Facts]) -> dict[str, str]:
    """The annotations of a service with these workloads; other people's stay."""
    others = {name: text for name, text in (service.get("annotations") or {}).items() if not name.startswith(FACTS)}
    return others | {f"{FACTS}{tag}": msgspec.json.encode(one).decode() for tag, one in facts.items()}


# -- a revision -----------------------------------------------------------------------------------------------------


def bounds_of(spec: WorkloadSpec, concurrency: int) -> InstanceBounds:
    """How many instances there may be, and what the engine counts by. Raises `InvalidArgument`."""
    scaling = spec.scaling
    if scaling is None:
        return InstanceBounds(spec.count, spec.count)
    if scaling.max > INSTANCES_MAX:
        raise InvalidArgument(f"Cloud Run runs up to {INSTANCES_MAX} instances: give less with --max", field="max")
    if scaling.metric == "cpu":
        share = scaling.target / 100.0
        _check_share(share, CPU_UTILIZATION_MAX, f"cpu={scaling.target:g}", "cpu=10 to cpu=90")
        return InstanceBounds(scaling.min, scaling.max, cpu=share)
    if scaling.metric == "concurrency":
        share = scaling.target / concurrency
        least, most = UTILIZATION_MIN * concurrency, CONCURRENCY_UTILIZATION_MAX * concurrency
        _check_share(
            share,
            CONCURRENCY_UTILIZATION_MAX,
            f"concurrency={scaling.target:g}",
            f"concurrency={least:g} to concurrency={most:g}, or more than {concurrency} batches an instance "
            "(TIDEGATE_CLOUDRUN_CONCURRENCY)",
        )
        return InstanceBounds(scaling.min, scaling.max, concurrency=share)
    raise InvalidArgument(
        f"Cloud Run counts its instances by cpu or by concurrency, not by {scaling.metric}: use --target cpu=60",
        field="target",
    )


def _check_share(share: float, most: float, target_text: str, allowed: str) -> None:
    if not UTILIZATION_MIN <= share <= most:
        raise InvalidArgument(f"Cloud Run cannot keep {target_text}: give {allowed}", field="target")


def shape_of(placement: Placement, bounds: InstanceBounds, replica: ReplicaContainer) -> str:
    """Twelve hexadecimal digits. They change with all that makes another revision, not with how its start is probed."""
    parts = (cloudrun_size(placement.cpus, placement.memory_bytes), bounds, replica.image, replica.service_account)
    env = [("TIDEGATE_DRAIN_S", f"{replica.drain_s:g}")]
    text = f"{parts!r}\0{replica.concurrency}\0{env!r}\0{replica.key}" + ("\0secret" if replica.in_secret else "")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def template_of(
    spec: WorkloadSpec, bounds: InstanceBounds, replica: ReplicaContainer, revision: str, key: KeySecret | None = None
) -> dict[str, Any]:
    """The whole of a revision: nothing of an earlier one's is left to the engine's memory. `key`: where its key is."""
    cpus, memory_mib = cloudrun_size(spec.key.placement.cpus, spec.key.placement.memory_bytes)
    env = replica_env(spec.key.version, replica.drain_s, cpus)
    source: dict[str, Any] = {"value": replica.key}
    if key is not None:
        source = {"valueSource": {"secretKeyRef": {"secret": key.secret, "version": key.version}}}
    scaling: dict[str, Any] = {"minInstanceCount": bounds.min, "maxInstanceCount": max(bounds.max, 1)}
    if bounds.cpu is not None:
        scaling["cpuUtilization"] = bounds.cpu
    if bounds.concurrency is not None:
        scaling["concurrencyUtilization"] = round(bounds.concurrency, 3)
    return {
        "revision": revision,
        "labels": {VERSION: _label(spec.key.version)},
        "annotations": {DIGEST: replica.digest, MODEL: spec.model},
        "scaling": scaling,
        "timeout": f"{REQUEST_TIMEOUT_S}s",
        "serviceAccount": replica.service_account,
        "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
        "maxInstanceRequestConcurrency": replica.concurrency,
        "sessionAffinity": False,
        "containers": [
            {
                "name": CONTAINER,
                "image": replica.image,
                "args": list(ARGS),
                "env": [*by_name(env), {"name": KEY} | source],
                "ports": [{"name": "http1", "containerPort": HTTP_PORT}],
                "resources": {
                    "limits": {"cpu": str(cpus), "memory": f"{memory_mib}Mi"},
                    "cpuIdle": True,
                    "startupCpuBoost": True,
                },
                "startupProbe": _probe("/v2/health/ready", 1, START_EVERY_S, _start_failures(spec.cold_start_s)),
                "livenessProbe": _probe("/health", LIVE_TIMEOUT_S, LIVE_EVERY_S, LIVE_FAILURES),
            }
        ],
    }


def _probe(path: str, timeout_s: int, every_s: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT},
        "timeoutSeconds": timeout_s,
        "periodSeconds": every_s,
        "failureThreshold": failures,
    }


def _start_failures(cold_start_s: float | None) -> int:
    """So many looks while a replica starts as the measured start lets one expect, up to what Cloud Run waits for."""
    expected_s = START_S_MAX if cold_start_s is None else COLD_STARTS * cold_start_s
    return math.ceil(min(max(expected_s, START_S_MIN), START_S_MAX) / START_EVERY_S)


# -- a service --------------------------------------------------------------------------------------------------------


def service_of(
    platform: str, endpoint: str, before: Mapping[str, Any], template: Mapping[str, Any], facts: Mapping[str, Facts]
) -> dict[str, Any]:
    """The whole of a service, without traffic: other people's labels and annotations stay, all else is ours."""
    made = {
        "description": f"Endpoint {endpoint} of the Tidegate platform {platform}",
        "labels": dict(before.get("labels") or {}) | {PLATFORM: platform, ENDPOINT: endpoint},
        "annotations": annotated(before, facts),
        "client": "tidegate",
        "ingress": "INGRESS_TRAFFIC_ALL",
        "launchStage": "GA",
        "invokerIamDisabled": False,
        "scaling": {"scalingMode": "AUTOMATIC", "minInstanceCount": 0},
        "template": dict(template),
    }
    return made | ({"etag": before["etag"]} if before.get("etag") else {})


def traffic_of(
    facts: Mapping[str, Facts], routed: Mapping[str, float], before: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A tag for each workload, and whole percents that add up to 100, for those who call the service directly.

    By the endpoint's weights; where none of its versions has any here, as it was, and at last all to the first one.
    """
    tag_by_version = {one.version: tag for tag, one in facts.items()}
    weights = {tag_by_version[version]: weight for version, weight in routed.items() if version in tag_by_version}
    if sum(weights.values()) <= 0:
        weights = {str(one.get("tag")): float(one.get("percent", 0)) for one in before if one.get("tag") in facts}
    if sum(weights.values()) <= 0:
        weights = {next(iter(facts)): 100.0}
    percents = whole_percents(weights)
    return [
        {"type": BY_REVISION, "revision": one.revision, "percent": percents.get(tag, 0), "tag": tag}
        for tag, one in facts.items()
    ]


def whole_percents(weights: Mapping[str, float]) -> dict[str, int]:
    """Shares as whole percents that add up to 100: those that lose most by being cut off get what is left.

    >>> whole_percents({"a": 1, "b": 1, "c": 1})
    {'a': 34, 'b': 33, 'c': 33}
    >>> whole_percents({"a": 99.6, "b": 0.4})
    {'a': 100, 'b': 0}
    """
    total = sum(weights.values())
    shares = {name: 100.0 * weight / total for name, weight in weights.items()}
    whole = {name: int(share) for name, share in shares.items()}
    by_loss = sorted(shares, key=lambda name: (whole[name] - shares[name], name))
    for name in by_loss[: 100 - sum(whole.values())]:
        whole[name] += 1
    return whole


def same_traffic(one: Iterable[Mapping[str, Any]], other: Iterable[Mapping[str, Any]]) -> bool:
    """Whether they say the same; a percent of 0 may be left out."""
    return _compared(one) == _compared(other)


def _compared(traffic: Iterable[Mapping[str, Any]]) -> set[tuple[str, str, int, str]]:
    return {
        (str(t.get("type", "")), str(t.get("revision", "")), int(t.get("percent") or 0), str(t.get("tag", "")))
        for t in traffic
    }


def _label(text: str) -> str:
    return "".join(char if char.isalnum() or char in "-_" else "-" for char in text.lower())[:63]
