"""How a browser gets in: a code that works once and soon ends, and a session that ends after a day's work, or unused.

Codes are kept in memory alone. A session is its end, a random name and when it was used, signed with a key derived from
the token: it survives a restart, and a new token ends it. Sessions that were ended early are kept in memory too.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading

from tidegate.clock import Clock

COOKIE = "tidegate_session"
CODE_LIVES_S, SESSION_LIVES_S, IDLE_S = 300.0, 12 * 3600.0, 2 * 3600.0
RENEW_S = 60.0
"""When a session was used is written anew no more often than this."""
CODES_MAX = 100
"""Codes that wait for their browser; the oldest go."""
ENDED_MAX = 10_000
"""Sessions that were ended before their time; the oldest are forgotten."""


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
    """Makes and checks the cookie of a browser. Safe from several threads."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._key = hashlib.sha256(b"tidegate session\0" + token.encode()).digest()
        self._clock = clock
        self._ended: dict[str, None] = {}  # their names, in the order in which they were ended
        self._lock = threading.Lock()

    def make(self) -> str:
        """The cookie's value for a session that begins now, under a name of its own."""
        return self._signed(int(self._clock() + SESSION_LIVES_S), secrets.token_hex(4))

    def name_of(self, cookie: str) -> str | None:
        """The session that the cookie is of, such as `browser-1f2e3d4c`; None unless it is ours and has not ended."""
        known = self._known(cookie)
        return None if known is None else f"browser-{known[1]}"

    def renewed(self, cookie: str) -> str | None:
        """The cookie's value that says that the session is used now; None where that need not be said yet."""
        known = self._known(cookie)
        if known is None or self._clock() - known[2] < RENEW_S:
            return None
        return self._signed(known[0], known[1])

    def end(self, cookie: str) -> None:
        """The session is over, whoever has its cookie."""
        known = self._known(cookie)
        if known is not None:
            with self._lock:
                self._ended[known[1]] = None
                while len(self._ended) > ENDED_MAX:
                    del self._ended[next(iter(self._ended))]

    def _known(self, cookie: str) -> tuple[int, str, int] | None:
        """End, name and last use of a session that is ours and goes on."""
        session, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(self._signature(session).encode(), signature.encode()):
            return None
        parts = session.split(".")
        if len(parts) != 3:  # of a release whose sessions said less
            return None
        end, name, used = int(parts[0]), parts[1], int(parts[2])
        here = self._clock()
        return (end, name, used) if name and here < end and here < used + IDLE_S and name not in self._ended else None

    def _signed(self, end: int, name: str) -> str:
        session = f"{end}.{name}.{int(self._clock())}"
        return f"{session}.{self._signature(session)}"

    def _signature(self, session: str) -> str:
        return hmac.new(self._key, session.encode(), hashlib.sha256).hexdigest()


def set_cookie(value: str, *, https: bool) -> str:
    """A `Set-Cookie` header with the session's value; without one the browser forgets it."""
    kept_s = int(SESSION_LIVES_S) if value else 0
    secure = "; Secure" if https else ""
    return f"{COOKIE}={value}; HttpOnly; Max-Age={kept_s}; Path=/; SameSite=strict{secure}"


def _hashed(code: str) -> str:
    """So that looking a code up takes as long for a nearly right one as for any other."""
    return hashlib.sha256(code.encode()).hexdigest()
