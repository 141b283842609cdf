"""How the fake cluster is set up: its namespaces, who may do what, quotas; and the answers about rights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from support.kubernetes.kinds import Refusal, Served, group
from support.kubernetes.store import Object


@dataclass
class Policies:
    """How the cluster is set up; tests change it while it runs. `rules` None: everybody may do all."""

    namespaces: dict[str, dict[str, str]] = field(default_factory=lambda: {"default": {}})
    rules: list[Object] | None = None
    quota: Object = field(default_factory=dict)
    refuse: Callable[[str, Object], str] | None = None
    """An admission webhook: asked with the kind's plural and the object, it says why not, or nothing."""


@dataclass(frozen=True)
class Target:
    """What a path names."""

    served: Served
    namespace: str
    name: str
    subresource: str


class Rights:
    """Authorization by the rules of a Role, and what the API says of it."""

    def __init__(self, policies: Policies) -> None:
        self.policies = policies

    def check(self, user: str, verb: str, target: Target) -> None:
        resource = f"{target.served.plural}/{target.subresource}" if target.subresource else target.served.plural
        if self._may(verb, target.served.group, resource):
            return
        said = (
            f'User "{user}" cannot {verb} resource "{resource}" in API group "{target.served.group}" in the namespace '
            f'"{target.namespace}"'
        )
        named = f' "{target.name}"' if target.name else ""
        raise Refusal(
            403,
            "Forbidden",
            f"{target.served.qualified}{named} is forbidden: {said}",
            **({"name": target.name} if target.name else {}),
            **group(target.served),
            kind=target.served.plural,
        )

    def _may(self, verb: str, of_group: str, resource: str) -> bool:
        if self.policies.rules is None:
            return True
        return any(
            {of_group, "*"} & set(rule["apiGroups"])
            and {resource, "*"} & set(rule["resources"])
            and {verb, "*"} & set(rule["verbs"])
            for rule in self.policies.rules
        )

    def review(self, body: Object) -> Object:
        asked = body["spec"]["resourceAttributes"]
        unknown = set(asked) - {"namespace", "verb", "group", "version", "resource", "subresource", "name"}
        if unknown:
            raise Refusal(400, "BadRequest", f"strict decoding error: unknown field {sorted(unknown)}")
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        return {**body, "status": {"allowed": self._may(asked["verb"], asked.get("group", ""), resource)}}

    def namespace(self, user: str, name: str) -> Object:
        if not self._may("get", "", "namespaces"):
            said = f'User "{user}" cannot get resource "namespaces" in API group "" in the namespace "{name}"'
            raise Refusal(403, "Forbidden", f'namespaces "{name}" is forbidden: {said}', name=name, kind="namespaces")
        labels = self.policies.namespaces.get(name)
        if labels is None:
            raise Refusal(404, "NotFound", f'namespaces "{name}" not found', name=name, kind="namespaces")
        return {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}}
