"""Replicas that work, and are replaced all the same: they have another form or place than they should. Pure.

Called by `plan`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidegate.core.engines.placement import Placement
from tidegate.core.reconcile.fleet import EndpointFacts, Replaced, Replica


def why_outdated(replica: Replica, endpoint: EndpointFacts) -> str:
    """How it differs from what its version is served as now, or from where it should run; empty where it does not."""
    form = endpoint.forms.get(replica.version, replica.form)
    if replica.form is not None and replica.form != form:
        return f"served as {_form(replica.form)} so far, as {_form(form or '')} from now on"
    if replica.placement != endpoint.placement:
        return f"from {_place(replica.placement)} to {_place(endpoint.placement)}"
    return ""


def replacements(replicas: Sequence[Replica], endpoint: EndpointFacts, starts: Iterable[str]) -> tuple[Replaced, ...]:
    """Versions whose replacement begins: the first of the new kind is among these `starts`."""
    found = []
    for version in dict.fromkeys(starts):
        live = [replica for replica in replicas if replica.version == version and replica.live]
        reasons = [why_outdated(replica, endpoint) for replica in live]
        if live and all(reasons):
            found.append(Replaced(version, len(live), reasons[0]))
    return tuple(found)


def _form(form: str) -> str:
    return form or "the original"


def _place(place: Placement) -> str:
    limits = [
        f"{place.cpus:g} CPUs" if place.cpus else "",
        f"{place.memory_bytes} bytes" if place.memory_bytes else "",
        f"{place.cpu_request:g} CPUs kept free" if place.cpu_request else "",
        f"{place.memory_request_bytes} bytes kept free" if place.memory_request_bytes else "",
    ]
    given = " and ".join(filter(None, limits))
    return f"{place.backend} with {given}" if given else place.backend
