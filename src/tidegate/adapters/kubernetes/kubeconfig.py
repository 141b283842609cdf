"""Where the cluster is and what it is shown, by the rules of kubectl: a kubeconfig's files and contexts, or the service
account of the pod this runs in. Reads files; asks nothing of a cluster.

Format: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tidegate.adapters.kubernetes.credentials import (
    EXEC_VERSIONS,
    Credential,
    Credentials,
    ExecCredentials,
    ExecPlugin,
    FixedCredentials,
    TokenFile,
)
from tidegate.errors import EngineDenied

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_NAMESPACE = "default"
CONFIG_BYTES_MAX = 16 << 20
_LISTS = ("clusters", "users", "contexts")


@dataclass(frozen=True)
class ClusterAccess:
    """How one cluster is reached. `where` says in words what named it; `ca_pem` None: the system's authorities."""

    server: str
    namespace: str
    where: str
    credentials: Credentials
    ca_pem: bytes | None = None
    server_name: str | None = None
    verify: bool = True
    proxy: str | None = None


def find_access(
    path: Path | None,
    namespace: str | None,
    env: Mapping[str, str],
    service_account: Path = SERVICE_ACCOUNT,
) -> ClusterAccess:
    """The cluster that KUBECONFIG_PATH, KUBECONFIG, ~/.kube/config or the pod's service account names, in this order.

    `namespace` overrides the context's. Raises `EngineDenied`, saying what to do.
    """
    named = _paths(path, env)
    files = [one for one in named if _is_there(one)]
    if files:
        return _from_files(files, namespace, env)
    if path is not None:
        raise EngineDenied(f"there is no kubeconfig {path}: correct KUBECONFIG_PATH")
    if env.get("KUBERNETES_SERVICE_HOST") and (service_account / "token").exists():
        return _in_cluster(service_account, namespace, env)
    looked = ", ".join(str(one) for one in named) or "~/.kube/config"
    raise EngineDenied(
        f"no Kubernetes cluster is known: there is no kubeconfig at {looked}, and this is no pod with a service "
        "account. Set KUBECONFIG_PATH to a kubeconfig, and start the platform with it"
    )


def _is_there(file: Path) -> bool:
    """Also where one may not look: reading it says so then."""
    try:
        return file.exists()
    except PermissionError:
        return True


def _paths(path: Path | None, env: Mapping[str, str]) -> list[Path]:
    if path is not None:
        return [path.expanduser()]
    if env.get("KUBECONFIG"):
        return [Path(one) for one in env["KUBECONFIG"].split(os.pathsep) if one]
    return [Path(env["HOME"]) / ".kube" / "config"] if env.get("HOME") else []


def _in_cluster(folder: Path, namespace: str | None, env: Mapping[str, str]) -> ClusterAccess:
    host, port = env["KUBERNETES_SERVICE_HOST"], env.get("KUBERNETES_SERVICE_PORT", "443")
    own = folder / "namespace"
    try:
        ca = (folder / "ca.crt").read_bytes()
        found = own.read_text().strip() if own.exists() else ""
    except OSError as error:
        raise EngineDenied(f"the pod's service account cannot be read: {error.filename}: {error.strerror}") from None
    return ClusterAccess(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace or found or DEFAULT_NAMESPACE,
        where="the pod's service account",
        credentials=TokenFile(folder / "token"),
        ca_pem=ca,
    )


def _from_files(files: list[Path], namespace: str | None, env: Mapping[str, str]) -> ClusterAccess:
    merged = _merged(files)
    where = ", ".join(map(str, files))
    name = merged.current
    if not name:
        raise EngineDenied(f"the kubeconfig {where} has no current context: kubectl config use-context NAME")
    context = merged.entry("contexts", name, f"the current context of {where}")
    cluster = merged.entry("clusters", context.text("cluster"), f"context {name!r} of {context.file}")
    user_name = context.text("user")
    user = (
        merged.entry("users", user_name, f"context {name!r} of {context.file}")
        if user_name
        else _Entry({}, context.file)
    )
    return ClusterAccess(
        server=_server(cluster),
        namespace=namespace or context.text("namespace") or DEFAULT_NAMESPACE,
        where=f"context {name!r} of {where}",
        credentials=_credentials(user, cluster, env),
        ca_pem=cluster.data("certificate-authority"),
        server_name=cluster.text("tls-server-name") or None,
        verify=not cluster.flag("insecure-skip-tls-verify"),
        proxy=_proxy(cluster) or _proxy_of(env, cluster.text("server")),
    )


