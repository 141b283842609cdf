"""Refuses to remove what endpoints use. Called in the transaction that removes it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from tidegate.errors import InUse
from tidegate.store.endpoints.automation import versions_used
from tidegate.store.models import models as rows


def check_unused(tx: Session, model: str, number: str) -> None:
    """Raises `InUse` while an endpoint routes, is to route, would go back to, or still runs this version."""
    users = rows.replica_endpoints(tx, model, number)
    for endpoint in rows.endpoints_of_model(tx, model):
        if number in versions_used(endpoint):
            users.add(endpoint.name)
    if users:
        named = ", ".join(sorted(users))
        raise InUse(
            f"version {number} of model {model!r} is in use by endpoint {named}: move its traffic away and wait "
            f"for its replicas to end, or delete the endpoint ('tidegate delete {sorted(users)[0]}')",
            endpoints=sorted(users),
        )


def check_no_endpoint(tx: Session, model: str) -> None:
    """Raises `InUse` while an endpoint serves this model."""
    users = [endpoint.name for endpoint in rows.endpoints_of_model(tx, model)]
    if users:
        raise InUse(
            f"model {model!r} is in use by endpoint {', '.join(users)}: delete that first "
            f"('tidegate delete {users[0]}')",
            endpoints=users,
        )
