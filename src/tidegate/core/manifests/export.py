"""Documents as manifests, whether a platform is asked about their versions or nobody is. Pure.

Called by `services.declared` with what the platform knows, and by `tidegate export -f FILE` without a platform.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegate.core.declared.endpoint import read_endpoint
from tidegate.core.engines.cloudrun_registries import pulled
from tidegate.core.images.contents import check_image
from tidegate.core.manifests.cloudrun import cloudrun_service
from tidegate.core.manifests.ecs import ecs_requests
from tidegate.core.manifests.kubernetes import kubernetes_objects
from tidegate.core.manifests.served import (
    CLOUDRUN,
    ECS,
    ExportSettings,
    Known,
    KnownImage,
    Served,
    ServedRequest,
    check_form,
    number_of,
    served_of,
    version_to_serve,
)
from tidegate.errors import InvalidArgument
from tidegate.wire.endpoints.declared import ExportAnswer

Lookup = Callable[[str, str], tuple[str, Known]]
"""Of a model, and a version as it is named: its number, and what is known of it."""


def known_by_name(_model: str, version: str) -> tuple[str, Known]:
    """What is known without a platform. Raises `InvalidArgument` for a label or an alias."""
    return number_of(version), Known()


def known_by_image(image: str) -> Lookup:
    """What is known of a version without a platform, where its image is named. Raises `InvalidArgument`."""
    known = Known(image=KnownImage(check_image(image), image if "@sha256:" in image else None))
    return lambda _model, version: (number_of(version), known)


def manifests_of(
    documents: Sequence[Mapping[str, Any]],
    form: str,
    request: ServedRequest,
    settings: ExportSettings,
    lookup: Lookup = known_by_name,
) -> ExportAnswer:
    """The objects of all endpoints, and what whoever applies them should know.

    Raises `InvalidArgument`, and what `lookup` raises.
    """
    check_form(form)
    if request.version is not None and len(documents) != 1:
        raise InvalidArgument(
            f"--version is of one endpoint, and there are {len(documents)}: name the one that is meant", field="version"
        )
    answer = ExportAnswer([])
    for document in documents:
        read = read_endpoint(document)
        named = version_to_serve(read, request)
        version, known = lookup(model_of(read), named)
        served = served_of(read, (version, known), request, settings, form)
        answer.documents.extend(_objects(served, form, settings))
        if form == CLOUDRUN and not pulled(served.image):
            answer.warnings.append(
                f"{served.endpoint}: Cloud Run pulls images from Artifact Registry and Docker Hub alone, and "
                f"{served.image} is elsewhere: push it to REGION-docker.pkg.dev/PROJECT/REPOSITORY "
                "(TIDEGATE_IMAGE_REGISTRY)"
            )
        answer.warnings.extend(f"{served.endpoint}: {warning}" for warning in served.warnings)
    return answer


def _objects(served: Served, form: str, settings: ExportSettings) -> list[dict[str, Any]]:
    """Of one endpoint. Raises `InvalidArgument`."""
    if form == ECS:
        return ecs_requests(served, settings.places)
    if form == CLOUDRUN:
        return [cloudrun_service(served, settings.places)]
    return kubernetes_objects(served)


def model_of(document: Mapping[str, Any]) -> str:
    """The model of a document that was read. Raises `InvalidArgument`."""
    if not document.get("model"):
        raise InvalidArgument(
            f"endpoint {document['endpoint']!r}: say with 'model' what it serves: its image is named after it",
            field="model",
        )
    return str(document["model"])