@dataclass(frozen=True)
class _Entry:
    """One cluster, user or context, and the file it is from: its relative paths start there."""

    value: dict[str, Any]
    file: Path

    def text(self, name: str) -> str:
        found = self.value.get(name)
        if found is None:
            return ""
        if not isinstance(found, str):
            raise EngineDenied(f"the kubeconfig {self.file} has {name!r} that is no text")
        return found

    def flag(self, name: str) -> bool:
        found = self.value.get(name)
        if not isinstance(found, bool | None):
            raise EngineDenied(f"the kubeconfig {self.file} has {name!r} that is neither true nor false")
        return bool(found)

    def path(self, name: str) -> Path | None:
        text = self.text(name)
        return self.file.absolute().parent / Path(text).expanduser() if text else None

    def data(self, name: str) -> bytes | None:
        """The contents of `name-data` (base64), else of the file `name`."""
        encoded = self.text(f"{name}-data")
        if encoded:
            try:
                return base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise EngineDenied(f"the kubeconfig {self.file} has {name}-data that is no base64") from None
        path = self.path(name)
        try:
            return None if path is None else path.read_bytes()
        except OSError as error:
            raise EngineDenied(f"{path}, which {self.file} names as {name}, cannot be read: {error.strerror}") from None


@dataclass(frozen=True)
class _Merged:
    """Several files as one: of each name the first entry counts, as kubectl merges them."""

    current: str
    lists: dict[str, dict[str, _Entry]]

    def entry(self, which: str, name: str, wanted_by: str) -> _Entry:
        found = self.lists[which].get(name)
        if found is None:
            raise EngineDenied(f"{wanted_by} names {name!r}, and there is nothing of that name among its {which}")
        return found


