"""Who may call: API keys, known only by their hashes. Used by every server of the data plane."""

from __future__ import annotations

import hashlib
import hmac

from tidegate.errors import Unauthenticated

PUBLIC_PATHS = frozenset({"/health", "/ping", "/v2/health/live", "/v2/health/ready"})
"""Open even where a key is required."""


def key_hash(key: str) -> str:
    """Hex SHA-256 of a key: what travels and is kept."""
    return hashlib.sha256(key.encode()).hexdigest()


class Access:
    """Checks `Authorization: Bearer KEY` against a set of hashes; `required` False lets everybody in (loopback)."""

    __slots__ = ("_hashes", "_of_metrics", "required")

    def __init__(
        self, hashes: frozenset[str] = frozenset(), of_metrics: frozenset[str] = frozenset(), *, required: bool = False
    ) -> None:
        self._hashes, self._of_metrics = hashes, of_metrics
        self.required = required

    def replace_hashes(self, hashes: frozenset[str], of_metrics: frozenset[str] = frozenset()) -> None:
        """Take the keys now in force (the gateway learns them from the routing snapshot)."""
        self._hashes, self._of_metrics = hashes, of_metrics

    def check(self, authorization: bytes | None, *, metrics: bool = False) -> None:
        """Raise `Unauthenticated` unless the header carries a key in force, of metrics alone where `metrics` is so."""
        if not self.required:
            return
        scheme, _, key = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer" or not key:
            raise Unauthenticated("a key is needed: send 'Authorization: Bearer KEY'")
        given = hashlib.sha256(key.strip()).hexdigest()
        # Every hash is compared, each in constant time: how long it takes tells nothing.
        hashes = self._hashes | self._of_metrics if metrics else self._hashes
        if sum(hmac.compare_digest(given, known) for known in hashes) == 0:
            raise Unauthenticated("this key is not valid here")
