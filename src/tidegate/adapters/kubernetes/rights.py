"""What this platform asks a cluster for, as RBAC says it: the Role of deploy/kubernetes allows this and nothing else,
and `tidegate doctor` asks the cluster for each.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.adapters.kubernetes.kinds import (
    AUTOSCALER,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    SECRET,
    SERVICE,
    Kind,
)


@dataclass(frozen=True)
class Right:
    """One verb on one kind of object, or on a part of it."""

    verb: str
    kind: Kind
    subresource: str = ""

    @property
    def resource(self) -> str:
        """As a rule of a Role names it.

        >>> Right("get", POD, "log").resource
        'pods/log'
        """
        return f"{self.kind.plural}/{self.subresource}" if self.subresource else self.kind.plural


_LOOKED_AT = ("list", "watch")
_WRITTEN = ("get", "create", "patch", "delete")
_VERBS: tuple[tuple[Kind, str, tuple[str, ...]], ...] = (
    (DEPLOYMENT, "", (*_WRITTEN, *_LOOKED_AT)),
    (DEPLOYMENT, "scale", ("get", "patch")),
    (REPLICA_SET, "", ("get", *_LOOKED_AT)),
    (POD, "", ("get", "patch", "delete", *_LOOKED_AT)),
    (POD, "log", ("get",)),
    (SERVICE, "", _WRITTEN),
    (SECRET, "", _WRITTEN),
    (EVENT, "", _LOOKED_AT),
    (ENDPOINT_SLICE, "", _LOOKED_AT),
    (POD_DISRUPTION_BUDGET, "", (*_WRITTEN, *_LOOKED_AT)),
    (AUTOSCALER, "", (*_WRITTEN, *_LOOKED_AT)),
)
RIGHTS = tuple(Right(verb, kind, part) for kind, part, verbs in _VERBS for verb in verbs)
