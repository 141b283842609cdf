"""The pages that every page names at its top, and those of an endpoint."""

from __future__ import annotations

NAV = (("Overview", "/"), ("Deploy", "/deploy"), ("Models", "/models"), ("Jobs", "/jobs"), ("Alerts", "/alerts"))
"""Words and paths, in their order."""
TABS = (
    ("Endpoint", ""),
    ("Monitoring", "/monitoring"),
    ("Experiments", "/experiments"),
    ("Canary", "/canary"),
    ("Shadow", "/shadow"),
)
"""Words and the ends of paths of what there is of an endpoint."""
