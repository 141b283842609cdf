"""Versions on their way to replicas that an engine starts elsewhere. Called by the route that `tidegate.fetch` asks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import msgspec

from tidegate.adapters.artifacts.packed import PackedVersion, packed_version
from tidegate.core.access import Principal
from tidegate.core.images.delivery import workload_of
from tidegate.errors import Conflict, Forbidden, Overloaded, UnknownVersion
from tidegate.services.models.catalog import Models
from tidegate.services.reading.lookup import endpoint_or_raise, version_or_raise

AT_ONCE_MAX = 8
RETRY_AFTER_S = 2.0


@dataclass(frozen=True)
class Packages:
    """The use case. At most `AT_ONCE_MAX` versions are sent at a time; whoever else asks is told to come again."""

    models: Models
    sending: threading.Semaphore = field(default_factory=lambda: threading.BoundedSemaphore(AT_ONCE_MAX))

    def open(self, name: str, number: str, form: str, who: Principal) -> PackedVersion:
        """A version as `form` ("" for the original); `close` is owed for it.

        Raises `Forbidden` to a replica of another one, `UnknownModel`, `UnknownEndpoint` and `UnknownVersion`,
        `Conflict` where it is not served in that form any more, `ArtifactDamaged`, and `Overloaded`.
        """
        self._check_own(name, number, who)
        with self.models.store.reading() as tx:
            version = version_or_raise(tx, name, number).version
        if version != number:
            raise UnknownVersion(f"a version is fetched by its number, and {number[:80]!r} is none", model=name)
        manifest = self.models.manifests.read(name, version)
        there = manifest.accelerated.form if manifest.accelerated else None
        if form and form != there:
            raise Conflict(
                f"{name}:{version} is not served as {form[:80]!r} any more: its replicas are being replaced", model=name
            )
        if manifest.environment is not None and not form:
            raise Conflict(
                f"{name}:{version} needs Python libraries of its own, and those are not sent: 'tidegate build "
                f"{name}:{version} --push' makes an image that has them",
                model=name,
            )
        if not form:
            manifest = msgspec.structs.replace(manifest, accelerated=None)
        packed = packed_version(manifest, self.models.artifacts.path(manifest.digest))
        if not self.sending.acquire(blocking=False):
            raise Overloaded(f"{AT_ONCE_MAX} versions are being sent: try again later", retry_after_s=RETRY_AFTER_S)
        return packed

    def close(self) -> None:
        """A version was sent, or whoever wanted it has left."""
        self.sending.release()

    def _check_own(self, name: str, number: str, who: Principal) -> None:
        """Of a replica: that its workload is of this version."""
        if who.kind != "replica":
            return
        workload = workload_of(who.name)
        if workload is not None:
            with self.models.store.reading() as tx:
                own = endpoint_or_raise(tx, workload[0]).model, workload[1]
            if own == (name, number):
                return
        raise Forbidden(f"{who.name} is no replica of {name}:{number}: it may fetch its own version alone")
