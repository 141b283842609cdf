"""What an API server's Status says when it does not do what it was asked, as our errors. Pure.

Reasons and causes: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-architecture/api-conventions.md
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tidegate.adapters.kubernetes.kinds import OLDEST_SERVER
from tidegate.errors import (
    ChangedMeanwhile,
    Conflict,
    EngineDenied,
    EngineRefused,
    EngineUnavailable,
    TidegateError,
)

SAID_CHARS_MAX = 600


class Gone(Exception):
    """What was to be watched from there is forgotten (410): list again."""


@dataclass(frozen=True)
class ClusterCall:
    """What was asked, for the sentence: the verb as RBAC has it, the resource, the object's name."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str = ""

    @property
    def what(self) -> str:
        """`deployments 'churn'`, or the resource alone."""
        return f"{self.resource} '{self.name}'" if self.name else self.resource


def status_of(body: bytes) -> dict[str, Any]:
    """The Status in an answer; one with the text as its message where it is something else (a proxy's page)."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict) and found.get("kind") == "Status":
        return found
    return {"kind": "Status", "message": body.decode(errors="replace").strip()[:SAID_CHARS_MAX]}


def refusal(code: int, status: dict[str, Any], asked: ClusterCall, where: str) -> TidegateError:
    """The error for an answer that is none of 2xx; `where` names the cluster. 401 is the caller's."""
    said = str(status.get("message") or status.get("reason") or "no reason given")[:SAID_CHARS_MAX]
    if code == 403:
        return _forbidden(said, asked, where)
    if code == 404:
        return _not_found(said, status, asked, where)
    if code == 409:
        return _conflict(said, status, asked)
    if code in (400, 413, 415, 422) or (code == 500 and "field not declared in schema" in said):
        return _invalid(said, status, asked)
    if code == 429 or code >= 500:
        return EngineUnavailable(f"the Kubernetes cluster at {where} fails ({code}: {said}); it is asked again")
    return EngineUnavailable(
        f"{where} answers {code} to a request of Kubernetes' API ({said[:200]}): is it the API server's address?"
    )


def _forbidden(said: str, asked: ClusterCall, where: str) -> TidegateError:
    rbac = re.search(r'User "([^"]*)" cannot (\w+) resource "([^"]*)" in API group "([^"]*)"', said)
    if rbac:
        user, verb, resource, group = rbac.groups()
        return EngineDenied(
            f"user '{user}' may not {verb} {resource} in namespace '{asked.namespace}' at {where}: add the rule "
            f"{rule(verb, group, resource)} to its Role",
            verb=verb,
            resource=resource,
            namespace=asked.namespace,
        )
    if "exceeded quota" in said or "must specify" in said:
        return EngineRefused(
            f"the quota of namespace '{asked.namespace}' leaves no room for {asked.what} ({said}): raise the quota, or "
            "ask for less"
        )
    if "being terminated" in said:
        return EngineUnavailable(
            f"namespace '{asked.namespace}' is being deleted, and takes nothing new: make it again once it is gone, or "
            "set NAMESPACE to another"
        )
    if asked.verb in ("create", "patch", "update"):
        return EngineRefused(f"a policy of the cluster refuses {asked.what}: {said}")
    return EngineDenied(f"the cluster at {where} does not let this user {asked.verb} {asked.what}: {said}")


def rule(verb: str, group: str, resource: str) -> str:
    """The rule of a Role that allows it; several verbs are told apart by ", ".

    >>> rule("patch", "apps", "deployments")
    '{apiGroups: ["apps"], resources: ["deployments"], verbs: ["patch"]}'
    """
    verbs = ", ".join(f'"{one}"' for one in verb.split(", "))
    return f'{{apiGroups: ["{group}"], resources: ["{resource}"], verbs: [{verbs}]}}'


def _not_found(said: str, status: dict[str, Any], asked: ClusterCall, where: str) -> TidegateError:
    if _details(status).get("kind") == "namespaces":
        return no_namespace(asked.namespace, where)
    if not names_object(status):
        group = f" of {asked.group}" if asked.group else ""
        needed = ".".join(map(str, OLDEST_SERVER))
        return EngineRefused(
            f"the server at {where} knows no {asked.resource}{group} ({said[:200]}): Kubernetes {needed} or newer is "
            "needed"
        )
    return EngineUnavailable(f"{asked.what} is gone from namespace '{asked.namespace}'")


def no_namespace(namespace: str, where: str) -> EngineDenied:
    """The error for a namespace that is not there."""
    return EngineDenied(
        f"there is no namespace '{namespace}' in the cluster at {where}: kubectl create namespace {namespace}, or set "
        "NAMESPACE to one that is there",
        namespace=namespace,
    )


def _conflict(said: str, status: dict[str, Any], asked: ClusterCall) -> TidegateError:
    causes = _causes_of(status)
    fields: dict[str, list[str]] = {}
    for cause in causes:
        if cause.get("reason") == "FieldManagerConflict":
            manager = re.search(r'conflict with "([^"]*)"', str(cause.get("message")))
            fields.setdefault(manager[1] if manager else "another", []).append(str(cause.get("field", "")).lstrip("."))
    if not fields:
        return ChangedMeanwhile(f"{asked.what} was changed in the cluster since it was read: {said}")
    holders = "; ".join(f"'{manager}' holds {', '.join(names)}" for manager, names in sorted(fields.items()))
    return Conflict(
        f"somebody else manages fields of {asked.what} that Tidegate writes: {holders}. Take the change back there, or "
        "delete the object, and Tidegate makes it again",
        managers=sorted(fields),
        fields=sorted(name for names in fields.values() for name in names),
    )


def _invalid(said: str, status: dict[str, Any], asked: ClusterCall) -> TidegateError:
    if any(one.get("field") == "metadata.uid" for one in _causes_of(status)):
        return ChangedMeanwhile(f"{asked.what} is another object by now than the one that was read")
    return EngineRefused(f"Kubernetes does not take {asked.what}: {_causes(status) or said}")


def _causes(status: dict[str, Any]) -> str:
    causes = [f"{one.get('field', '')}: {one.get('message', '')}".strip(": ") for one in _causes_of(status)]
    return "; ".join(filter(None, causes))[:SAID_CHARS_MAX]


def names_object(status: dict[str, Any]) -> bool:
    """Whether a 404 is about one object that is not there, and not about the kind or the path."""
    return bool(_details(status).get("name"))


def _details(status: dict[str, Any]) -> dict[str, Any]:
    found = status.get("details")
    return found if isinstance(found, dict) else {}


def _causes_of(status: dict[str, Any]) -> list[dict[str, Any]]:
    found = _details(status).get("causes")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
