"""How versions reach engines that start replicas elsewhere, made of the settings."""

from __future__ import annotations

from tidegate.core.engines.capabilities import CLOUDRUN, ECS, ENGINES
from tidegate.core.engines.placement import Placement
from tidegate.core.images.contents import PLATFORMS, read_registry
from tidegate.services.images.deliveries import DeliverySettings, Needs, VersionDelivery
from tidegate.services.images.replica_images import ReplicaImages
from tidegate.services.models.catalog import Models
from tidegate.settings import Settings

_PROCESSORS = {"X86_64": "x86_64", "ARM64": "aarch64"}
"""As AWS calls them, and as the kernel does."""


def version_delivery(settings: Settings, models: Models, images: ReplicaImages, control_url: str) -> VersionDelivery:
    """Raises `InvalidArgument` for a registry that is none."""
    delivery = DeliverySettings(
        control_url,
        settings.control_url_inside,
        read_registry(settings.image_registry),
        settings.image_pull_secret or None,
        settings.runtime_image,
    )
    platforms = {ECS: PLATFORMS[_PROCESSORS[settings.ecs_architecture]], CLOUDRUN: PLATFORMS["x86_64"]}

    def needs(where: Placement) -> Needs:
        return Needs(ENGINES[where.backend].fetches, platforms.get(where.backend))

    return VersionDelivery(models, images, delivery, needs)
