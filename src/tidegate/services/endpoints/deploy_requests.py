"""What a request to deploy means: which version it names, what the endpoint follows and runs on. `Endpoints` asks."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.core.endpoints.follow import another_version, known
from tidegate.core.engines.placement import AMOUNTS, Placement, PlacementRequest, requested_after
from tidegate.core.names import check_device, check_name
from tidegate.core.ports import Registry
from tidegate.errors import Conflict, InvalidArgument
from tidegate.services.jobs.queue import check_gate
from tidegate.store.fleet.fleet import placement_request_of
from tidegate.store.tables import EndpointRow, VersionRow
from tidegate.wire import rest


@dataclass(frozen=True)
class NamedVersion:
    """A version as a caller names it; `digest` where the registry said which bytes its number stands for."""

    version: str | None
    digest: str | None = None


def named_version(registry: Registry, model: str, reference: str | None) -> NamedVersion:
    """`@champion` as the version the registry has for it now; anything else as it is."""
    check_name(model, "model")
    if reference and reference.startswith("@"):
        entry = registry.version_of_alias(model, reference[1:])
        return NamedVersion(entry.version, entry.tags.get("tidegate.digest"))
    return NamedVersion(reference)


def check_same_version(row: VersionRow, named: NamedVersion) -> None:
    """Raises `Conflict` where the registry's version holds other bytes than the one that was taken in."""
    if known(row.digest, named.digest) == "other":
        raise Conflict(another_version(row.model, row.version), model=row.model, version=row.version)


def alias_to_follow(request: rest.DeployRequest) -> str | None:
    """The alias to follow, if any. Raises `InvalidArgument`."""
    if request.follow is None:
        return None
    if not (request.version or "").startswith("@"):
        raise InvalidArgument("only an alias can be followed: give the version as '@champion'", field="follow")
    check_gate(request.follow.gate)
    if request.follow.device is not None:
        check_device(request.follow.device)
    return str(request.version)[1:]


def requested_placement(row: EndpointRow | None, request: rest.DeployRequest, default: Placement) -> PlacementRequest:
    """What the endpoint is to run on: what the request says, else as it was. Raises `InvalidArgument`."""
    before = placement_request_of(row) if row else PlacementRequest()
    asked = PlacementRequest(request.backend, **{name: getattr(request, name) for name in AMOUNTS})
    return requested_after(before, asked, default)


def check_same_engine(name: str, checked: Placement, now: Placement) -> None:
    """Raises `Conflict` where another change moved the endpoint to another engine meanwhile."""
    if now.backend != checked.backend:
        raise Conflict(
            f"endpoint {name!r} was moved to {now.backend!r} while this change was on its way: send it again",
            endpoint=name,
        )
