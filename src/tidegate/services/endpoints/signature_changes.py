"""Asks before clients would notice: compares the signatures of versions that get traffic with the live one's.

Called by the use cases of endpoints, inside their transaction.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from tidegate.core.endpoints.compatibility import Changes, compare, listed
from tidegate.errors import SignatureChanged
from tidegate.store.endpoints.automation import effective_of
from tidegate.store.fleet.fleet import load_versions
from tidegate.store.tables import EndpointRow


def check_signatures(tx: Session, row: EndpointRow, traffic: dict[str, float], *, accepted: bool) -> str:
    """What clients of the endpoint will notice of this traffic, for its history; "" where nothing.

    Each version that gets more than it has, and more than it was given before, is compared with the one that has most
    now. Raises `SignatureChanged` where clients would break and that was not `accepted`.
    """
    live = max(row.routed.values(), default=0.0)
    now = [version for version, weight in row.routed.items() if weight == live]
    had = (row.routed, row.traffic, effective_of(row).traffic)
    given = {version: max(weights.get(version, 0.0) for weights in had) for version in traffic}
    growing = [version for version, weight in traffic.items() if weight > given[version]]
    facts = load_versions(tx, {(row.model, version) for version in (*now, *growing)})
    signatures = {version: one.signature for (_, version), one in facts.items()}
    notes = []
    for version in growing:
        # A version that was deleted since has no signature: what its clients send is not known any more.
        for other in (other for other in now if other != version and other in signatures):
            changes = compare(signatures[other], signatures[version])
            if changes.breaking and not accepted:
                raise _refusal(row, version, other, changes)
            notes += [f"{said} (version {version})" for said in (*changes.breaking, *changes.compatible)]
    return listed(list(dict.fromkeys(notes)))


def _refusal(row: EndpointRow, version: str, live: str, changes: Changes) -> SignatureChanged:
    return SignatureChanged(
        f"clients of endpoint {row.name!r} would notice: version {version} of {row.model!r} is not used as version "
        f"{live} is, which is live: {listed(changes.breaking)}. Deploy it under another endpoint name, or, once its "
        "clients are ready for it, with --accept-signature-change (REST: accept_signature_change)",
        endpoint=row.name,
        version=version,
        live=live,
        changes=list(changes.breaking),
        told=list(changes.compatible),
    )
