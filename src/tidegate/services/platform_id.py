"""What engines elsewhere know a platform by: the same for all control planes of a database. Called by wiring."""

from __future__ import annotations

import secrets

from tidegate.store import leases as rows
from tidegate.store.database.engine import Store

ID_BYTES = 4


def platform_id(store: Store) -> str:
    """Eight hexadecimal digits, made when they are first asked for."""
    with store.transaction() as tx:
        lease = rows.ensure(tx)
        if not lease.platform:
            lease.platform = secrets.token_hex(ID_BYTES)
        return lease.platform
