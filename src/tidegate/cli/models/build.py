"""`build`: a container image of a version."""

from __future__ import annotations

from pathlib import Path

import click

from tidegate.cli.app import App, command
from tidegate.cli.output import size
from tidegate.errors import InvalidArgument
from tidegate.wire.rest import BuildRequest, Image


@command(
    "build",
    "tidegate build churn:3",
    "tidegate build churn:3 --push",
    "tidegate build churn@champion --tag registry.example.com/team/churn:3 --push",
    "tidegate build churn:3 --push --platform linux/arm64",
    "tidegate build churn:3 --base python:3.11-slim --sbom churn-3.cdx.json",
    "tidegate build churn:3 --dockerfile-only",
)
@click.argument("model", metavar="NAME[:VERSION|@ALIAS]")
@click.option(
    "--tag",
    metavar="IMAGE",
    help="What to call it [default: tidegate/NAME:VERSION; with --push REGISTRY/NAME:VERSION].",
)
@click.option(
    "--base", metavar="IMAGE", help="What to build it on [default: TIDEGATE_IMAGE_BASE, else python:X.Y-slim]."
)
@click.option("--push", is_flag=True, help="Send it to TIDEGATE_IMAGE_REGISTRY, or where --tag says.")
@click.option("--platform", metavar="OS/CPU", help="Build it for linux/amd64 or linux/arm64 [default: the engine's].")
@click.option("--sbom", type=click.Path(path_type=Path), metavar="FILE", help="Write its bill of materials here too.")
@click.option("--dockerfile-only", is_flag=True, help="Print the Dockerfile and build nothing.")
@click.option("--no-wait", is_flag=True, help="Return when the job is queued, and name it.")
def build(
    app: App,
    model: str,
    *,
    tag: str | None,
    base: str | None,
    push: bool,
    platform: str | None,
    sbom: Path | None,
    dockerfile_only: bool,
    no_wait: bool,
) -> None:
    """Make a container image that serves one version by itself.

    It needs a container engine where the platform runs (DOCKER_HOST, or the docker command's context). Python libraries
    are collected as wheels first, in the versions that are installed here, so that the build itself needs no network.
    The image is kept once its model has been seen to predict in it, with a read-only file system and no network.

    The image runs as a user that is not root, serves every protocol on ports 8000 and 8001, and refuses to start
    without TIDEGATE_API_KEY (or TIDEGATE_AUTH=none). It holds no control plane. A version whose loading runs code has
    that code in its image only if it was granted; one that is served in a faster form has that form alone.

    With --push it goes to the registry that TIDEGATE_IMAGE_REGISTRY of the platform names, with the login of the
    engine where the platform runs ('docker login REGISTRY'). The digest that the registry gives it is kept with the
    version: replicas on other engines start from it, and exported manifests name it.
    """
    if sbom is not None and (no_wait or dockerfile_only):
        raise InvalidArgument(
            "--sbom needs the finished image: leave out --no-wait and --dockerfile-only", field="sbom"
        )
    images = app.client().images
    if dockerfile_only:
        found = images.dockerfile(model, base)
        return app.emit(found, lambda: found.dockerfile.rstrip("\n"))
    request = BuildRequest(tag, base, push, platform)
    if no_wait:
        job = images.build(model, request, wait=False)
        return app.emit(job, lambda: f"job {job.id}: follow it with 'tidegate jobs {job.id}'")
    with app.progress() as report:
        image = images.build(model, request, on_progress=report)
    if sbom is not None:
        _write(sbom, image)
    return app.emit(image, lambda: _describe(image))


def _write(path: Path, image: Image) -> None:
    import orjson

    try:
        path.write_bytes(orjson.dumps(image.sbom, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise InvalidArgument(f"the bill of materials cannot be written to {path}: {error.strerror}") from None


def _describe(image: Image) -> str:
    served = f"the form {image.form}" if image.form else "the original"
    lines = [
        f"built {image.image} of {image.model}:{image.version}" + (", and pushed it" if image.pushed else ""),
        f"  id      {image.id}" + (f", for {image.platform}" if image.platform else ""),
        *([f"  pushed  {image.pushed_as}"] if image.pushed_as else []),
        f"  size    {size(image.size_bytes)} in {len(image.layers)} layers, on {image.base}",
        f"  model   {served}" + (", with a pickle that was granted" if image.pickle_granted else ""),
        f"  sbom    {len(image.sbom.get('components', []))} components (CycloneDX; --sbom FILE writes it)",
        f"  docker run -p 8000:8000 -p 8001:8001 -e TIDEGATE_API_KEY=... {image.image}",
    ]
    return "\n".join(lines)
