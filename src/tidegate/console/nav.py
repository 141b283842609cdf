"""The pages that every page names at its top."""

from __future__ import annotations

NAV = (("Overview", "/"), ("Deploy", "/deploy"), ("Models", "/models"), ("Jobs", "/jobs"), ("Alerts", "/alerts"))
"""Words and paths, in their order."""
