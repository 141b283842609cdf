"""What runs of an endpoint where no platform is: one version, its image, its limits and how it scales.

Made from a document (`core.declared`), and from what a platform knows beside it; a file alone knows nothing beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from tidegate.core.images.contents import default_tag, pushed_tag, read_registry, registry_of
from tidegate.core.images.pull_secret import of_aws, of_kubernetes, read_pull_secret
from tidegate.core.scaling.policy import ScalingDefaults, target_of
from tidegate.errors import InvalidArgument
from tidegate.settings import Settings

AUTOSCALERS = ("engine", "none")
KUBERNETES, ECS, CLOUDRUN = "kubernetes", "ecs", "cloudrun"
SCALED_BY = {
    KUBERNETES: "a HorizontalPodAutoscaler",
    ECS: "Application Auto Scaling",
    CLOUDRUN: "Cloud Run, which goes by requests at once and CPU as it sees fit,",
}
"""The formats, and who counts replicas there."""
FORMS = tuple(SCALED_BY)
_PULLED_WITH: Mapping[str, Callable[[str | None], str | None]] = MappingProxyType(
    {KUBERNETES: of_kubernetes, ECS: of_aws, CLOUDRUN: lambda _secret: None}
)
PLATFORM_ONLY = ("serving", "capture", "monitor", "alerts", "experiment", "canary", "shadow")
"""Sections of a document that a gateway or the control plane carries out."""


@dataclass(frozen=True)
class ExportSettings:
    """What settings say: where images are, the name of the secret to pull them with, and how replicas scale."""

    registry: str | None = None
    pull_secret: str | None = None
    scaling: ScalingDefaults = ScalingDefaults()
    places: Settings = Settings()
    """What clouds are told of themselves: cluster, subnets, roles, service account."""

    @classmethod
    def of(cls, settings: Settings) -> ExportSettings:
        """Raises `InvalidArgument` for what names no registry, or no Secret."""
        registry, secret = read_registry(settings.image_registry), read_pull_secret(settings.image_pull_secret)
        percent = float(settings.target_cpu_utilization)
        scaling = ScalingDefaults(settings.min_replicas, settings.max_replicas, percent, settings.replicas_limit)
        return cls(registry, secret, scaling, settings)


@dataclass(frozen=True)
class KnownImage:
    """An image that was built. `pushed` is its name with the registry's digest, where it was seen to be pushed."""

    name: str
    pushed: str | None = None


@dataclass(frozen=True)
class Known:
    """What a platform knows of a version beside the document: the digest of its files, its image, and whether it asks
    for a GPU.
    """

    digest: str | None = None
    image: KnownImage | None = None
    gpu: bool = False


@dataclass(frozen=True)
class ServedScale:
    """How many: from `low` to `high` by percent of the CPU that was requested; `high` None: always `low`."""

    low: int
    high: int | None = None
    cpu_percent: int = 70


@dataclass(frozen=True)
class Served:
    """One version of an endpoint, as an engine is to run it. `warnings` say what whoever applies it should know."""

    endpoint: str
    model: str
    version: str
    image: str
    scale: ServedScale
    cpus: float | None = None
    memory_bytes: int | None = None
    digest: str | None = None
    pull_secret: str | None = None
    gpu: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServedRequest:
    """What is asked of an export: a version other than the document's, and who scales."""

    version: str | None = None
    autoscaler: str = "engine"

    def __post_init__(self) -> None:
        if self.autoscaler not in AUTOSCALERS:
            raise InvalidArgument(
                f"autoscaler {self.autoscaler[:40]!r} is none of {', '.join(AUTOSCALERS)}", field="autoscaler"
            )


def check_form(form: str) -> None:
    """Raises `InvalidArgument` for a format that is not there."""
    if form not in FORMS:
        raise InvalidArgument(
            f"there is no format {form[:40]!r}: give tidegate or one of {', '.join(FORMS)}", field="format"
        )


def version_to_serve(document: Mapping[str, Any], request: ServedRequest) -> str:
    """The one version that is meant, as it is named. Raises `InvalidArgument` where several have traffic."""
    traffic = {version: weight for version, weight in document.get("traffic", {}).items() if weight > 0}
    named = request.version or document.get("version") or document.get("follow")
    if named is None and len(traffic) > 1:
        split = " ".join(f"{version}={weight:g}" for version, weight in traffic.items())
        raise InvalidArgument(
            f"endpoint {document['endpoint']!r} splits its traffic ({split}), and a manifest runs one version: say "
            "with --version which; to split traffic takes the platform's gateway",
            field="version",
        )
    if named is None and not traffic:
        raise InvalidArgument(
            f"endpoint {document['endpoint']!r} has no version here: give --version, or 'version' in the document",
            field="version",
        )
    return str(named or next(iter(traffic)))


