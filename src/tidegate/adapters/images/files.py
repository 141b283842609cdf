"""What is kept of each version's last image: its description, Dockerfile and bill of materials, as files."""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path

import msgspec

from tidegate.adapters.artifacts.store import ManifestFiles
from tidegate.errors import UnknownImage
from tidegate.wire import rest
from tidegate.wire.decoding import decode_json

IMAGE, DOCKERFILE, SBOM = "image.json", "Dockerfile", "sbom.cdx.json"


class ImageFiles:
    """`versions/NAME/VERSION.image/`, replaced as a whole."""

    def __init__(self, manifests: ManifestFiles) -> None:
        self._manifests = manifests
        self._writing = threading.Lock()

    def write(self, image: rest.Image) -> None:
        """Raises `OSError` (a full disk), and leaves what was there."""
        with self._writing:
            self._replace(self._manifests.image_dir(image.model, image.version), image)

    def _replace(self, final: Path, image: rest.Image) -> None:
        staged = final.with_name(f".part-{final.name}")
        shutil.rmtree(staged, ignore_errors=True)
        try:
            staged.mkdir(mode=0o700, parents=True)
            for name, content in self._contents(image):
                (staged / name).write_bytes(content)
            shutil.rmtree(final, ignore_errors=True)
            staged.rename(final)
        except OSError:
            shutil.rmtree(staged, ignore_errors=True)
            raise

    def _contents(self, image: rest.Image) -> list[tuple[str, bytes]]:
        described = msgspec.json.format(msgspec.json.encode(image), indent=2)
        sbom = msgspec.json.format(msgspec.json.encode(image.sbom), indent=2)
        return [(DOCKERFILE, image.dockerfile.encode()), (SBOM, sbom), (IMAGE, described)]

    def read(self, model: str, version: str) -> rest.Image:
        """What is kept of a version's image. Raises `UnknownImage`."""
        with contextlib.suppress(OSError, msgspec.DecodeError):
            content = (self._manifests.image_dir(model, version) / IMAGE).read_bytes()
            return decode_json(content, rest.Image)
        raise UnknownImage(
            f"no image of {model}:{version} was built: 'tidegate build {model}:{version}' makes one", model=model
        )