def _merged(files: list[Path]) -> _Merged:
    current, lists = "", {which: dict[str, _Entry]() for which in _LISTS}
    for file in files:
        body = _read(file)
        current = current or str(body.get("current-context") or "")
        for which in _LISTS:
            for item in body.get(which) or []:
                try:
                    name, value = item["name"], item.get(which[:-1]) or {}
                except (TypeError, KeyError, AttributeError):
                    raise EngineDenied(f"the kubeconfig {file} has an entry of {which!r} without a name") from None
                if not isinstance(value, dict):
                    raise EngineDenied(f"the kubeconfig {file} has an entry {name!r} of {which!r} that has no fields")
                lists[which].setdefault(str(name), _Entry(value, file))
    return _Merged(current, lists)


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > CONFIG_BYTES_MAX:
            raise EngineDenied(f"{file} is no kubeconfig: it is larger than {CONFIG_BYTES_MAX >> 20} MiB")
        body = yaml.safe_load(file.read_text())
    except OSError as error:
        raise EngineDenied(f"the kubeconfig {file} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        at = getattr(error, "problem_mark", None)
        line = f" at line {at.line + 1}" if at is not None else ""
        raise EngineDenied(f"the kubeconfig {file} is no YAML{line}") from None
    if body is None:
        return {}
    if not isinstance(body, dict) or body.get("kind", "Config") != "Config":
        raise EngineDenied(f"{file} is no kubeconfig: its kind is not Config")
    if not all(isinstance(body.get(which) or [], list) for which in _LISTS):
        raise EngineDenied(f"{file} is no kubeconfig: {', '.join(_LISTS)} are lists")
    return body


def _server(cluster: _Entry) -> str:
    address = cluster.text("server")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EngineDenied(f"the kubeconfig {cluster.file} has the server {address!r}: https://host:6443 is wanted")
    return address.rstrip("/")


def _proxy(cluster: _Entry) -> str | None:
    address = cluster.text("proxy-url")
    if address and urlsplit(address).scheme not in ("http", "https"):
        raise EngineDenied(f"the kubeconfig {cluster.file} wants a proxy that is neither http nor https: not supported")
    return address or None


def _proxy_of(env: Mapping[str, str], server: str) -> str | None:
    """That of HTTPS_PROXY, where NO_PROXY does not except this server."""
    parts = urlsplit(server)
    names = ("HTTPS_PROXY", "https_proxy") if parts.scheme == "https" else ("HTTP_PROXY", "http_proxy")
    found = next((env[name] for name in names if env.get(name)), None)
    excepted = (env.get("NO_PROXY") or env.get("no_proxy") or "").split(",")
    host = parts.hostname or ""
    near = host in ("localhost", "127.0.0.1", "::1") or any(_excepts(one.strip(), host) for one in excepted)
    return None if near else found


def _excepts(pattern: str, host: str) -> bool:
    """Whether an entry of NO_PROXY is about this host: `*`, a network, a domain with all below it, or a name.

    >>> [_excepts("10.0.0.0/8", "10.1.2.3"), _excepts(".internal", "api.internal"), _excepts("corp", "notcorp")]
    [True, True, False]
    """
    with suppress(ValueError):
        return ip_address(host) in ip_network(pattern, strict=False)
    name = pattern.lstrip(".").partition(":")[0]
    return pattern == "*" or (bool(name) and (host == name or host.endswith(f".{name}")))


def _credentials(user: _Entry, cluster: _Entry, env: Mapping[str, str]) -> Credentials:
    """By kubectl's precedence: certificate beside one of tokenFile, token, user and password; else a plugin."""
    for unknown, instead in (("auth-provider", "use an exec plugin"), ("username", "use a token, or a certificate")):
        if user.value.get(unknown):
            raise EngineDenied(f"the kubeconfig {user.file} logs in by {unknown!r}, which is not supported: {instead}")
    if any(user.value.get(name) for name in ("as", "as-uid", "as-groups", "as-user-extra")):
        raise EngineDenied(
            f"the kubeconfig {user.file} acts as another user, which is not supported: log in as that one"
        )
    cert, key = user.data("client-certificate"), user.data("client-key")
    if (cert is None) != (key is None):
        raise EngineDenied(f"the kubeconfig {user.file} has a client certificate or its key, and not the other")
    token_file = user.path("tokenFile")
    if token_file is not None:
        return TokenFile(token_file, Credential(None, cert, key))
    if user.value.get("exec"):
        return ExecCredentials(_plugin(user, cluster), lambda: env)
    credential = Credential(user.text("token").strip() or None, cert, key)
    return FixedCredentials(credential, f"renew the token or certificate in {user.file}")


def _plugin(user: _Entry, cluster: _Entry) -> ExecPlugin:
    plugin = user.value["exec"]
    try:
        command, version = str(plugin["command"]), str(plugin["apiVersion"])
        args = tuple(map(str, plugin.get("args") or ()))
        env = {str(item["name"]): str(item["value"]) for item in plugin.get("env") or ()}
        mode, wants_cluster = plugin.get("interactiveMode"), bool(plugin.get("provideClusterInfo"))
    except (KeyError, TypeError, AttributeError):
        raise EngineDenied(f"the kubeconfig {user.file} has an exec plugin without command or apiVersion") from None
    if version not in EXEC_VERSIONS:
        raise EngineDenied(
            f"the kubeconfig {user.file} has an exec plugin of {version}: {' and '.join(EXEC_VERSIONS)} are supported"
        )
    if mode == "Always":
        raise EngineDenied(
            f"the exec plugin '{command}' of {user.file} always wants a terminal, and the control plane has none: use "
            "one whose interactiveMode is IfAvailable or Never"
        )
    if "/" in command and not Path(command).is_absolute():
        command = str(user.file.absolute().parent / command)
    return ExecPlugin(
        command, args, env, version, str(plugin.get("installHint") or ""), _told(cluster) if wants_cluster else None
    )


def _told(cluster: _Entry) -> dict[str, Any]:
    """What a plugin hears of the cluster (`provideClusterInfo`)."""
    ca = cluster.data("certificate-authority")
    found: dict[str, Any] = {
        "server": cluster.text("server"),
        "tls-server-name": cluster.text("tls-server-name"),
        "insecure-skip-tls-verify": cluster.flag("insecure-skip-tls-verify"),
        "certificate-authority-data": "" if ca is None else base64.b64encode(ca).decode(),
        "proxy-url": cluster.text("proxy-url"),
    }
    known = {key: value for key, value in found.items() if value}
    for extension in cluster.value.get("extensions") or ():
        if isinstance(extension, dict) and extension.get("name") == "client.authentication.k8s.io/exec":
            known["config"] = extension.get("extension")
    return known
