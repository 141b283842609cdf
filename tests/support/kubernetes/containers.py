"""What a container is on this machine: a process whose paths, addresses and environment are translated."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.kubernetes.store import Object, Store

PYTHONS = {"python", "python3", "/opt/tidegate/bin/python", "/usr/local/bin/python"}
KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "LANG", "HOME")
"""Of this process's environment: what a container has in its image."""


@dataclass(frozen=True)
class Image:
    """What an image runs here. `files` are its own, by their path in the container; `user` 0 is root."""

    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    user: int = 10001
    pull_secret: str = ""
    """Nobody pulls it without a Secret of this name."""


class ConfigError(Exception):
    """CreateContainerConfigError, with its message."""


@dataclass(frozen=True)
class Place:
    """Where a pod runs: its address, and the folder of each of its volumes."""

    pod: Object
    ip: str
    volumes: Mapping[str, Path]
    folder: Path


def check_user(spec: Object, pod: Object, image: Image) -> None:
    """Raises `ConfigError` for a container that must not run as root and would."""
    own, of_pod = spec.get("securityContext", {}), pod["spec"].get("securityContext", {})
    user = own.get("runAsUser", of_pod.get("runAsUser", image.user))
    if own.get("runAsNonRoot", of_pod.get("runAsNonRoot")) and user == 0:
        raise ConfigError(f'container has runAsNonRoot and image will run as root (pod: "{pod["metadata"]["name"]}")')


def environment(spec: Object, place: Place, image: Image, store: Store) -> dict[str, str]:
    """Raises `ConfigError` for a Secret, or a key of one, that is not there."""
    found = {name: os.environ[name] for name in KEPT if name in os.environ} | dict(image.env)
    found["HOSTNAME"] = place.pod["metadata"]["name"]
    for item in spec.get("env", ()):
        value: str | None = item.get("value", "")
        if "valueFrom" in item:
            value = _value_from(item["valueFrom"], place, store)
        if value is not None:
            found[item["name"]] = expanded(value, found)
    paths = _paths(spec, place, image)
    told = {name: translated(value, paths) for name, value in found.items()}
    return told | ({"TMPDIR": str(paths["/tmp"])} if "/tmp" in paths else {})


def _value_from(source: Object, place: Place, store: Store) -> str | None:
    meta = place.pod["metadata"]
    if "secretKeyRef" in source:
        ref = source["secretKeyRef"]
        secret = store.get("secrets", meta["namespace"], ref["name"])
        if secret is None:
            if ref.get("optional"):
                return None
            raise ConfigError(f'secret "{ref["name"]}" not found')
        if ref["key"] not in secret.get("data", {}):
            raise ConfigError(f"couldn't find key {ref['key']} in Secret {meta['namespace']}/{ref['name']}")
        return base64.b64decode(secret["data"][ref["key"]]).decode()
    if "fieldRef" in source:
        known = {"metadata.name": meta["name"], "metadata.namespace": meta["namespace"], "status.podIP": place.ip}
        return str(known[source["fieldRef"]["fieldPath"]])
    raise ConfigError(f"the fake knows no valueFrom of {sorted(source)}")


def arguments(spec: Object, place: Place, image: Image, env: Mapping[str, str]) -> list[str]:
    """What is executed: the image's entry point where the pod has no command, its own arguments where it has none."""
    given = [*spec.get("command", image.entrypoint)]
    given += spec.get("args", () if "command" in spec else image.cmd)
    paths = _paths(spec, place, image)
    argv = [translated(expanded(word, env), paths) for word in given]
    argv = [place.ip if word == "0.0.0.0" else word for word in argv]
    return [sys.executable if argv[0] in PYTHONS else argv[0], *argv[1:]]


def start(argv: list[str], env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd="/"
        )


def send(process: subprocess.Popen[bytes], number: int) -> None:
    """To the container's first process; SIGKILL to all that are in it."""
    with suppress(ProcessLookupError, PermissionError):
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def expanded(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` is the variable's value where there is one, `$$` a dollar."""
    return re.sub(
        r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda found: env.get(found[1], found[0]) if found[1] else "$", text
    )


def translated(text: str, paths: Mapping[str, Path]) -> str:
    """With the paths of the container as they are here."""
    if not paths:
        return text
    known = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])({known})(?![\w.-])", lambda found: str(paths[found[1]]), text)


def _paths(spec: Object, place: Place, image: Image) -> dict[str, Path]:
    found = dict(image.files)
    for mount in spec.get("volumeMounts", ()):
        found[mount["mountPath"].rstrip("/")] = place.volumes[mount["name"]] / mount.get("subPath", "")
    message = spec.get("terminationMessagePath", "/dev/termination-log")
    return found | {message: place.folder / f"{spec['name']}.message"}
