"""What the Open Inference Protocol tells of servers and models, over HTTP and gRPC."""

from __future__ import annotations

from typing import Any

from tidegate.dataplane.calls.call import Destination
from tidegate.dataplane.calls.directory import Service
from tidegate.errors import NoReadyReplica

EXTENSIONS = ["binary_tensor_data", "tidegate_missing"]


def destination_of(service: Service, version: str | None) -> Destination:
    """The version asked about, else the one with the most traffic; raises `UnknownVersion` or `NoReadyReplica`."""
    if version is not None:
        return service.pinned(version)
    destinations = service.destinations()
    if not destinations:
        raise NoReadyReplica(f"no version of {service.name!r} is running", retry_after_s=1.0)
    return destinations[0]


def by_version(service: Service) -> list[Destination]:
    """A variant of each running version, the one with the most traffic first: in an experiment a version may be two."""
    found: dict[str, Destination] = {}
    for one in service.destinations():
        found.setdefault(one.identity.version, one)
    return list(found.values())


def metadata(service: Service, destination: Destination) -> dict[str, Any]:
    """A V2 model's metadata."""
    signature = destination.signature
    return {
        "name": service.name,
        "versions": [one.identity.version for one in by_version(service)],
        "platform": "tidegate",
        "inputs": [{"name": s.name, "datatype": s.datatype, "shape": list(s.shape)} for s in signature.inputs],
        "outputs": [{"name": s.name, "datatype": s.datatype, "shape": list(s.shape)} for s in signature.outputs],
    }
