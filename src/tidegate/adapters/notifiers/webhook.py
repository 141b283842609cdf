"""Webhooks: Alertmanager's payload, signed as Standard Webhooks (standardwebhooks.com) says."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import orjson

from tidegate.adapters.notifiers.post import post
from tidegate.adapters.notifiers.reach import Reach
from tidegate.clock import Clock

PREFIX = "whsec_"


def signature(secret: str, delivery: str, at_s: int, body: bytes) -> str:
    """`v1,` and the HMAC-SHA256 of `delivery.at_s.body` in base64; `secret` is `whsec_` and the key in base64."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = f"{delivery}.{at_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


class Webhook:
    """Sends the payload as it is."""

    def __init__(self, reach: Reach, clock: Clock) -> None:
        self._reach, self._clock = reach, clock

    def send(self, config: Mapping[str, str], delivery: str, payload: Mapping[str, Any]) -> None:
        """The id is the same whenever the same message is sent again: a receiver can leave out what it has."""
        body, at_s = orjson.dumps(payload), int(self._clock())
        headers = {"webhook-id": delivery, "webhook-timestamp": str(at_s)}
        if "secret" in config:
            headers["webhook-signature"] = signature(config["secret"], delivery, at_s, body)
        post(self._reach, config["url"], body, headers)
