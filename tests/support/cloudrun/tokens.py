"""A server of Google's tokens that is none: takes what google-auth sends, and issues access tokens and ID tokens.

A service account's key file (`key_file`) names this server, so the library's own way is gone, signature included.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tidegate.clock import now

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIVES_S = 3600


@dataclass
class TokenIssuer:
    """Whose credentials these are is in `email`; `refusing` has it refuse them, as if the account were disabled."""

    email: str = "tidegate@demo-project.iam.gserviceaccount.com"
    refusing: bool = False
    issued: int = 0
    _key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    _access: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def key_file(self, folder: Path, url: str) -> Path:
        """What GOOGLE_APPLICATION_CREDENTIALS names, for this server at `url`."""
        private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        told = {
            "type": "service_account",
            "project_id": "demo-project",
            "private_key_id": "1",
            "private_key": private.decode(),
            "client_email": self.email,
            "client_id": "1",
            "token_uri": f"{url}/token",
        }
        path = folder / "service-account.json"
        path.write_text(json.dumps(told))
        return path

    def answer(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Status and body for a form that was sent to `/token`."""
        if self.refusing:
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        claims = self._verified(form["assertion"]) if form.get("grant_type") == GRANT else None
        if claims is None or claims["iss"] != self.email:
            return 400, {"error": "invalid_grant", "error_description": "not what was expected"}
        self.issued += 1
        if "target_audience" in claims:
            return 200, {"id_token": self.id_token(str(claims["target_audience"]))}
        token = secrets.token_urlsafe()
        with self._lock:
            self._access.add(token)
        return 200, {"access_token": token, "expires_in": LIVES_S, "token_type": "Bearer"}

    def id_token(self, audience: str, lives_s: float = LIVES_S) -> str:
        """Signed by this issuer."""
        claims = {"aud": audience, "email": self.email, "iat": int(now()), "exp": int(now() + lives_s)}
        head = f"{_segment({'alg': 'RS256', 'typ': 'JWT'})}.{_segment(claims)}"
        return f"{head}.{_base64(self._key.sign(head.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def knows(self, access_token: str) -> bool:
        """Whether it issued this access token."""
        with self._lock:
            return access_token in self._access

    def revoke_all(self) -> None:
        """No access token that was issued is good any more."""
        with self._lock:
            self._access.clear()

    def why_refused(self, id_token: str, audience: str) -> str | None:
        """Why a front for this audience refuses this ID token; None: it lets it in."""
        claims = self._verified(id_token)
        if claims is None:
            return "the signature is not valid"
        if claims["exp"] <= now():
            return "it has run out"
        return None if claims["aud"] == audience else f"it is for {claims['aud']}"

    def _verified(self, token: str) -> dict[str, Any] | None:
        head, _, signature = token.rpartition(".")
        try:
            self._key.public_key().verify(_bytes(signature), head.encode(), padding.PKCS1v15(), hashes.SHA256())
            claims: dict[str, Any] = json.loads(_bytes(head.split(".")[1]))
        except Exception:
            return None
        return claims


def _segment(value: Mapping[str, Any]) -> str:
    return _base64(json.dumps(value).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
