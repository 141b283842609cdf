"""Options that several of the client's verbs share."""

from __future__ import annotations

from typing import TypedDict

from tidegate.client.registration.files import OnProgress
from tidegate.client.registration.request import RegisterOptions
from tidegate.core.endpoints.serving import ServingOptions
from tidegate.wire.endpoints.tags import tag_of
from tidegate.wire.rest import Endpoint


class ReadOptions(TypedDict, total=False):
    """With `only_if`, the endpoint as it was read (or its tag), nothing is changed where somebody else did since:
    `ChangedMeanwhile`.
    """

    only_if: Endpoint | str | None


class WaitOptions(ReadOptions, total=False):
    """How a change is awaited: not at all (`wait=False`), or up to `timeout_s`, calling `on_progress` meanwhile."""

    wait: bool
    timeout_s: float
    on_progress: OnProgress | None


def as_read(how: ReadOptions) -> dict[str, str]:
    """The If-Match header."""
    read = how.get("only_if")
    if read is None:
        return {}
    return {"If-Match": read if isinstance(read, str) else tag_of(read)}


class ChangeOptions(WaitOptions, total=False):
    """With `accept_signature_change`, also a version that clients of the live one cannot go on to use as they do; with
    `end_automation`, also while an experiment, canary or bandit sets the weights, which ends.
    """

    accept_signature_change: bool
    end_automation: bool


class ApplyOptions(TypedDict, total=False):
    """As in `ChangeOptions` and `DeployOptions`, for several endpoints at once."""

    wait: bool
    timeout_s: float
    on_progress: OnProgress | None
    accept_signature_change: bool
    end_automation: bool
    guard: bool


class DeployOptions(ChangeOptions, ServingOptions, total=False):
    """`guard` (True) has the version watched for a while, and taken back when it fails, hangs or answers NaN.

    Where replicas run (`local`, `docker`, `kubernetes`, `ecs`, `cloudrun`), the limits of each container (0: none),
    what is kept free for each on Kubernetes (0: as it has it), and how the change is awaited.

    How it is served is in `ServingOptions`: for how long answers are kept, how many requests a client may send.
    `registration` is how a version is registered that only the registry has yet.
    """

    guard: bool
    backend: str | None
    cpus: float | None
    memory_bytes: int | None
    cpu_request: float | None
    memory_request_bytes: int | None
    registration: RegisterOptions | None


class ScaleOptions(WaitOptions, total=False):
    """Bounds and target (`concurrency=X`, `rps=X`, `cpu=X`) of an autoscaled endpoint, and the windows that its load is
    looked at over. With a `min` of 0 it sleeps after `idle_s` without a request. `autoscaler` is `tidegate`, or
    `engine` where the engine counts the replicas itself: it takes no windows and no `idle_s`.
    """

    min: int | None
    max: int | None
    target: str | None
    stable_s: float | None
    panic_s: float | None
    down_s: float | None
    idle_s: float | None
    autoscaler: str | None
