"""Google's credentials of this process, by its own chain (google-auth): access tokens for APIs, ID tokens for gateways.

Used by `api.py`, and by the control plane, which hands ID tokens to gateways that run nowhere near a metadata server.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from datetime import UTC
from importlib import import_module
from typing import Any

import urllib3

from tidegate.clock import Clock, now
from tidegate.errors import EngineDenied, EngineUnavailable, MissingExtra
from tidegate.wire.gateways.identity import IdToken

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TIMEOUT_S = 10.0
RENEW_BEFORE_S = 120.0
LOG_IN = (
    "run 'gcloud auth application-default login', or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service "
    "account"
)
ID_TOKENS_FROM = (
    "ID tokens are made for service accounts alone: set GOOGLE_APPLICATION_CREDENTIALS to the key file of one, or to "
    "what 'gcloud auth application-default login --impersonate-service-account=ACCOUNT' wrote"
)


class GoogleCredentials:
    """Loaded when they are first asked for, renewed before they run out. Safe to share between threads.

    Every method raises `EngineUnavailable`, saying what to do, and `MissingExtra`.
    """

    def __init__(self, clock: Clock = now) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._loaded: Any = None
        self._renew_at = 0.0

    def access_token(self) -> str:
        """For Google's APIs."""
        with self._lock:
            if self._loaded is None:
                self._loaded = _asking(self._load, LOG_IN)
            if self._clock() >= self._renew_at:
                _asking(lambda: self._loaded.refresh(_request()), LOG_IN)
                self._renew_at = _expiry(self._loaded, self._clock()) - RENEW_BEFORE_S
            return str(self._loaded.token)

    def forget(self) -> None:
        """A token was refused: another one is asked for, by credentials that are read anew."""
        with self._lock:
            self._loaded, self._renew_at = None, 0.0

    def id_token(self, audience: str) -> IdToken:
        """For this audience, in the name of the service account whose credentials these are."""

        def make() -> Any:
            made = import_module("google.oauth2.id_token").fetch_id_token_credentials(audience, request=_request())
            made.refresh(_request())
            return made

        made = _asking(make, ID_TOKENS_FROM)
        return IdToken(str(made.token), _expiry(made, self._clock()))

    def _load(self) -> Any:
        with warnings.catch_warnings():  # of people's credentials without a project to bill, which nothing here needs
            warnings.simplefilter("ignore", UserWarning)
            found, _ = import_module("google.auth").default(scopes=[SCOPE], request=_request())
        return found


def _asking(do: Callable[[], Any], todo: str) -> Any:
    errors = _library().exceptions
    try:
        return do()
    except errors.DefaultCredentialsError as error:
        raise EngineDenied(f"no credentials of Google Cloud for this are found ({_short(error)}): {todo}") from error
    except errors.TransportError as error:
        raise EngineUnavailable(f"Google's server of tokens does not answer ({_short(error)})") from error
    except errors.GoogleAuthError as error:
        raise EngineDenied(
            f"Google takes these credentials no longer, or for something else ({_short(error)}): {todo}"
        ) from error
    except (OSError, ValueError) as error:
        raise EngineDenied(f"the credentials of Google Cloud cannot be read ({_short(error)}): {todo}") from error


def _library() -> Any:
    """Imported when Cloud Run is used: the base install does not have it."""
    try:
        import_module("google.auth.transport.urllib3")
        return import_module("google.auth")
    except ModuleNotFoundError:
        raise MissingExtra("Cloud Run needs Google's library: pip install 'tidegate[cloudrun]'") from None


def _request() -> Any:
    """How the library asks: within `TIMEOUT_S`, where it would wait for two minutes."""
    transport = import_module("google.auth.transport.urllib3").Request(urllib3.PoolManager(retries=False))

    def ask(*args: Any, **options: Any) -> Any:
        return transport(*args, **{**options, "timeout": min(options.get("timeout") or TIMEOUT_S, TIMEOUT_S)})

    return ask


def _expiry(credentials: Any, present: float) -> float:
    """In seconds since 1970; the library has it without a time zone, and means UTC."""
    expiry = credentials.expiry
    return present + 300.0 if expiry is None else float(expiry.replace(tzinfo=UTC).timestamp())


def _short(error: Exception) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())[:300]
