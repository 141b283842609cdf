"""The bill of materials of a version's image, as CycloneDX 1.5 JSON. Pure, and the same for the same contents."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.core.images.contents import ImageContents, registry_of

NAMESPACE = uuid.UUID("7b1e4d5a-6d0a-4c39-9f9c-4a3f6a2a52c1")


@dataclass(frozen=True)
class Library:
    """A Python distribution in the image, by the wheel it came in."""

    name: str
    version: str
    sha256: str
    licence: str | None = None


def bill_of_materials(contents: ImageContents, base_id: str, libraries: Sequence[Library]) -> dict[str, Any]:
    """The model, Tidegate, each library with the digest of its wheel, and the base image (not what is in it)."""
    ordered = sorted(libraries, key=lambda library: library.name)
    components = [_base(contents, base_id), _tidegate(contents), *map(_library, ordered)]
    seed = "\n".join([contents.digest, base_id, *(library.sha256 for library in ordered)])
    model = {
        "bom-ref": "model",
        "type": "machine-learning-model",
        "name": contents.model,
        "version": contents.version,
        "hashes": [{"alg": "SHA-256", "content": contents.digest}],
    }
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, seed)}",
        "version": 1,
        "metadata": {"component": model, "tools": {"components": [_tidegate(contents, ref=None)]}},
        "components": components,
        "dependencies": [{"ref": "model", "dependsOn": [component["bom-ref"] for component in components]}],
    }


def _base(contents: ImageContents, base_id: str) -> dict[str, Any]:
    component = {"bom-ref": "base", "type": "container", "name": contents.base, "version": base_id}
    return component | ({"publisher": registry} if (registry := registry_of(contents.base)) else {})


def _tidegate(contents: ImageContents, ref: str | None = "tidegate") -> dict[str, Any]:
    named = {"type": "application", "name": "tidegate", "version": contents.tidegate}
    return ({"bom-ref": ref} if ref else {}) | named


def _library(library: Library) -> dict[str, Any]:
    purl = f"pkg:pypi/{library.name}@{library.version}".replace("+", "%2B")
    licences = {"licenses": [{"license": {"name": library.licence}}]} if library.licence else {}
    return {
        "bom-ref": purl,
        "type": "library",
        "name": library.name,
        "version": library.version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": library.sha256}],
        **licences,
    }
