"""What this platform asks a cluster for, as RBAC says it: the Role of deploy/kubernetes allows this and nothing else,
and `tidegate doctor` asks the cluster for each.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tidegate.adapters.kubernetes.api import KubernetesApi
from tidegate.adapters.kubernetes.kinds import (
    AUTOSCALER,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    POD,
    POD_DISRUPTION_BUDGET,
    SECRET,
    SERVICE,
    ObjectKind,
)
from tidegate.adapters.kubernetes.refusals import rule
from tidegate.errors import EngineDenied


@dataclass(frozen=True)
class Right:
    """One verb on one kind of object, or on a part of it."""

    verb: str
    kind: ObjectKind
    subresource: str = ""

    @property
    def resource(self) -> str:
        """As a rule of a Role names it.

        >>> Right("get", POD, "log").resource
        'pods/log'
        """
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


CALLS_MAX = 8
_LOOKED_AT = ("list", "watch")
_WRITTEN = ("get", "create", "patch", "delete")
_VERBS: tuple[tuple[ObjectKind, str, tuple[str, ...]], ...] = (
    (DEPLOYMENT, "", (*_WRITTEN, *_LOOKED_AT)),
    (POD, "", ("get", "patch", "delete", *_LOOKED_AT)),
    (POD, "log", ("get",)),
    (SERVICE, "", (*_WRITTEN, *_LOOKED_AT)),
    (SECRET, "", _WRITTEN),
    (EVENT, "", _LOOKED_AT),
    (ENDPOINT_SLICE, "", _LOOKED_AT),
    (POD_DISRUPTION_BUDGET, "", (*_WRITTEN, *_LOOKED_AT)),
    (AUTOSCALER, "", (*_WRITTEN, *_LOOKED_AT)),
)
RIGHTS = tuple(Right(verb, kind, part) for kind, part, verbs in _VERBS for verb in verbs)


def missing_rights(api: KubernetesApi) -> list[Right]:
    """What this user may not, of all that is needed. One call for each right, several at a time."""
    with ThreadPoolExecutor(CALLS_MAX, thread_name_prefix="kubernetes rights") as calls:
        may = calls.map(lambda right: api.can(right.verb, right.kind, right.subresource), RIGHTS)
        return [right for right, allowed in zip(RIGHTS, may, strict=True) if not allowed]


def check_rights(api: KubernetesApi) -> None:
    """Raises `EngineDenied`, with the rules that are missing."""
    missing = missing_rights(api)
    if missing:
        parts = dict.fromkeys((one.kind.group, one.resource) for one in missing)
        rules = "; ".join(
            rule(", ".join(one.verb for one in missing if (one.kind.group, one.resource) == part), *part)
            for part in parts
        )
        raise EngineDenied(
            f"this user may not do all that is needed in namespace '{api.namespace}' at {api.where}: add to its Role "
            f"{rules}"
        )
