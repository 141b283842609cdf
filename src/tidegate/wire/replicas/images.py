"""The REST shapes of images of versions: asked for, built, and what they are built with. `wire.rest` names them too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tidegate.wire.exact import STRICT, Flag


@dataclass(frozen=True)
class BuildRequest:
    """Make an image of a version, named `tag` (else as the platform's settings say), on `base`, for `platform`."""

    __pydantic_config__ = STRICT

    tag: str | None = None
    base: str | None = None
    push: Flag = False
    platform: str | None = None


@dataclass(frozen=True)
class Image:
    """The image that was built last of a version. `sbom` is its bill of materials (CycloneDX JSON).

    `layers` are those of its file system, the base's first; `form` is the faster form in it, None for the original.
    `pushed_as` is its name with the digest that the registry gave it, where that is known; `platform` what it runs on.
    """

    model: str
    version: str
    digest: str
    image: str
    id: str
    base: str
    size_bytes: int
    layers: list[str]
    pickle_granted: bool
    pushed: bool
    built_at: float
    form: str | None = None
    dockerfile: str = ""
    sbom: dict[str, Any] = field(default_factory=dict)
    pushed_as: str | None = None
    platform: str | None = None


@dataclass(frozen=True)
class Dockerfile:
    """What an image of a version would be built with."""

    model: str
    version: str
    base: str
    dockerfile: str
