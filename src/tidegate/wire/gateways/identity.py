"""An ID token as the control plane hands it to its gateways: signed by Google, for one audience, good for an hour."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True)
class IdToken:
    """`expires_at` is in seconds since 1970. The token is a secret: no text of this has it."""

    token: str = field(repr=False)
    expires_at: float


class _Claims(msgspec.Struct):
    exp: float


_claims = msgspec.json.Decoder(_Claims)


def expiry_of(token: str) -> float:
    """When a JSON Web Token runs out, by its own words; nothing is verified. Raises `ValueError`."""
    try:
        body = token.split(".")[1]
        return _claims.decode(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))).exp
    except (IndexError, ValueError) as error:  # msgspec's error is a ValueError
        raise ValueError("what was given is no ID token") from error
