"""One POST over HTTP(S): no redirect is followed, no more than a little of the answer is read."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from urllib.parse import quote, unquote, urlsplit

from tidegate.adapters.notifiers.reach import Reach
from tidegate.errors import DeliveryFailed, DeliveryRefused

REASON_BYTES_MAX = 300
_AS_GIVEN = "".join(map(chr, range(33, 127)))
"""What a URL is made of; the rest is percent-encoded, as browsers do."""
_AGAIN = (408, 425, 429)
"""Statuses below 500 that say: not now."""


def post(reach: Reach, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Send a JSON body. Raises `DeliveryFailed` where a later attempt may do better, `DeliveryRefused` otherwise."""
    parts = urlsplit(url)
    host, secure = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_AS_GIVEN)
    sent = {"Content-Type": "application/json", "User-Agent": "tidegate", "Connection": "close", **headers}
    if parts.username is not None:
        sent["Authorization"] = _basic(parts.username, parts.password)
    connection = HTTPConnection(host, port)
    with reach.deadline() as limit:
        opened = reach.connect(host, port, limit)
        connection.sock = limit.with_tls(opened, host, ssl.create_default_context()) if secure else opened
        answer = None
        try:
            connection.request("POST", path, body, sent)
            answer = connection.getresponse()
            said = answer.read(REASON_BYTES_MAX)
        except HTTPException as error:
            if limit.passed:
                raise TimeoutError from error
            raise DeliveryFailed(f"the answer is no HTTP ({type(error).__name__})") from error
        finally:
            if answer is not None:
                answer.close()
            connection.close()
    _judge(answer.status, said)


def _judge(status: int, said: bytes) -> None:
    if 200 <= status < 300:
        return
    words = " ".join(said.decode("utf-8", "replace").split())
    outcome = f"answered {status}" + (f": {words}" if words else "")
    if 300 <= status < 400:
        raise DeliveryRefused(f"{outcome}; redirects are not followed: give the notifier the final URL")
    if status >= 500 or status in _AGAIN:
        raise DeliveryFailed(outcome)
    raise DeliveryRefused(outcome)


def _basic(user: str, password: str | None) -> str:
    pair = f"{unquote(user)}:{unquote(password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
