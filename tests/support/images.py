"""Real images of packaged models on a private engine, as the build job makes them, without a platform."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from support.docker_engine import DockerEngine, cache_dir
from tidegate.adapters.docker.build import DockerCli
from tidegate.adapters.images import context as image_context
from tidegate.adapters.images.wheelhouse import Wheelhouse, WheelTarget, lay_out
from tidegate.core.images.contents import ImageContents, default_tag, dockerfile
from tidegate.version import __version__
from tidegate.wire.replicas.manifest import Manifest

PLAIN_MODEL = """\
import numpy as np


class Model:
    example = [1.0, 2.0]

    def predict(self, inputs):
        return np.asarray(inputs).sum(axis=1)
"""
"""Needs NumPy and nothing else, so that its image is made soon."""


def plain_model(folder: Path) -> Path:
    """A folder with a plain Python class."""
    folder.mkdir()
    (folder / "model.py").write_text(PLAIN_MODEL)
    (folder / "requirements.txt").write_text("numpy\n")
    return folder


def building_on(engine: DockerEngine) -> dict[str, str]:
    """The environment of a platform that builds on this engine; wheels are kept between runs."""
    wheels_dir = cache_dir() / "wheels"
    return {
        "DOCKER_HOST": engine.host,
        "TIDEGATE_IMAGE_BASE": engine.base,
        "TIDEGATE_WHEELS_DIR": str(wheels_dir),
    }


def build_image(engine: DockerEngine, manifest: Manifest, package_dir: Path, scratch: Path) -> str:
    """The name of an image of this model, labelled as `tidegate build` labels it."""
    context = scratch / "context"
    context.mkdir(parents=True)
    image_context.write_model(manifest, package_dir, context)
    image_context.write_program(context)
    pins = image_context.pins_of(manifest, package_dir, None, platform.machine())
    env = {**os.environ, "DOCKER_HOST": engine.host}
    wheels = Wheelhouse(cache_dir() / "wheels", env)
    target = WheelTarget("{}.{}".format(*sys.version_info[:2]), platform.machine(), (2, 99))
    lay_out(wheels.collect(pins, target, lambda _line: None), context / "wheels")
    image_context.write_requirements(pins, context)
    contents = ImageContents(
        manifest.name, manifest.version, manifest.digest, __version__, engine.base, pickle_granted=True
    )
    (context / "Dockerfile").write_text(dockerfile(contents))
    cli, tag = DockerCli(env), default_tag(manifest.name, manifest.version)
    cli.tag(cli.build(context, lambda _line: None).id, tag)  # one that only another is built on would not be listed
    return tag


def derive_image(engine: DockerEngine, image: str, instructions: str) -> str:
    """The id of another image on top of one."""
    argv = ["docker", "--host", engine.host, "build", "--network", "none", "--quiet", "-"]
    text = f"FROM {image}\nUSER 0\n{instructions}\nUSER 10001:10001\n"
    return subprocess.run(argv, input=text, text=True, check=True, capture_output=True, timeout=120).stdout.strip()
