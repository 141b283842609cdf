"""The build job: a version → its libraries as wheels → a context → an image that was seen to start. Or nothing.

The image gets its name last, so that what an older build left under it stays until the new one works.
"""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from tidegate.adapters.docker.build import BaseImage, Built, DockerCli
from tidegate.adapters.images import context as image_context
from tidegate.adapters.images.files import ImageFiles
from tidegate.adapters.images.wheelhouse import Pin, Wheelhouse, WheelTarget, lay_out
from tidegate.clock import Clock
from tidegate.core.images.contents import (
    ImageContents,
    check_base,
    check_tag,
    default_base,
    default_tag,
    dockerfile,
    named_by_digest,
)
from tidegate.core.images.sbom import Library, bill_of_materials
from tidegate.errors import ImageBuildFailed, TidegateError
from tidegate.jobs.report import JobLost, JobReport
from tidegate.jobs.scratch import fresh_scratch, remove_scratch
from tidegate.services.images.builds import contents_of
from tidegate.services.models.catalog import Models
from tidegate.store.models import models, pushed_images
from tidegate.version import __version__
from tidegate.wire import rest
from tidegate.wire.decoding import convert
from tidegate.wire.replicas.manifest import Manifest

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _BuildSteps:
    """Progress within one stage of the job: what a program prints, a little further each time."""

    report: JobReport
    start: float
    end: float

    def line(self, text: str) -> None:
        """A message that cannot be told is only a log line."""
        try:
            self.report.progress(self.start, text[:200])
        except (JobLost, TidegateError) as error:
            _log.warning("progress of job %s could not be told: %s", self.report.job_id, error)


