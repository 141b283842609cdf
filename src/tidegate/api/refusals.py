"""Logs attempts that were refused (403), a bounded number a minute: whoever tries may try often. Used by the guard."""

from __future__ import annotations

import logging

from starlette.types import Scope

from tidegate.clock import monotonic
from tidegate.core.access import Principal
from tidegate.errors import Forbidden

_log = logging.getLogger(__name__)

LINES_A_MINUTE_MAX = 60
PATH_CHARS_MAX, REASON_CHARS_MAX = 200, 300


class RefusalLog:
    """On one event loop. Without a principal it was nobody: no key was shown."""

    def __init__(self) -> None:
        self._minute, self._lines, self._left_out = -1, 0, 0

    def note(self, scope: Scope, principal: Principal | None, request_id: str, error: Forbidden) -> None:
        """One line; past the bound only the number of those left out, in the next minute's first."""
        minute = int(monotonic() // 60)
        if minute != self._minute:
            if self._left_out:
                _log.warning("%d more refusals were not logged", self._left_out)
            self._minute, self._lines, self._left_out = minute, 0, 0
        if self._lines >= LINES_A_MINUTE_MAX:
            self._left_out += 1
            return
        self._lines += 1
        who = "nobody" if principal is None else f"{principal.kind} {principal.name}"
        path, reason = scope["path"][:PATH_CHARS_MAX], str(error)[:REASON_CHARS_MAX]  # it may repeat a header
        _log.warning("refused %s: %s %r, request %s: %s", who, scope["method"], path, request_id, reason)
