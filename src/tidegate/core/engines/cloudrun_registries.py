"""Which registries Google Cloud Run pulls images from. Pure; used by its engine and by exported manifests."""

from __future__ import annotations

from tidegate.core.images.contents import registry_of

HOSTS = ("gcr.io", "docker.io")
"""Themselves, and what is below them: eu.gcr.io, registry-1.docker.io."""
ARTIFACT_REGISTRY = "-docker.pkg.dev"
"""After the location: europe-west1-docker.pkg.dev."""


def pulled(image: str) -> bool:
    """Whether Cloud Run takes an image from where it is: Artifact Registry, Google's older registry, Docker Hub.

    >>> pulled("europe-west1-docker.pkg.dev/p/models/churn:1"), pulled("eu.gcr.io/p/churn:1"), pulled("team/churn:1")
    (True, True, True)
    >>> pulled("foogcr.io/p/churn:1"), pulled("registry.example.com/churn:1")
    (False, False)
    """
    registry = registry_of(image)
    if registry is None:  # of Docker Hub
        return True
    below = any(registry == host or registry.endswith(f".{host}") for host in HOSTS)
    return below or registry.endswith(ARTIFACT_REGISTRY)
