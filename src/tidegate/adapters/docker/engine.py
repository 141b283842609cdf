"""A container engine's API (the `docker` SDK): where it is, and calls that end in time. Knows no replica.

The engine has to be on this machine: replicas are reached through Unix sockets in folders that both see.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from tidegate.adapters.outage import Outage
from tidegate.clock import Clock, monotonic
from tidegate.core.backoff import Backoff
from tidegate.errors import EngineUnavailable, MissingExtra
from tidegate.system.commands import output

T = TypeVar("T")

DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
CALL_TIMEOUT_S, CONTEXT_TIMEOUT_S = 10.0, 10.0
AWAY = Backoff(first_s=0.5, longest_s=5.0)
"""For so long nothing more is asked of an engine that did not answer: whoever asks is told the same again."""
DO = "start Docker, or set DOCKER_HOST (or a docker context) to an engine that runs, and start the platform with it"
MAY_NOT = "let this user use it (a member of its group, often 'docker'), or set DOCKER_HOST to another"
BROKEN = 503
"""What an engine says while it ends; also 500, when the containerd below it is gone."""


def unavailable(address: str, why: str) -> EngineUnavailable:
    """The error for an engine that does not answer, with what to do about it."""
    todo = MAY_NOT if "permission denied" in why.lower() else DO
    return EngineUnavailable(f"no container engine answers at {address} ({why}): {todo}", address=address)


def address_of(env: Mapping[str, str]) -> str:
    """Where the docker command line would look too: DOCKER_HOST, the current context, the usual place."""
    if env.get("DOCKER_HOST"):
        return env["DOCKER_HOST"]
    try:
        asked = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        ran, printed = output(asked, env, CONTEXT_TIMEOUT_S)
    except FileNotFoundError:
        return DEFAULT_ADDRESS
    return (printed.strip() if ran.code == 0 else "") or DEFAULT_ADDRESS


class DockerEngine:
    """One engine, connected to when it is first asked. Safe to share between threads."""

    def __init__(self, address: Callable[[], str], clock: Clock = monotonic) -> None:
        self._find_address = address
        self._lock = threading.Lock()
        self._address: str | None = None
        self._client: Any = None
        self._outage = Outage(clock, AWAY)

    @property
    def address(self) -> str:
        """The engine's address, looked up once."""
        if self._address is None:
            self._address = self._find_address()
        return self._address

    def call(self, do: Callable[[Any], T]) -> T:
        """`do` with the SDK's low-level client. Raises `EngineUnavailable`, `MissingExtra`, and the SDK's `APIError`.

        After a call that got no answer, none is made for a moment: a loop that asks often is not held up each time.
        """
        self._outage.check()
        errors = _sdk().errors
        try:
            answer = do(self._connected())
        except errors.APIError as error:
            if _is_broken(error):
                raise self._failed(unavailable(self.address, str(error.explanation))) from error
            raise
        except (OSError, errors.DockerException) as error:  # of `requests`, all of whose errors are OSErrors
            raise self._failed(unavailable(self.address, _why(error))) from error
        except EngineUnavailable as error:
            raise self._failed(error) from error
        self._outage.over(f"the container engine at {self.address}")
        return answer

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        if not self.address.startswith("unix://"):
            raise self._elsewhere()
        sdk = _sdk()
        _knock(self.address.removeprefix("unix://"))
        client = sdk.APIClient(base_url=self.address, version="auto", timeout=CALL_TIMEOUT_S)
        if client.info()["KernelVersion"] != os.uname().release:
            raise self._elsewhere()
        return client

    def _elsewhere(self) -> EngineUnavailable:
        return EngineUnavailable(
            f"the container engine at {self.address} runs on another machine or in a virtual one, and replicas are "
            "reached through Unix sockets in a folder that both must see: set DOCKER_HOST to an engine of this machine "
            f"(for example {DEFAULT_ADDRESS}), or deploy with --backend local",
            address=self.address,
        )

    def _failed(self, fault: EngineUnavailable) -> EngineUnavailable:
        with self._lock:
            self._client = None  # the one that answers next may be another
        return self._outage.failed(fault)


def _knock(path: str) -> None:
    """Raises `OSError` where nothing listens: the SDK says it less plainly, and leaves its socket open."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(CALL_TIMEOUT_S)
        caller.connect(path)


def _sdk() -> Any:
    """Imported when containers are used: the base install does not have it."""
    try:
        return import_module("docker")
    except ModuleNotFoundError:
        raise MissingExtra(
            "running replicas as containers needs the docker library: pip install 'tidegate[docker]'"
        ) from None


def api_error() -> type[Exception]:
    """The SDK's error for what the engine refuses; has `status_code` and `explanation`."""
    try:
        found: type[Exception] = _sdk().errors.APIError
    except MissingExtra:  # then nothing raises it
        return EngineUnavailable
    return found


def _is_broken(error: Any) -> bool:
    """Whether it is the engine that fails, not what it was asked."""
    message = str(error.explanation or error).lower()
    return error.status_code == BROKEN or (
        error.status_code >= 500 and "containerd" in message and "connect" in message
    )


def _why(error: BaseException) -> str:
    """The system's own words at the bottom of the libraries' errors."""
    message = str(error)
    for words in ("No such file or directory", "Connection refused", "Permission denied", "timed out"):
        if words.lower() in message.lower():
            return words.lower()
    return message[:200]
