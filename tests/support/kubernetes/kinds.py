"""What the fake cluster serves, and how: kinds, lists, Status objects, label selectors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Served:
    """A kind; `counted`: its metadata has a generation; `listed` is what a list of it is called."""

    group: str
    version: str
    plural: str
    kind: str
    counted: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


DEPLOYMENTS = Served("apps", "v1", "deployments", "Deployment", counted=True)
REPLICA_SETS = Served("apps", "v1", "replicasets", "ReplicaSet", counted=True)
PODS = Served("", "v1", "pods", "Pod", counted=True)
SERVICES = Served("", "v1", "services", "Service")
SLICES = Served("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", counted=True)
SECRETS = Served("", "v1", "secrets", "Secret")
BUDGETS = Served("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", counted=True)
AUTOSCALERS = Served("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
EVENTS = Served("", "v1", "events", "Event")
KINDS = (DEPLOYMENTS, REPLICA_SETS, PODS, SERVICES, SLICES, SECRETS, BUDGETS, AUTOSCALERS, EVENTS)
BY_PATH = {(one.group, one.version, one.plural): one for one in KINDS}
BY_PLURAL = {one.plural: one for one in KINDS}


class Refusal(Exception):
    """An answer that is no success: its Status has the shape of a real one."""

    def __init__(self, code: int, reason: str, message: str, **details: Any) -> None:
        self.code = code
        self.retry_after_s: int | None = details.pop("retry_after_s", None)
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details else {}),
            "code": code,
        }
        super().__init__(message)


def not_found(served: Served, name: str) -> Refusal:
    said = f'{served.qualified} "{name}" not found'
    return Refusal(404, "NotFound", said, name=name, **group(served), kind=served.plural)


def group(served: Served) -> dict[str, str]:
    return {"group": served.group} if served.group else {}


def forbidden(served: Served, name: str, why: str) -> Refusal:
    said = f'{served.qualified} "{name}" is forbidden: {why}'
    return Refusal(403, "Forbidden", said, name=name, **group(served), kind=served.plural)


def invalid(served: Served, name: str, field: str, why: str) -> Refusal:
    cause = {"reason": "FieldValueInvalid", "message": why, "field": field}
    kind = f"{served.kind}.{served.group}" if served.group else served.kind
    said = f'{kind} "{name}" is invalid: {field}: {why}'
    return Refusal(422, "Invalid", said, name=name, **group(served), kind=served.kind, causes=[cause])


def changed_meanwhile(served: Served, name: str) -> Refusal:
    said = (
        f'Operation cannot be fulfilled on {served.qualified} "{name}": the object has been modified; please apply '
        "your changes to the latest version and try again"
    )
    return Refusal(409, "Conflict", said, name=name, **group(served), kind=served.plural)


def another(served: Served, name: str, field: str, told: str, there: str) -> Refusal:
    """A precondition of a deletion that does not hold."""
    was = {
        "uid": "The object might have been deleted and then recreated",
        "resourceVersion": "The object might have been modified",
    }[field]
    word = {"uid": "UID", "resourceVersion": "ResourceVersion"}[field]
    said = (
        f'Operation cannot be fulfilled on {served.kind} "{name}": the {word} in the precondition ({told}) does not '
        f"match the {word} in record ({there}). {was}"
    )
    return Refusal(409, "Conflict", said, name=name, **group(served), kind=served.kind)


def selects(selector: str, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels: `a=b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, by comma."""
    return all(_holds(term.strip(), labels) for term in re.split(r",(?![^(]*\))", selector) if term.strip())


def _holds(term: str, labels: dict[str, str]) -> bool:
    among = re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", term)
    if among:
        values = [value.strip() for value in among[3].split(",")]
        return (labels.get(among[1]) in values) == (among[2] == "in")
    equal = re.fullmatch(r"([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)", term)
    if equal:
        return (labels.get(equal[1]) == equal[3]) != (equal[2] == "!=")
    if re.fullmatch(r"!?[A-Za-z0-9./_-]+", term):
        return (term.lstrip("!") in labels) != term.startswith("!")
    raise Refusal(400, "BadRequest", f"unable to parse requirement: {term!r}")


def check_selector(selector: str) -> None:
    """Raises for one that makes no sense, also where there is nothing to select from."""
    selects(selector, {})


def matches(labels: dict[str, str], wanted: dict[str, str]) -> bool:
    return wanted.items() <= labels.items()


def bytes_of(quantity: str | int | float) -> float:
    """The number that a quantity (`500m`, `512Mi`, `2`) is."""
    found = re.fullmatch(r"([0-9.]+)(m|[KMGTP]i|[kMGTP])?", str(quantity))
    if found is None:
        raise Refusal(400, "BadRequest", f"quantities must match the regular expression, not {quantity!r}")
    units = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
    power = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50}
    unit = found[2] or ""
    return float(found[1]) * (units.get(unit) or (1 << power[unit] if unit in power else 1))