def number_of(named: str) -> str:
    """A version that is named by its number, which is all that can be known without a platform."""
    if not named.isdigit():
        raise InvalidArgument(
            f"version {named[:80]!r} is known to the platform alone: give its number with --version, or export the "
            "endpoint from the platform ('tidegate export NAME --format kubernetes')",
            field="version",
        )
    return named


def served_of(
    document: Mapping[str, Any], version: tuple[str, Known], request: ServedRequest, settings: ExportSettings, form: str
) -> Served:
    """What runs of a document that `read_endpoint` read: of one version, by its number, and what is known of it.

    Raises `InvalidArgument`.
    """
    number, known = version
    placement = document.get("placement", {})
    served = Served(
        document["endpoint"],
        document["model"],
        number,
        image="",
        scale=ServedScale(1),
        cpus=placement.get("cpus"),
        memory_bytes=placement.get("memory_bytes"),
        digest=known.digest,
        pull_secret=_PULLED_WITH[form](settings.pull_secret),
        gpu=known.gpu,
    )
    served = _with_image(served, known.image, settings.registry)
    served = _with_scale(served, document, request, settings.scaling, form)
    if served.pull_secret is None and settings.pull_secret is not None and form != CLOUDRUN:
        kind = "the ARN of a secret of Secrets Manager" if form == ECS else "the name of a Secret in the cluster"
        served = _warned(served, f"it names no secret to pull its image with: TIDEGATE_IMAGE_PULL_SECRET is not {kind}")
    if known.gpu:
        served = _warned(served, "it asks for a GPU: its image takes a base that has CUDA's libraries (--base)")
    left_out = [name for name in PLATFORM_ONLY if document.get(name)]
    if not left_out:
        return served
    return _warned(served, f"not in it, as only a platform does that: {', '.join(left_out)}")


def _warned(served: Served, *warnings: str) -> Served:
    return replace(served, warnings=(*served.warnings, *warnings))


def _with_image(served: Served, image: KnownImage | None, registry: str | None) -> Served:
    """By the registry's digest where one is known, else by its name, with a warning."""
    if image is not None and image.pushed is not None:
        return replace(served, image=image.pushed)
    usual = default_tag(served.model, served.version)
    name = image.name if image is not None else usual
    tagged = f" --tag {name}" if registry_of(name) is not None else f" --tag REGISTRY/{name}"
    if registry is not None and name == usual:
        name, tagged = pushed_tag(registry, served.model, served.version), ""
    elif registry is not None and registry_of(name) is None:
        name, tagged = f"{registry}/{name}", f" --tag {registry}/{name}"
    return _warned(
        replace(served, image=name),
        f"the image {name} is not known to have been pushed, and is named by its tag: 'tidegate build "
        f"{served.model}:{served.version}{tagged} --push' makes it, and an export after that names it by its digest",
    )


def _with_scale(
    served: Served, document: Mapping[str, Any], request: ServedRequest, defaults: ScalingDefaults, form: str
) -> Served:
    scaling = document.get("scaling")
    low = scaling["min"] if scaling else document.get("replicas", 1)
    if form != CLOUDRUN:
        low = max(1, low)
    if scaling and low > scaling["min"]:
        served = _warned(served, "it never sleeps here: to wake it takes the platform's gateway, so 1 replica stays")
    if request.autoscaler == "none":
        return replace(served, scale=ServedScale(low))
    percent = round(defaults.cpu_percent)
    if scaling:
        metric, target = target_of(scaling["target"])
        if metric == "cpu" and form != CLOUDRUN:
            percent = max(1, round(target))
        else:
            served = _warned(
                served,
                f"its target is {scaling['target']}, which {SCALED_BY[form]} cannot be told"
                if form == CLOUDRUN
                else f"its target is {scaling['target']}, which {SCALED_BY[form]} cannot measure by itself: here it "
                f"scales by cpu={percent}",
            )
        return replace(served, scale=ServedScale(low, max(low, scaling["max"]), percent))
    return replace(served, scale=ServedScale(low, max(low, defaults.max_replicas), percent))
