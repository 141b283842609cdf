"""Has the build job make the images that containers start from. Called by the Docker backend, in the reconcile loop."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from tidegate.clock import Clock, monotonic
from tidegate.core.access import part_of_platform
from tidegate.core.ports import ReplicaSpec
from tidegate.errors import ImagePending, TidegateError, UnknownJob
from tidegate.errors.codes import by_code
from tidegate.services.jobs.queue import Jobs
from tidegate.wire import rest

ASKED_MAX = 1000
AGAIN_S = 15.0
PASSING = ("engine_unavailable", "disk_full")
"""Why a build may fail that is nothing of the version's: it is built again after `AGAIN_S`."""


@dataclass
class ReplicaImages:
    """One build of a version at a time, whoever asked for it. `jobs` writes as the leader, or not at all."""

    jobs: Jobs
    clock: Clock = monotonic
    _asked: OrderedDict[str, str] = field(default_factory=OrderedDict)  # replica → job
    _again: OrderedDict[tuple[str, str], tuple[float, str]] = field(default_factory=OrderedDict)  # version → when, why

    def make(self, spec: ReplicaSpec) -> None:
        """There is no image: raises `ImagePending` until there should be one, or the reason why there will be none."""
        job = self._job(spec)
        if job.state in ("queued", "running"):
            raise ImagePending(
                f"waits for its image: job {job.id} builds it, and 'tidegate jobs {job.id}' shows how far it is"
            )
        del self._asked[spec.id]
        if job.state == "failed":
            raise self._failure(spec, job)

    def _job(self, spec: ReplicaSpec) -> rest.Job:
        """The build that this replica waits for: the one that was asked for, one that is under way, or a new one."""
        try:
            if spec.id in self._asked:
                return self.jobs.get(self._asked[spec.id])
        except UnknownJob:  # forgotten by now
            pass
        self._pause(spec)
        job = self.jobs.building(spec.model, spec.version) or self.jobs.build(
            spec.model, spec.version, rest.BuildRequest(), part_of_platform("replicas")
        )
        self._asked[spec.id] = job.id
        while len(self._asked) > ASKED_MAX:
            self._asked.popitem(last=False)
        return job

    def _pause(self, spec: ReplicaSpec) -> None:
        retry_at, why = self._again.get((spec.model, spec.version), (0.0, ""))
        if self.clock() < retry_at:
            raise ImagePending(why)
        self._again.pop((spec.model, spec.version), None)

    def _failure(self, spec: ReplicaSpec, job: rest.Job) -> TidegateError:
        body = job.error or {}
        code, cause = str(body.get("code", "")), str(body.get("error") or job.message)
        if code not in PASSING:
            return by_code(code)(f"its image could not be built (job {job.id}): {cause}")
        why = f"waits for its image, which is built again in a moment: job {job.id} failed: {cause}"
        self._again[spec.model, spec.version] = self.clock() + AGAIN_S, why
        while len(self._again) > ASKED_MAX:
            self._again.popitem(last=False)
        return ImagePending(why)
