"""Instances of revisions: real replica processes, each at an address of its own in 127.41.0.0/16, port 8000."""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate import clock

PORT = 8000
STOP_S = 10.0
"""Cloud Run gives an instance so long after SIGTERM."""
KEPT_ENV = ("PATH", "HOME", "LANG", "PYTHONPATH", "SSL_CERT_FILE", "TMPDIR")


@dataclass(frozen=True)
class Image:
    """What a reference stands for: a version's manifest, which a real replica serves, or another command."""

    manifest: Path | None = None
    command: tuple[str, ...] = ()


class Addresses:
    """Hands out addresses of this machine, each once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: set[str] = set()

    def take(self) -> str:
        """One on which nobody listens."""
        with self._lock:
            while True:
                address = f"127.41.{random.randint(1, 254)}.{random.randint(1, 254)}"
                if address not in self._given and _is_free(address):
                    self._given.add(address)
                    return address


def _is_free(address: str) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((address, PORT))
        except OSError:
            return False
    return True


class Instance:
    """One process. `serving`: the front may give it requests; `busy` counts those it has."""

    def __init__(self, address: str, image: Image, container: dict[str, Any], log: Path) -> None:
        self.address = address
        self.serving = False
        self.busy = 0
        self.idle: list[Any] = []  # the front's connections
        env = {name: os.environ[name] for name in KEPT_ENV if name in os.environ}
        env |= {one["name"]: one["value"] for one in container.get("env", [])} | {"PORT": str(PORT)}
        args = [address if one == "0.0.0.0" else one for one in container.get("args", [])]
        command = [*image.command]
        if image.manifest is not None:
            command = [sys.executable, "-m", "tidegate.server", "--manifest", str(image.manifest), *args]
        with log.open("ab") as out:
            out.write(b"Starting new instance. Reason: DEPLOYMENT_ROLLOUT\n")  # of Cloud Run itself, in the same log
            out.flush()
            self.process = subprocess.Popen(
                command, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def answers(self, path: str) -> bool:
        """Whether its probe finds it there."""
        connection = http.client.HTTPConnection(self.address, PORT, timeout=1)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """No further request; SIGTERM, and after a while the end."""
        self.serving = False
        if self.alive:
            self.process.send_signal(signal.SIGTERM)
            threading.Thread(target=self._end, daemon=True).start()

    def kill(self) -> None:
        self.serving = False
        if self.alive:
            self.process.kill()
        self.process.wait(STOP_S)

    def _end(self) -> None:
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()


@dataclass
class Running:
    """A revision's instances. `started_at` is when the first one was; `log` is what all of them write to; `secrets` are
    the project's, with the values of each one's versions.
    """

    revision: dict[str, Any]
    image: Image | None
    log: Path
    secrets: Mapping[str, list[str]]
    instances: list[Instance] = field(default_factory=list)
    started_at: float = field(default_factory=clock.monotonic)

    @property
    def container(self) -> dict[str, Any]:
        found: dict[str, Any] = self.revision["containers"][0]
        return found

    @property
    def bounds(self) -> tuple[int, int]:
        """Of the instances that there may be."""
        scaling = self.revision.get("scaling") or {}
        return int(scaling.get("minInstanceCount") or 0), int(scaling.get("maxInstanceCount") or 100)

    @property
    def concurrency(self) -> int:
        return int(self.revision.get("maxInstanceRequestConcurrency") or 80)

    def free(self) -> Instance | None:
        """The instance that takes the next request."""
        fit = [one for one in self.instances if one.serving and one.alive and one.busy < self.concurrency]
        return min(fit, key=lambda one: one.busy, default=None)

    def start(self, addresses: Addresses) -> Instance:
        assert self.image is not None
        env = [one for one in self.container.get("env", []) if "value" in one]
        for one in self.container.get("env", []):
            if "valueSource" in one:
                ref = one["valueSource"]["secretKeyRef"]
                env.append({"name": one["name"], "value": self.secrets[ref["secret"]][int(ref["version"]) - 1]})
        made = Instance(addresses.take(), self.image, self.container | {"env": env}, self.log)
        self.instances.append(made)
        return made

    def stop(self) -> None:
        for one in self.instances:
            one.stop()
        self.instances = [one for one in self.instances if one.alive]
