"""What a version's image is made of: names that are allowed, labels, and the Dockerfile. Pure: facts in, text out."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tidegate.core.images.delivery import MODEL_DIR
from tidegate.errors import InvalidArgument
from tidegate.version import __version__
from tidegate.wire.replicas.manifest import Manifest

USER_ID = 10001
HTTP_PORT, GRPC_PORT = 8000, 8001
PLATFORMS = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}
"""Of images, by the processor as the kernel names it."""
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::\d+)?/)?{_PART}(?:/{_PART})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_REFERENCE = re.compile(rf"(?P<name>{_REPOSITORY})(?::(?P<tag>{_TAG}))?(?P<digest>@sha256:[0-9a-f]{{64}})?")
_IMAGE_ID = re.compile(r"(sha256:)?[0-9a-f]{12,64}")
REFERENCE_CHARS_MAX = 400


def default_tag(model: str, version: str) -> str:
    """What an image is called when nobody says."""
    return f"tidegate/{model}:{version}"


def pushed_tag(registry: str, model: str, version: str) -> str:
    """What an image is called that goes to the platform's registry.

    >>> pushed_tag("registry.example.com/team", "churn", "3")
    'registry.example.com/team/churn:3'
    """
    return f"{registry}/{model}:{version}"


def check_platform(platform: str) -> str:
    """`platform` if images are built for it, else `InvalidArgument`."""
    if platform not in PLATFORMS.values():
        raise InvalidArgument(
            f"platform {platform[:40]!r} is none of {', '.join(PLATFORMS.values())}", field="platform"
        )
    return platform


def read_registry(setting: str | None) -> str | None:
    """TIDEGATE_IMAGE_REGISTRY as names of images begin with it. Raises `InvalidArgument` for what names none."""
    registry = (setting or "").rstrip("/") or None
    if registry is not None and not is_registry(registry):
        raise InvalidArgument(
            f"TIDEGATE_IMAGE_REGISTRY={registry[:100]!r} names no registry: give for example registry.example.com/team",
            field="TIDEGATE_IMAGE_REGISTRY",
        )
    return registry


def default_base(python: str) -> str:
    """The official image of this Python (`3.11`)."""
    return f"python:{python}-slim"


def check_tag(tag: str) -> str:
    """`tag` if an image can be called so, else `InvalidArgument`. Without a part after the colon it is `latest`'s."""
    found = _REFERENCE.fullmatch(tag) if len(tag) <= REFERENCE_CHARS_MAX else None
    if found is None or found["digest"]:
        raise InvalidArgument(
            f"tag {tag[:100]!r} is no name for an image: give [REGISTRY/]NAME[:TAG] in lower case, for example "
            "'registry.example.com/team/churn:3'",
            field="tag",
        )
    return tag if found["tag"] else f"{tag}:latest"


def check_base(base: str) -> str:
    """`base` if it names an image (`python:3.11-slim`, with a digest, or an id), else `InvalidArgument`."""
    named = len(base) <= REFERENCE_CHARS_MAX and (_REFERENCE.fullmatch(base) or _IMAGE_ID.fullmatch(base))
    if not named:
        raise InvalidArgument(
            f"base {base[:100]!r} names no image: give [REGISTRY/]NAME[:TAG], for example 'python:3.11-slim'",
            field="base",
        )
    return base


def check_image(image: str) -> str:
    """`image` if a registry's image can be called so, by a tag or a digest, else `InvalidArgument`."""
    if len(image) > REFERENCE_CHARS_MAX or not _REFERENCE.fullmatch(image):
        raise InvalidArgument(
            f"image {image[:100]!r} is no name of one: give [REGISTRY/]NAME[:TAG] or NAME@sha256:DIGEST, for example "
            "'registry.example.com/team/churn:3'",
            field="image",
        )
    return image


def named_by_digest(tag: str, digest: str | None) -> str | None:
    """The image that a registry has under a digest, which no later push changes; None where that is not known.

    >>> named_by_digest("registry.example.com:5000/team/churn:3", "sha256:ab")
    'registry.example.com:5000/team/churn@sha256:ab'
    """
    name, _, part = tag.rpartition(":")
    return None if digest is None else f"{name if name and '/' not in part else tag}@{digest}"


