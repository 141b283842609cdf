"""What the API server fills in, and what it does not take: schemas, the restricted standard, quotas."""

from __future__ import annotations

import copy
import functools
import json
import re
from typing import Any

from support.kubernetes.kinds import (
    AUTOSCALERS,
    DEPLOYMENTS,
    PODS,
    SECRETS,
    SERVICES,
    Refusal,
    Served,
    bytes_of,
    invalid,
)

Object = dict[str, Any]
SCHEMA_VERSION = "1.36"


def fill(served: Served, one: Object) -> None:
    """Set what is not set, in place, as the real server does."""
    spec = one.get("spec", {})
    if served is DEPLOYMENTS:
        _defaults(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
        strategy = spec.setdefault("strategy", {"type": "RollingUpdate"})
        if strategy.get("type") == "RollingUpdate":
            _defaults(strategy.setdefault("rollingUpdate", {}), maxSurge="25%", maxUnavailable="25%")
        _pod(spec["template"]["spec"])
    elif served is PODS:
        _pod(spec)
    elif served is SERVICES:
        _defaults(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
        _defaults(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
        if spec.get("clusterIP"):
            _defaults(spec, clusterIPs=[spec["clusterIP"]])
        for port in spec.get("ports", ()):
            _defaults(port, protocol="TCP", targetPort=port["port"])
    elif served is SECRETS:
        _defaults(one, type="Opaque")
    elif served is AUTOSCALERS:
        _defaults(spec, minReplicas=1)


def _pod(spec: Object) -> None:
    _defaults(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        securityContext={},
    )
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        tag = container["image"].rpartition("/")[2]
        latest = ":" not in tag or tag.endswith(":latest")
        _defaults(
            container,
            imagePullPolicy="Always" if latest and "@" not in tag else "IfNotPresent",
            terminationMessagePath="/dev/termination-log",
            terminationMessagePolicy="File",
            resources={},
        )
        for port in container.get("ports", ()):
            _defaults(port, protocol="TCP")
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe := container.get(name):
                _defaults(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
                if "httpGet" in probe:
                    _defaults(probe["httpGet"], path="/", scheme="HTTP")
    for volume in spec.get("volumes", ()):
        if "secret" in volume:
            _defaults(volume["secret"], defaultMode=0o644)


def _defaults(one: Object, **values: Any) -> None:
    for key, value in values.items():
        one.setdefault(key, value)


def check(served: Served, one: Object) -> None:
    """Unknown and missing fields by the published schemas; a few rules that schemas do not have."""
    bare = copy.deepcopy(one)
    for field in ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"):
        bare["metadata"].pop(field, None)
    _checked(json.dumps(bare, sort_keys=True), served)
    name = one["metadata"]["name"]
    longest = 63 if served is SERVICES else 253
    if len(name) > longest:
        raise invalid(
            served, name, "metadata.name", f'Invalid value: "{name}": must be no more than {longest} characters'
        )
    for value in one["metadata"].get("labels", {}).values():
        if len(value) > 63:
            raise invalid(served, name, "metadata.labels", f'Invalid value: "{value}": must be no more than 63 bytes')
    if served is DEPLOYMENTS:
        wanted, labels = one["spec"]["selector"]["matchLabels"], one["spec"]["template"]["metadata"].get("labels", {})
        if not wanted.items() <= labels.items():
            told = json.dumps(labels, separators=(",", ":"))
            said = f"Invalid value: {told}: `selector` does not match template `labels`"
            raise invalid(served, name, "spec.template.metadata.labels", said)


@functools.lru_cache(maxsize=256)
def _checked(text: str, served: Served) -> None:
    import kubernetes_validate

    one = json.loads(text)
    try:
        kubernetes_validate.validate(one, SCHEMA_VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        where = ".".join(map(str, error.path))
        gone = re.search(r"\('(\w+)' was unexpected\)", error.message)
        if gone is None:
            said = f"strict decoding error: {where}: {error.message}"
            raise Refusal(400, "BadRequest", f"{served.kind} in version {served.version!r}: {said}") from None
        about = f"(/{one['metadata']['name']}; {served.api_version}, Kind={served.kind})"
        said = f"failed to create typed patch object {about}: .{where}.{gone[1]}: field not declared in schema"
        raise Refusal(500, "", said) from None


def security_faults(spec: Object) -> str:
    """Why the restricted Pod Security Standard refuses the pod; empty where it takes it. Words as of the real one."""
    pod = spec.get("securityContext", {})
    faults: dict[str, list[str]] = {}
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        own, name = container.get("securityContext", {}), container["name"]
        if own.get("allowPrivilegeEscalation") is not False:
            faults.setdefault("allowPrivilegeEscalation != false", []).append(name)
        if "ALL" not in own.get("capabilities", {}).get("drop", ()):
            faults.setdefault("unrestricted capabilities", []).append(name)
        if not own.get("runAsNonRoot", pod.get("runAsNonRoot")):
            faults.setdefault("runAsNonRoot != true", []).append(name)
        if own.get("seccompProfile", pod.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
            faults.setdefault("seccompProfile", []).append(name)
    if any("hostPath" in volume for volume in spec.get("volumes", ())) or spec.get("hostNetwork"):
        faults["restricted volume types"] = ["pod"]
    told = (
        f'{why} (container "{", ".join(names)}" must be set as the standard wants it)' for why, names in faults.items()
    )
    return ", ".join(told)


def quota_fault(quota: Object, pods: list[Object], new: Object) -> str:
    """What a ResourceQuota `{"pods": "2", "requests.memory": "1Gi"}` says against one more pod."""
    for resource, limit in quota.items():
        used = sum(amount(pod["spec"], resource) for pod in pods)
        asked = amount(new["spec"], resource)
        if used + asked > bytes_of(limit):
            return (
                f"exceeded quota: quota, requested: {resource}={asked:g}, used: {resource}={used:g}, limited: "
                f"{resource}={limit}"
            )
    return ""


def amount(spec: Object, resource: str) -> float:
    """How much of `pods`, `requests.cpu`, `limits.memory` … a pod takes."""
    if resource == "pods":
        return 1.0
    which, _, name = resource.partition(".")
    found = [container.get("resources", {}).get(which, {}).get(name, 0) for container in spec["containers"]]
    return sum(map(bytes_of, found))
