"""Events as the parts of a cluster write them: repeated ones are counted in one object."""

from __future__ import annotations

import hashlib
from typing import Any

from support.kubernetes.kinds import EVENTS
from support.kubernetes.store import Object, Store, stamp


def record(store: Store, about: Object, reason: str, message: str, *, component: str = "kubelet") -> None:
    """`Warning` where the reason is one of trouble, else `Normal`."""
    meta = about["metadata"]
    told = hashlib.sha256(f"{meta['uid']}{reason}{message}".encode()).hexdigest()[:16]
    name = f"{meta['name'][:200]}.{told}"

    def again(one: Object) -> None:
        one["count"] += 1
        one["lastTimestamp"] = stamp()

    with store.changed:
        if store.update(EVENTS, meta["namespace"], name, again) is not None:
            return
        involved: dict[str, Any] = {
            "kind": about["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "apiVersion": about["apiVersion"],
            "resourceVersion": meta["resourceVersion"],
        }
        made: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name},
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": "Warning" if reason in TROUBLE else "Normal",
            "count": 1,
            "firstTimestamp": stamp(),
            "lastTimestamp": stamp(),
            "eventTime": None,
            "source": {"component": component},
            "reportingComponent": component,
            "reportingInstance": "",
        }
        store.create(EVENTS, meta["namespace"], made)


TROUBLE = {
    "Failed",
    "ErrImageNeverPull",
    "BackOff",
    "Unhealthy",
    "FailedScheduling",
    "FailedCreate",
    "FailedMount",
    "OOMKilling",
    "Evicted",
}
