"""ID tokens that gateways show to fronts which know identities (Cloud Run): by audience, kept until they run out.

Tokens are Google's and live for an hour, so they are no keys that can be worked out. On Google's machines the metadata
server makes them; elsewhere the control plane does, which has credentials, and hands them to its gateways. Called by
`dial.py`, in threads.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import urllib3

from tidegate.clock import Clock, now
from tidegate.wire.gateways.identity import IdToken, expiry_of

METADATA_URL = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/identity"
PRODUCT_FILE = Path("/sys/class/dmi/id/product_name")
TIMEOUT_S = 2.0
RENEW_BEFORE_S = 600.0
"""So long before a token runs out another one is asked for; the one that is there is used until it has run out."""
RETRY_S = 1.0
"""For so long nothing more is asked where there was no answer: a pool has up to 256 connections that ask."""
FORGET_EVERY_S = 10.0
"""For so long a token is not forgotten again: it may have been the replica's key that was refused."""
KEPT_MAX = 1000

TokenOf = Callable[[str], IdToken]
"""A token for this audience. May ask others; raises `OSError`."""


def no_tokens(audience: str) -> IdToken:
    """Asks for tokens where nobody makes any. Raises `OSError`."""
    raise OSError(f"nobody makes ID tokens for {audience!r} here")


def keep_token(audience: str) -> None:
    """Hears of refused tokens where nobody keeps any."""


@dataclass
class _Kept:
    asking: threading.Lock = field(default_factory=threading.Lock)
    token: IdToken | None = None
    fault: str = ""
    ask_again_at: float = 0.0
    forget_again_at: float = 0.0


class IdTokens:
    """Tokens by audience, each asked for once for all connections. Safe to share between threads.

    One that is slow to come is waited for by those alone who have none for that audience.
    """

    def __init__(self, fetch: TokenOf, clock: Clock = now) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def get(self, audience: str) -> IdToken:
        """One that has not run out. Raises `OSError` where there is none, and none is to be had."""
        with self._lock:
            kept = self._kept.setdefault(audience, _Kept())
            self._kept.move_to_end(audience)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        has_one = kept.token is not None and kept.token.expires_at > self._clock()
        if self._clock() >= kept.ask_again_at and kept.asking.acquire(blocking=not has_one):
            try:
                if self._clock() >= kept.ask_again_at:  # nobody else asked meanwhile
                    self._ask(audience, kept)
            finally:
                kept.asking.release()
        if kept.token is None or kept.token.expires_at <= self._clock():
            raise OSError(kept.fault)
        return kept.token

    def forget(self, audience: str) -> None:
        """It was refused: another one is asked for next time, and this one is used only while none is to be had.
        Never waits. Not again within `FORGET_EVERY_S`, as each of a pool's connections is refused by itself.
        """
        with self._lock:
            kept, now_s = self._kept.get(audience), self._clock()
            if kept is not None and kept.token is not None and now_s >= kept.forget_again_at:
                kept.ask_again_at, kept.forget_again_at = now_s, now_s + FORGET_EVERY_S

    def _ask(self, audience: str, kept: _Kept) -> None:
        try:
            kept.token = self._fetch(audience)
        except (OSError, ValueError, urllib3.exceptions.HTTPError) as error:
            kept.fault = f"no ID token for {audience} is to be had: {error}"
            kept.ask_again_at = self._clock() + RETRY_S
            return
        kept.ask_again_at = renew_at(kept.token, self._clock())


def renew_at(token: IdToken, now_s: float) -> float:
    """When another one is asked for: `RENEW_BEFORE_S` before it runs out, of a short one half-way."""
    left_s = token.expires_at - now_s
    return token.expires_at - min(RENEW_BEFORE_S, left_s / 2)


def on_google(product_file: Path = PRODUCT_FILE) -> bool:
    """Whether this machine is one of Google's, where the metadata server answers."""
    try:
        return product_file.read_text().startswith("Google")
    except OSError:
        return False


def token_source(of_control_plane: TokenOf) -> IdTokens:
    """Where this gateway gets its tokens: from this machine, if it is one of Google's, else from the control plane."""
    return IdTokens(from_metadata if on_google() else of_control_plane)


def from_metadata(audience: str, url: str = METADATA_URL) -> IdToken:
    """The token of this machine's service account. Raises `OSError` or urllib3's errors."""
    answer = urllib3.request(
        "GET",
        url,
        fields={"audience": audience, "format": "full"},
        headers={"Metadata-Flavor": "Google"},
        timeout=TIMEOUT_S,
        retries=False,
    )
    if answer.status != 200:
        raise OSError(f"the metadata server answered {answer.status}: does this machine have a service account?")
    token = answer.data.decode("ascii").strip()
    return IdToken(token, expiry_of(token))
