"""What a cluster is shown: a token, a client certificate, or both; fixed, from a file, or from a program (exec plugin).

The protocol of exec plugins: https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tidegate.clock import Clock, now
from tidegate.errors import EngineDenied
from tidegate.system.commands import output

EXEC_TIMEOUT_S = 20.0
EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
FILE_TOKEN_FRESH_S = 60.0
"""A token in a file is replaced by whoever projects it there, long before it expires."""
EXPIRES_EARLY_S = 10.0
"""So long before its end a token is asked for anew: it would expire under way."""


@dataclass(frozen=True)
class Credential:
    """What one request is sent with; the certificate and its key are PEM. `repr` says nothing of the values."""

    token: str | None = field(default=None, repr=False)
    cert_pem: bytes | None = field(default=None, repr=False)
    key_pem: bytes | None = field(default=None, repr=False)


class Credentials(Protocol):
    """Where credentials come from. `current` and `renew` raise `EngineDenied` with what to do."""

    @property
    def advice(self) -> str:
        """What helps where the cluster does not take them, after "they may have expired: "."""

    def current(self) -> Credential:
        """What to show now."""

    def renew(self, refused: Credential) -> Credential | None:
        """The cluster refused this: another one, or None where there is no other."""


@dataclass(frozen=True)
class FixedCredentials:
    """What the kubeconfig itself has."""

    credential: Credential
    advice: str

    def current(self) -> Credential:
        return self.credential

    def renew(self, refused: Credential) -> Credential | None:  # noqa: ARG002 - the shape of the protocol
        return None


class TokenFile:
    """A token in a file that somebody else replaces: a service account's, or `tokenFile` of a kubeconfig."""

    def __init__(self, path: Path, base: Credential = Credential(), clock: Clock = now) -> None:
        self._path = path
        self._base = base
        self._clock = clock
        self._read: tuple[float, Credential] | None = None

    @property
    def advice(self) -> str:
        return f"see that {self._path} has a token that is still valid"

    def current(self) -> Credential:
        at_s = self._clock()
        if self._read is None or not 0 <= at_s - self._read[0] < FILE_TOKEN_FRESH_S:
            self._read = at_s, self._again()
        return self._read[1]

    def renew(self, refused: Credential) -> Credential | None:
        found = self._again()
        self._read = self._clock(), found
        return found if found != refused else None

    def _again(self) -> Credential:
        try:
            token = self._path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text"
            raise EngineDenied(f"the token of the Kubernetes cluster cannot be read: {self._path}: {why}") from None
        if not token:
            raise EngineDenied(f"the token of the Kubernetes cluster is empty: {self._path}")
        return Credential(token, self._base.cert_pem, self._base.key_pem)


@dataclass(frozen=True)
class ExecPlugin:
    """How a kubeconfig says to run one. `cluster` is what the plugin is told of the cluster, where it wants that."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    api_version: str = EXEC_VERSIONS[0]
    install_hint: str = ""
    cluster: Mapping[str, Any] | None = None


class ExecCredentials:
    """What a program prints, until it expires. One run at a time, each bounded in time and without a terminal."""

    def __init__(self, plugin: ExecPlugin, env: Callable[[], Mapping[str, str]], clock: Clock = now) -> None:
        self._plugin = plugin
        self._env = env
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[Credential, float | None] | None = None

    @property
    def advice(self) -> str:
        return f"log in again with what '{self._plugin.command}' takes its login from"

    def current(self) -> Credential:
        with self._lock:
            if self._kept is None or self._expired(self._kept[1]):
                self._kept = self._run()
            return self._kept[0]

    def renew(self, refused: Credential) -> Credential | None:
        with self._lock:
            if self._kept is None or self._kept[0] == refused:
                self._kept = self._run()
            return self._kept[0] if self._kept[0] != refused else None

    def _expired(self, at_s: float | None) -> bool:
        return at_s is not None and self._clock() >= at_s - EXPIRES_EARLY_S

    def _run(self) -> tuple[Credential, float | None]:
        plugin = self._plugin
        env = {**self._env(), **plugin.env, "KUBERNETES_EXEC_INFO": json.dumps(self._info())}
        command = shutil.which(plugin.command, path=env.get("PATH", os.defpath))
        if command is None:
            hint = f" ({' '.join(plugin.install_hint.split())})" if plugin.install_hint else ""
            raise EngineDenied(
                f"the kubeconfig asks the program '{plugin.command}' for credentials, and there is none: install it, "
                f"or put it on the PATH of the control plane{hint}"
            )
        try:
            ran, printed = output([command, *plugin.args], env, EXEC_TIMEOUT_S)
        except OSError as error:
            raise EngineDenied(f"'{command}', which the kubeconfig names, cannot be run: {error.strerror}") from None
        if ran.code != 0:
            raise EngineDenied(f"'{plugin.command}' gave no credentials ({ran.last(2)}): {self.advice}")
        return self._parsed(printed)

    def _info(self) -> dict[str, Any]:
        spec: dict[str, Any] = {"interactive": False}
        if self._plugin.cluster is not None:
            spec["cluster"] = dict(self._plugin.cluster)
        return {"apiVersion": self._plugin.api_version, "kind": "ExecCredential", "spec": spec}

    def _parsed(self, printed: str) -> tuple[Credential, float | None]:
        wrong = f"'{self._plugin.command}' printed no credentials that Kubernetes knows"
        try:
            body = json.loads(printed)
            status = body["status"]
            if body.get("kind") != "ExecCredential" or body.get("apiVersion") != self._plugin.api_version:
                raise EngineDenied(
                    f"{wrong}: it says {body.get('kind')} of {body.get('apiVersion')}, and the kubeconfig wants "
                    f"{self._plugin.api_version}"
                )
            cert, key = (status.get(name) for name in ("clientCertificateData", "clientKeyData"))
            found = Credential(status.get("token"), cert and cert.encode(), key and key.encode())
            expires = status.get("expirationTimestamp")
            expires_s = None if expires is None else _seconds(expires)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise EngineDenied(f"{wrong}: no ExecCredential with a status") from None
        if found.token is None and found.cert_pem is None:
            raise EngineDenied(f"{wrong}: neither a token nor a client certificate")
        return found, expires_s


def _seconds(timestamp: str) -> float:
    at = datetime.fromisoformat(timestamp)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