@dataclass(frozen=True)
class BuildJob:
    """`JobFunction` for kind "build"."""

    models: Models
    engine: DockerCli
    wheelhouse: Wheelhouse
    images: ImageFiles
    scratch_root: Path
    default_base: str | None
    clock: Clock

    def run(self, payload: dict[str, Any], report: JobReport) -> dict[str, Any]:
        """`{"model", "version", "image", "id", "size_bytes", "pushed"}`. Raises what the steps raise."""
        name, number = str(payload["model"]), str(payload["version"])
        request = convert(payload["request"], rest.BuildRequest)
        scratch = fresh_scratch(self.scratch_root, report)
        context = scratch / "context"
        try:
            context.mkdir(mode=0o700)
            image = self._image(self.models.version(name, number), name, request, context, report)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        kept = ("model", "version", "image", "id", "size_bytes", "pushed")
        return {field: getattr(image, field) for field in kept}

    def undo(self, payload: dict[str, Any], job_id: str) -> None:  # noqa: ARG002 (the port's shape)
        """Nothing but scratch is left by a run that failed: an image has no name before it is whole."""
        remove_scratch(self.scratch_root, job_id)

    def _image(
        self, version: rest.Version, name: str, request: rest.BuildRequest, context: Path, report: JobReport
    ) -> rest.Image:
        tag = check_tag(request.tag or default_tag(name, version.version))
        report.progress(0.02, "asking the container engine")
        self.engine.check()
        manifest = self.models.manifests.read(name, version.version)
        package_dir = self.models.artifacts.path(manifest.digest)
        image_context.check_grant(manifest, package_dir)
        base = self._base(manifest, request, report)
        contents = contents_of(manifest, version, base.ref)
        with self.models.files:  # nobody removes the version's files meanwhile
            image_context.write_model(manifest, package_dir, context)
            pins = image_context.pins_of(manifest, package_dir, self._site(manifest), base.machine)
        sbom = self._write(contents, base, pins, context, report)
        built = self._built(context, report, base.platform)
        image = _described(contents, tag, built, self.clock(), (dockerfile(contents), sbom))
        return self._named(image, request, report)

    def _base(self, manifest: Manifest, request: rest.BuildRequest, report: JobReport) -> BaseImage:
        here = "{}.{}".format(*sys.version_info[:2])
        ref = check_base(request.base or self.default_base or default_base(here))
        report.progress(0.05, f"looking at the base image {ref}")
        base = self.engine.base(ref, _BuildSteps(report, 0.05, 0.1).line, request.platform)
        wanted = ".".join((manifest.python or here).split(".")[:2])
        if base.python != wanted:
            raise ImageBuildFailed(
                f"the base image {ref!r} has Python {base.python}, and {manifest.name}:{manifest.version} was taken in "
                f"on {wanted}: choose a base with that, for example {default_base(wanted)}",
                base=ref,
            )
        return base

    def _site(self, manifest: Manifest) -> Path | None:
        if manifest.environment is None:
            return None
        python = self.models.environments.of_version(manifest.environment)
        return next((python.parent.parent / "lib").glob("python*/site-packages"))

    def _write(
        self, contents: ImageContents, base: BaseImage, pins: list[Pin], context: Path, report: JobReport
    ) -> dict[str, Any]:
        """All that `docker build` reads; the bill of materials of it."""
        report.progress(0.1, f"collecting wheels of {len(pins)} libraries")
        target = WheelTarget(base.python, base.machine, base.glibc)
        digests = lay_out(self.wheelhouse.collect(pins, target, _BuildSteps(report, 0.1, 0.4).line), context / "wheels")
        licences = image_context.licences(pins)
        libraries = [Library(pin.name, pin.version, sha256, licences.get(pin)) for pin, sha256 in digests.items()]
        inside = [library for library in libraries if library.name != image_context.INSTALLER]
        sbom = bill_of_materials(contents, base.id, inside)
        image_context.write_requirements(pins, context)
        image_context.write_program(context)
        (context / "model" / "sbom.cdx.json").write_bytes(msgspec.json.format(msgspec.json.encode(sbom), indent=2))
        (context / "model" / "sbom.cdx.json").chmod(0o644)
        (context / "Dockerfile").write_text(dockerfile(contents), encoding="utf-8")
        return sbom

    def _built(self, context: Path, report: JobReport, platform: str | None) -> Built:
        """An image without a name that was seen to start; one that does not is removed."""
        report.progress(0.4, "building the image")
        built = self.engine.build(context, _BuildSteps(report, 0.4, 0.8).line, platform)
        try:
            report.progress(0.8, "checking that the image starts and predicts")
            self.engine.prove(built.id, _BuildSteps(report, 0.8, 0.9).line, platform)
        except BaseException:
            self.engine.remove_unnamed(built.id)
            raise
        return built

    def _named(self, image: rest.Image, request: rest.BuildRequest, report: JobReport) -> rest.Image:
        report.progress(0.9, f"naming it {image.image}")
        self.models.store.check()  # one that was taken over names nothing
        self.engine.tag(image.id, image.image)
        self.images.write(image)
        if not request.push:
            return image
        report.progress(0.92, f"pushing {image.image}")
        digest = self.engine.push(image.image, _BuildSteps(report, 0.92, 0.99).line)
        pushed = replace(image, pushed=True, pushed_as=named_by_digest(image.image, digest))
        self._note(pushed)
        self.images.write(pushed)
        return pushed

    def _note(self, image: rest.Image) -> None:
        """For engines elsewhere, which start replicas from it; of an image that an older one was pushed over, too."""
        if image.pushed_as is None:
            return
        with self.models.store.transaction() as tx:
            if models.get_version(tx, image.model, image.version) is not None:
                pushed_images.note(tx, image, __version__, self.clock())


def _described(
    contents: ImageContents, tag: str, built: Built, now: float, files: tuple[str, dict[str, Any]]
) -> rest.Image:
    made, sbom = files
    return rest.Image(
        model=contents.model,
        version=contents.version,
        digest=contents.digest,
        image=tag,
        id=built.id,
        base=contents.base,
        size_bytes=built.size_bytes,
        layers=list(built.layers),
        pickle_granted=contents.pickle_granted,
        pushed=False,
        built_at=now,
        form=contents.form,
        dockerfile=made,
        sbom=sbom,
        platform=built.platform,
    )
