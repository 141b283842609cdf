"""`client.platform`: the platform at a glance, and how a browser gets in."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.client.resources.audit import read_audit
from tidegate.client.rest.api import Api
from tidegate.client.rest.paths import API
from tidegate.wire.audit import AuditEntry
from tidegate.wire.rest import LoginCode, Status


@dataclass(frozen=True)
class PlatformClient:
    """What is of no one model or endpoint."""

    api: Api

    def status(self) -> Status:
        """The platform at a glance."""
        return self.api.get(f"{API}/status", Status)

    def audit(self, since_s: float | None = None, endpoint: str | None = None, limit: int = 1000) -> list[AuditEntry]:
        """Who changed what, newest first: of the last `since_s` seconds, and of one endpoint, where given."""
        return read_audit(self.api, since_s, endpoint, limit)

    def login_code(self) -> LoginCode:
        """A code with which one browser logs in once within five minutes."""
        return self.api.send("POST", f"{API}/login-codes", None, LoginCode)

    def end_session(self) -> str:
        """End the session of the browser on whose behalf this is; the cookie that says so, as a header has it."""
        return self.api.raw("DELETE", f"{API}/session", b"").headers["set-cookie"]
