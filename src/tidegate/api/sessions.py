"""How a browser gets in: a code that works once and soon ends, and a session that ends after a day's work.

Codes are kept in memory alone. A session is its end and a random name, signed with a key derived from the token: it
survives a restart, and a new token ends it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading

from tidegate.clock import Clock

CODE_LIVES_S, SESSION_LIVES_S = 300.0, 12 * 3600.0
CODES_MAX = 100
"""Codes that wait for their browser; the oldest go."""


class LoginCodes:
    """One-time codes. Safe from several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[str, float] = {}  # by the code's hash, in the order in which they were made
        self._lock = threading.Lock()

    def make(self) -> str:
        """A code that works once within `CODE_LIVES_S`."""
        code = secrets.token_urlsafe(32)
        with self._lock:
            while len(self._ends) >= CODES_MAX:
                del self._ends[next(iter(self._ends))]
            self._ends[_hashed(code)] = self._clock() + CODE_LIVES_S
        return code

    def take(self, code: str) -> bool:
        """Whether the code was good; it never is again."""
        with self._lock:
            end = self._ends.pop(_hashed(code), None)
        return end is not None and self._clock() < end


class Sessions:
    """Makes and checks the cookie of a browser."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._key = hashlib.sha256(b"tidegate session\0" + token.encode()).digest()
        self._clock = clock

    def make(self) -> str:
        """The cookie's value for a session that begins now, under a name of its own."""
        session = f"{int(self._clock() + SESSION_LIVES_S)}.{secrets.token_hex(4)}"
        return f"{session}.{self._signature(session)}"

    def name_of(self, cookie: str) -> str | None:
        """The session that the cookie is of, such as `browser-1f2e3d4c`; None unless it is ours and has not ended."""
        session, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._signature(session).encode(), signature.encode()):
            return None
        end, _, name = session.partition(".")
        return f"browser-{name}" if name and self._clock() < float(end) else None

    def _signature(self, session: str) -> str:
        return hmac.new(self._key, session.encode(), hashlib.sha256).hexdigest()


def _hashed(code: str) -> str:
    """So that looking a code up takes as long for a nearly right one as for any other."""
    return hashlib.sha256(code.encode()).hexdigest()
