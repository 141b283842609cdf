"""The objects of the fake cluster, each change with a resourceVersion of its own, and the log that watches read."""

from __future__ import annotations

import copy
import itertools
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from support.kubernetes.kinds import Served
from tidegate import clock

Object = dict[str, Any]
Keys = list[tuple[str, str, str]]
Key = tuple[str, str, str]
"""Plural, namespace, name."""


@dataclass(frozen=True)
class Change:
    """One entry of the log; `object` is as it was then."""

    version: int
    type: str
    plural: str
    namespace: str
    object: Object
    before: Object | None = None


class Store:
    """Safe to share between threads. What it gives are copies; what it is given is copied."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.version = 1000
        self.oldest = 0
        self._closed = False
        self.log: list[Change] = []
        self._objects: dict[Key, Object] = {}
        self._serial = itertools.count(1)

    @property
    def closed(self) -> bool:
        """Whether the cluster ends."""
        return self._closed

    def wait(self, seen: int, timeout_s: float) -> int:
        """The version now: other than `seen`, unless it took too long or the cluster ends."""
        with self.changed:
            self.changed.wait_for(lambda: self._closed or self.version != seen or self.oldest > seen, timeout_s)
            return self.version

    def get(self, plural: str, namespace: str, name: str) -> Object | None:
        with self.changed:
            return copy.deepcopy(self._objects.get((plural, namespace, name)))

    def list(self, plural: str, namespace: str | None = None) -> list[Object]:
        with self.changed:
            return [
                copy.deepcopy(one)
                for (of, where, _), one in sorted(self._objects.items())
                if of == plural and namespace in (None, where)
            ]

    def create(self, served: Served, namespace: str, made: Object) -> Object:
        with self.changed:
            meta = made["metadata"]
            meta.setdefault("namespace", namespace)
            meta.setdefault("uid", str(uuid.uuid4()))
            meta.setdefault("creationTimestamp", stamp())
            if served.counted:
                meta["generation"] = 1
            return self._put(served.plural, namespace, made, "ADDED")

    def update(self, served: Served, namespace: str, name: str, change: Callable[[Object], None]) -> Object | None:
        """`change` gets the object to change in place; None where there is none. What stays as it was is no change."""
        with self.changed:
            before = self._objects.get((served.plural, namespace, name))
            if before is None:
                return None
            after = copy.deepcopy(before)
            change(after)
            if after == before:
                return copy.deepcopy(before)
            if served.counted and after.get("spec") != before.get("spec"):
                after["metadata"]["generation"] = before["metadata"].get("generation", 0) + 1
            return self._put(served.plural, namespace, after, "MODIFIED")

    def remove(self, plural: str, namespace: str, name: str) -> Object | None:
        """Take it away, and what it owns."""
        with self.changed:
            gone = self._objects.pop((plural, namespace, name), None)
            if gone is None:
                return None
            self.version += 1
            gone = copy.deepcopy(gone)
            gone["metadata"]["resourceVersion"] = str(self.version)
            self._note(Change(self.version, "DELETED", plural, namespace, gone, gone))
            return gone

    def owned(self, uid: str) -> Keys:
        with self.changed:
            return [
                key
                for key, one in self._objects.items()
                if any(owner.get("uid") == uid for owner in one["metadata"].get("ownerReferences", ()))
            ]

    def forget(self) -> None:
        """As after a compaction: no watch goes on from before now, those that are open among them."""
        with self.changed:
            self.version += 1
            self.oldest = self.version
            self.log.clear()
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    def after(self, version: int) -> Iterator[Change]:
        """Changes after `version`, as they are now; call with `changed` held."""
        return (change for change in self.log if change.version > version)

    def _put(self, plural: str, namespace: str, given: Object, how: str) -> Object:
        self.version += 1
        kept = copy.deepcopy(given)
        kept["metadata"]["resourceVersion"] = str(self.version)
        key = plural, namespace, kept["metadata"]["name"]
        before = self._objects.get(key)
        self._objects[key] = kept
        self._note(Change(self.version, how, plural, namespace, kept, before))
        return copy.deepcopy(kept)

    def _note(self, change: Change) -> None:
        self.log.append(change)
        self.changed.notify_all()


def stamp(ahead_s: float = 0.0) -> str:
    """A time as the API writes it: whole seconds."""
    return clock.rfc3339(int(clock.now() + ahead_s)).replace(".000Z", "Z")
