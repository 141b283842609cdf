"""The keys of replicas that are reached by TCP or a URL: worked out from the node key and a name.

A gateway works one out when it connects, an engine's adapter when it starts the replica that shall ask for it: neither
the database nor the routing snapshot has any, only names (`credential`). Where the replica reads its own from is its
engine's (a Secret of Kubernetes; a parameter or the task definition of ECS). Whoever has one learns neither the node
key nor another replica's.
"""

from __future__ import annotations

import hashlib
import hmac

_PURPOSE = b"tidegate replica key\0"


def replica_key(node_key: str, credential: str) -> str:
    """The key that goes by this name on a platform with this node key: 64 hexadecimal digits."""
    return hmac.new(node_key.encode(), _PURPOSE + credential.encode(), hashlib.sha256).hexdigest()
