"""How a version reaches an engine that starts its replicas elsewhere. Called by engines when they make a workload.

In an image that a registry has of exactly this version, form and release; else, where replicas can fetch, in the
platform's own image and a fetch; else the build job makes and pushes one meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from tidegate.adapters.artifacts.packed import packed_version
from tidegate.core.engines.placement import Placement
from tidegate.core.images.contents import pushed_tag
from tidegate.core.images.delivery import (
    RUNTIME_FRAMEWORKS,
    Delivery,
    Fetch,
    Pushed,
    choose,
    runtime_image,
    version_path,
)
from tidegate.core.workloads import WorkloadSpec
from tidegate.errors import ImagePending, ImagePushFailed, InvalidArgument, MissingLibrary
from tidegate.services.images.replica_images import ReplicaImages
from tidegate.services.models.catalog import Models
from tidegate.store.models import pushed_images
from tidegate.version import __version__
from tidegate.wire import rest
from tidegate.wire.replicas.manifest import Manifest

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class DeliverySettings:
    """What settings say. `control_url` is the control plane's own address, which serves where no other is set."""

    control_url: str
    control_url_inside: str | None = None
    registry: str | None = None
    pull_secret: str | None = None
    runtime_image: str | None = None


@dataclass(frozen=True)
class Needs:
    """What an engine can do with a version. `platform` is what images for it are built for; None: whatever there is."""

    fetches: bool
    platform: str | None = None


@dataclass(frozen=True)
class VersionDelivery:
    """The use case. `needs` says what the engine of a placement can do."""

    models: Models
    images: ReplicaImages
    settings: DeliverySettings
    needs: Callable[[Placement], Needs]

    def deliver(self, spec: WorkloadSpec) -> Delivery:
        """Raises `ImagePending` while an image is made, or what keeps it from being made, with what to do about it."""
        name, version, form = spec.model, spec.key.version, spec.key.form
        manifest, needs = self.models.manifests.read(name, version), self.needs(spec.key.placement)
        pushed = self._pushed(manifest, form, needs.platform)
        if pushed is None and needs.fetches:
            self._check_fetched(manifest, form)
            image = self.settings.runtime_image or runtime_image()
            path, disk_bytes = version_path(name, version, form), self._disk_bytes(manifest, form)
            fetch = Fetch(self._control_url(), path, manifest.digest, disk_bytes)
            return Delivery(image, fetch, self.settings.pull_secret)
        if pushed is None:
            was_pushed = self._push(manifest, form, needs.platform)
            pushed = self._pushed(manifest, form, needs.platform)
            if pushed is None and was_pushed:
                raise ImagePushFailed(
                    f"an image of {name}:{version} was pushed, and neither registry nor engine says under which "
                    "digest: look with 'docker push' at what the registry answers"
                )
        if pushed is None:
            raise ImagePending("waits for its image, which will be built and pushed in a moment")
        return Delivery(pushed.reference, None, self.settings.pull_secret, pushed.platform)

    def _pushed(self, manifest: Manifest, form: str, platform: str | None) -> Pushed | None:
        """What a registry has of exactly these files, in this form, with this release's replica."""
        with self.models.store.reading() as tx:
            rows = pushed_images.of_version(tx, manifest.name, manifest.version)
        wanted = (manifest.digest, form, __version__)
        there = [Pushed(row.reference, row.platform) for row in rows if (row.digest, row.form, row.release) == wanted]
        return choose(there, self.settings.registry, platform)

    def _disk_bytes(self, manifest: Manifest, form: str) -> int:
        served = manifest if form else msgspec.structs.replace(manifest, accelerated=None)
        return packed_version(served, self.models.artifacts.path(manifest.digest)).disk_bytes

    def _check_fetched(self, manifest: Manifest, form: str) -> None:
        """Raises `MissingLibrary`. An image that somebody else made says for itself what it lacks (`fetch.fit`)."""
        if form:
            return
        what = f"{manifest.name}:{manifest.version}"
        if manifest.environment is not None:
            why = "needs Python libraries of its own"
        elif self.settings.runtime_image is None and manifest.framework not in RUNTIME_FRAMEWORKS:
            why = f"needs {manifest.framework}"
        else:
            return
        raise MissingLibrary(
            f"{what} {why}, which the platform's runtime image lacks: {self._build_it(what)}", model=manifest.name
        )

    def _build_it(self, what: str) -> str:
        if self.settings.registry is not None:
            return (
                f"'tidegate build {what} --push' makes an image that has all it needs, and replicas then start from it"
            )
        return (
            "set TIDEGATE_IMAGE_REGISTRY (registry.example.com/team) where the platform runs, then have an image made "
            f"that has all it needs ('tidegate build {what} --push')"
        )

    def _control_url(self) -> str:
        if self.settings.control_url_inside is not None:
            return self.settings.control_url_inside.rstrip("/")
        if urlsplit(self.settings.control_url).hostname in LOOPBACK:
            raise InvalidArgument(
                f"replicas elsewhere cannot fetch from {self.settings.control_url}: set TIDEGATE_CONTROL_URL_INSIDE to "
                "the control plane's address as they reach it, or TIDEGATE_IMAGE_REGISTRY and 'tidegate build --push'",
                field="TIDEGATE_CONTROL_URL_INSIDE",
            )
        return self.settings.control_url.rstrip("/")

    def _push(self, manifest: Manifest, form: str, platform: str | None) -> bool:
        """Have the image made and pushed; returns once that was done, and whether it was."""
        what = f"{manifest.name}:{manifest.version}"
        if self.settings.registry is None:
            raise InvalidArgument(
                f"{what} has no image that was pushed, and its replicas start from one: set TIDEGATE_IMAGE_REGISTRY "
                "(registry.example.com/team) where the platform runs, which then builds and pushes it by itself; or "
                f"type 'tidegate build {what} --tag registry.example.com/team/{what} --push'",
                field="TIDEGATE_IMAGE_REGISTRY",
            )
        if form != (manifest.accelerated.form if manifest.accelerated else ""):
            raise ImagePending(f"{what} is served in another form by now: these replicas are being replaced")
        tag = pushed_tag(self.settings.registry, manifest.name, manifest.version)
        return self.images.push(manifest.name, manifest.version, rest.BuildRequest(tag, push=True, platform=platform))
