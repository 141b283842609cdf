"""Endpoints as manifests of other engines, with the images and digests that the platform knows. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tidegate.core.images.contents import PLATFORMS
from tidegate.core.images.delivery import MOST, Pushed, choose
from tidegate.core.manifests.export import manifests_of
from tidegate.core.manifests.served import CLOUDRUN, ECS, ExportSettings, Known, KnownImage, ServedRequest
from tidegate.errors import UnknownImage
from tidegate.services.images.builds import Images
from tidegate.store.models import pushed_images
from tidegate.wire.endpoints.declared import ExportAnswer
from tidegate.wire.replicas.manifest import Manifest


@dataclass(frozen=True)
class Manifests:
    """Called by `Documents.export`, outside its transaction: aliases are the registry's."""

    images: Images
    settings: ExportSettings

    def of(self, documents: Sequence[Mapping[str, Any]], form: str, request: ServedRequest) -> ExportAnswer:
        """The objects of all endpoints, and what whoever applies them should know.

        Raises `InvalidArgument`, `UnknownModel`, `UnknownVersion`, and `Conflict` where files of a version are gone.
        """
        return manifests_of(documents, form, request, self.settings, partial(self._known, self._platform(form)))

    def _platform(self, form: str) -> str | None:
        """What images have to run on there; None: whatever there is."""
        if form == CLOUDRUN:
            return MOST
        arm = self.settings.places.ecs_architecture == "ARM64"
        return (PLATFORMS["aarch64"] if arm else MOST) if form == ECS else None

    def _known(self, platform: str | None, model: str, named: str) -> tuple[str, Known]:
        version = self.images.models.version(model, named)
        manifest = self.images.models.manifests.read(model, version.version)
        gpu = manifest.accelerated is None and (manifest.device or "").startswith("cuda")
        return version.version, Known(version.digest, self._image(manifest, platform), gpu)

    def _image(self, manifest: Manifest, platform: str | None) -> KnownImage | None:
        """What a registry has of it, else what was built last; of other files that had its number before, neither."""
        form = manifest.accelerated.form if manifest.accelerated else ""
        with self.images.models.store.reading() as tx:
            rows = pushed_images.of_version(tx, manifest.name, manifest.version)
        there = [
            Pushed(row.reference, row.platform) for row in rows if (row.digest, row.form) == (manifest.digest, form)
        ]
        if (pushed := choose(there, self.settings.registry, platform)) is not None:
            return KnownImage(pushed.reference, pushed.reference)
        try:
            image = self.images.get(manifest.name, manifest.version)
        except UnknownImage:
            return None
        if image.digest != manifest.digest:
            return None
        fits = platform in (None, image.platform)
        return KnownImage(image.image, image.pushed_as if fits else None)
