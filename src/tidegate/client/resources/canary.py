"""`client.canary`: takes a version through steps of the traffic, and tells how that goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

from tidegate.client.resources.options import ReadOptions, as_read
from tidegate.client.rest.api import Api
from tidegate.client.rest.paths import API, part
from tidegate.client.waiting import poll
from tidegate.errors import DeadlineExceeded
from tidegate.wire.experiments.canary import CanaryRequest, CanaryView

STEPS = (1.0, 5.0, 25.0, 50.0, 100.0)


class CanaryOptions(ReadOptions, total=False):
    """How a canary goes: seconds for each step, guardrails, and what it may do. See `CanaryRequest`."""

    every_s: float
    guardrails: list[str]
    accept_signature_change: bool
    end_automation: bool


@dataclass(frozen=True)
class CanaryClient:
    """`client.canary`."""

    api: Api

    def begin(
        self, endpoint: str, version: str | int, steps: Sequence[float] = STEPS, **options: Unpack[CanaryOptions]
    ) -> CanaryView:
        """Take a version through `steps` (percent, the last 100), each for `every_s` (600) and on evidence.

            client.canary.begin("churn", 2)
            client.canary.begin("churn", 2, [10, 50, 100], every_s=60, guardrails=["latency:max=80"])

        Raises `Conflict`, `AutomationRunning`, `SignatureChanged`, `UnknownVersion`, `InvalidArgument`.
        """
        given = {name: value for name, value in options.items() if name != "only_if"}
        request = CanaryRequest(version=str(version), steps=list(steps), **given)  # type: ignore[arg-type] # as typed above
        return self.api.send("POST", _path(endpoint), request, CanaryView, as_read(options))

    def get(self, endpoint: str) -> CanaryView:
        """The endpoint's newest canary, or guard of a deployment. Raises `UnknownCanary`."""
        return self.api.get(_path(endpoint), CanaryView)

    def pause(self, endpoint: str, **how: Unpack[ReadOptions]) -> CanaryView:
        """Stay at the present step; guardrails are watched on. Raises `Conflict` where none runs, as do the others."""
        return self._do(endpoint, "pause", how)

    def resume(self, endpoint: str, **how: Unpack[ReadOptions]) -> CanaryView:
        """Go on from the present step."""
        return self._do(endpoint, "resume", how)

    def promote(self, endpoint: str, **how: Unpack[ReadOptions]) -> CanaryView:
        """Give the version all of the traffic now."""
        return self._do(endpoint, "promote", how)

    def abort(self, endpoint: str, **how: Unpack[ReadOptions]) -> CanaryView:
        """Give stable all of the traffic again."""
        return self._do(endpoint, "abort", how)

    def retry(self, endpoint: str, **how: Unpack[ReadOptions]) -> CanaryView:
        """Begin the newest canary anew. Raises `Conflict` while one runs."""
        return self._do(endpoint, "retry", how)

    def wait(self, endpoint: str, timeout_s: float = 86_400.0) -> CanaryView:
        """Wait until it has ended: "promoted", "aborted", "failed" or "ended". Raises `DeadlineExceeded`."""
        found, done = poll(lambda: self.get(endpoint), lambda one: one.ended_at is not None, timeout_s)
        if not done:
            raise DeadlineExceeded(f"the canary of endpoint {endpoint!r} still runs after {timeout_s:g} s")
        return found

    def _do(self, endpoint: str, verb: str, how: ReadOptions) -> CanaryView:
        return self.api.send("POST", f"{_path(endpoint)}/{verb}", {}, CanaryView, as_read(how))


def _path(endpoint: str) -> str:
    return f"{API}/endpoints/{part(endpoint)}/canary"
