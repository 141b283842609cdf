"""The audit, read page after page. Called by `Platform`."""

from __future__ import annotations

from tidegate.client.rest.api import Api
from tidegate.client.rest.paths import API
from tidegate.wire.audit import AuditEntry, AuditPage

PAGE = 1000


def read_audit(api: Api, since_s: float | None, endpoint: str | None, limit: int) -> list[AuditEntry]:
    """Up to `limit` entries, newest first."""
    found: list[AuditEntry] = []
    before: int | None = None
    while len(found) < limit:
        wanted = {"since_s": since_s, "endpoint": endpoint, "before": before, "limit": min(PAGE, limit - len(found))}
        page = api.get(f"{API}/audit", AuditPage, wanted)
        found += page.entries
        before = page.next
        if before is None:
            break
    return found