def is_registry(prefix: str) -> bool:
    """Whether images can be named below it: `registry.example.com/team`, or a host alone."""
    tag = f"{prefix}/a:1"
    return len(tag) <= REFERENCE_CHARS_MAX and _REFERENCE.fullmatch(tag) is not None and registry_of(tag) is not None


def registry_of(tag: str) -> str | None:
    """The registry that a tag names; None for the engine's default one."""
    first, slash, _ = tag.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else None


@dataclass(frozen=True)
class ImageContents:
    """What an image says of itself."""

    model: str
    version: str
    digest: str
    tidegate: str
    base: str
    label: str | None = None
    run_id: str | None = None
    form: str | None = None
    pickle_granted: bool = False


def labels_of(manifest: Manifest) -> dict[str, str]:
    """Those by which an image of this very version, in the form it is served in, is known, for this release."""
    return {
        "io.tidegate.model": manifest.name,
        "io.tidegate.version": manifest.version,
        "io.tidegate.digest": manifest.digest,
        "io.tidegate.form": (manifest.accelerated.form if manifest.accelerated else None) or "original",
        "io.tidegate.release": __version__,
    }


def labels(contents: ImageContents) -> dict[str, str]:
    """OCI's names where there is one, else our own."""
    own = {
        "org.opencontainers.image.title": contents.model,
        "org.opencontainers.image.version": contents.label or contents.version,
        "org.opencontainers.image.base.name": contents.base,
        "io.tidegate.model": contents.model,
        "io.tidegate.version": contents.version,
        "io.tidegate.digest": contents.digest,
        "io.tidegate.form": contents.form or "original",
        "io.tidegate.pickle-granted": json.dumps(contents.pickle_granted),
        "io.tidegate.release": contents.tidegate,
    }
    return own | ({"io.tidegate.run-id": contents.run_id} if contents.run_id else {})


def dockerfile(contents: ImageContents) -> str:
    """The Dockerfile beside the folders `wheels`, `program` and `model` and the file `requirements.txt`.

    From what changes least to what changes most. Wheels are unpacked in a stage of their own, so that no layer of the
    image holds them. Nothing in it needs BuildKit, and no step needs a network.
    """
    said = " \\\n      ".join(f"{key}={_quoted(value)}" for key, value in sorted(labels(contents).items()))
    return _DOCKERFILE.format(
        model=contents.model,
        version=contents.version,
        tidegate=contents.tidegate,
        base=contents.base,
        user=USER_ID,
        http=HTTP_PORT,
        grpc=GRPC_PORT,
        model_dir=MODEL_DIR,
        labels=said,
    )


def _quoted(value: str) -> str:
    """As a Dockerfile takes it: one line, and nothing in it is a variable."""
    line = " ".join(value.split())
    return '"' + line.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'


_DOCKERFILE = """\
# {model}:{version}, written by 'tidegate build' of Tidegate {tidegate}.
# Layers go from what changes least to what changes most: another version of the model changes the last one alone.
ARG BASE={base}

# Python libraries, from wheels that were collected before: no step needs a network.
FROM ${{BASE}} AS libraries
USER 0
COPY wheels/ /wheels/
COPY requirements.txt /wheels/
RUN python3 -m venv --without-pip /opt/tidegate \\
 && PYTHONPATH=$(echo /wheels/pip-*.whl) /opt/tidegate/bin/python -m pip install --quiet --no-index --no-deps \\
    --find-links /wheels --no-cache-dir --root-user-action ignore -r /wheels/requirements.txt

# Tidegate's replica, compiled: the image may run with a read-only file system.
FROM ${{BASE}} AS program
USER 0
COPY program/ /opt/tidegate-program/
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/tidegate-program

FROM ${{BASE}}
COPY --from=libraries /opt/tidegate /opt/tidegate
COPY --from=program /opt/tidegate-program /opt/tidegate-program
ENV PYTHONPATH=/opt/tidegate-program PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp
USER {user}:{user}
WORKDIR /
EXPOSE {http} {grpc}
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \\
  CMD ["/opt/tidegate/bin/python", "-m", "tidegate.server.health"]
# All addresses: without TIDEGATE_API_KEY (or TIDEGATE_AUTH=none) it refuses to start.
ENTRYPOINT ["/opt/tidegate/bin/python", "-m", "tidegate.server", \\
            "--manifest", "{model_dir}/manifest.json", "--host", "0.0.0.0"]
COPY model/ {model_dir}/
LABEL {labels}
"""
