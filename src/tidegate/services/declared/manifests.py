"""Endpoints as manifests of other engines, with the images and digests that the platform knows. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.core.manifests.export import manifests_of
from tidegate.core.manifests.served import ExportSettings, Known, KnownImage, ServedRequest
from tidegate.errors import UnknownImage
from tidegate.services.images.builds import Images
from tidegate.wire.declared import ExportAnswer


@dataclass(frozen=True)
class Manifests:
    """Called by `Documents.export`, outside its transaction: aliases are the registry's."""

    images: Images
    settings: ExportSettings

    def of(self, documents: Sequence[Mapping[str, Any]], form: str, request: ServedRequest) -> ExportAnswer:
        """The objects of all endpoints, and what whoever applies them should know.

        Raises `InvalidArgument`, `UnknownModel`, `UnknownVersion`, and `Conflict` where files of a version are gone.
        """
        return manifests_of(documents, form, request, self.settings, self._known)

    def _known(self, model: str, named: str) -> tuple[str, Known]:
        version = self.images.models.version(model, named)
        manifest = self.images.models.manifests.read(model, version.version)
        gpu = manifest.accelerated is None and (manifest.device or "").startswith("cuda")
        return version.version, Known(version.digest, self._image(model, version.version, version.digest), gpu)

    def _image(self, model: str, version: str, digest: str) -> KnownImage | None:
        try:
            image = self.images.get(model, version)
        except UnknownImage:
            return None
        if image.digest != digest:  # of other files that had this number before
            return None
        return KnownImage(image.image, image.pushed_as)
