"""Queues images of versions, and shows what came of them. The build job makes them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

from tidegate.adapters.images.files import ImageFiles
from tidegate.core.access import Principal
from tidegate.core.images.contents import (
    ImageContents,
    check_base,
    check_platform,
    check_tag,
    default_base,
    dockerfile,
    pushed_tag,
)
from tidegate.errors import InvalidArgument
from tidegate.services.jobs.queue import Jobs
from tidegate.services.models.catalog import Models
from tidegate.version import __version__
from tidegate.wire import rest
from tidegate.wire.replicas.manifest import Manifest


@dataclass(frozen=True)
class Images:
    """The use cases. `default_base` is the setting; None for the official image of the platform's Python. `registry` is
    where images go that are pushed without a name.
    """

    models: Models
    jobs: Jobs
    files: ImageFiles
    default_base: str | None
    registry: str | None = None

    def build(self, name: str, reference: str, request: rest.BuildRequest, who: Principal) -> rest.Job:
        """Queue an image. Raises `UnknownModel`, `UnknownVersion`, `InvalidArgument`, `Conflict`."""
        if request.tag is not None:
            check_tag(request.tag)
        elif request.push and self.registry is None:
            raise InvalidArgument(
                "nobody said where to push it: set TIDEGATE_IMAGE_REGISTRY (registry.example.com/team) where the "
                "platform runs, or name the image with its registry (--tag registry.example.com/team/churn:3)",
                field="tag",
            )
        if request.base is not None:
            check_base(request.base)
        if request.platform is not None:
            check_platform(request.platform)
        version = self.models.version(name, reference).version
        if request.push and request.tag is None and self.registry is not None:
            request = replace(request, tag=check_tag(pushed_tag(self.registry, name, version)))
        return self.jobs.build(name, version, request, who)

    def get(self, name: str, reference: str) -> rest.Image:
        """What was built last of a version. Raises `UnknownModel`, `UnknownVersion`, `UnknownImage`."""
        return self.files.read(name, self.models.version(name, reference).version)

    def dockerfile(self, name: str, reference: str, base: str | None) -> rest.Dockerfile:
        """What a build would use now; asks no engine. Raises `UnknownModel`, `UnknownVersion`, `InvalidArgument`."""
        version = self.models.version(name, reference)
        ref = check_base(base or self.default_base or default_base("{}.{}".format(*sys.version_info[:2])))
        manifest = self.models.manifests.read(name, version.version)
        text = dockerfile(contents_of(manifest, version, ref))
        return rest.Dockerfile(name, version.version, ref, text)


def contents_of(manifest: Manifest, version: rest.Version, base: str) -> ImageContents:
    """What the image's labels and files say of the version in it."""
    return ImageContents(
        model=manifest.name,
        version=manifest.version,
        digest=manifest.digest,
        tidegate=__version__,
        base=base,
        label=version.label,
        run_id=version.run_id,
        form=manifest.accelerated.form if manifest.accelerated else None,
        pickle_granted=manifest.accelerated is None and manifest.pickle_granted,
    )
