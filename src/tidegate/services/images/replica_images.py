"""Has the build job make the images that replicas start from, for the Docker backend and for engines elsewhere."""

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
AGAIN_S, PUSHED_AGAIN_S = 15.0, 60.0
PASSING = {"engine_unavailable": AGAIN_S, "disk_full": AGAIN_S, "image_push_failed": PUSHED_AGAIN_S}
"""Why a build may fail that is nothing of the version's, and after how many seconds it is built again."""


@dataclass(frozen=True)
class _Asked:
    """A build, and who waits for it: a replica, or all workloads of the same version and request."""

    by: str
    model: str
    version: str
    request: rest.BuildRequest


@dataclass
class ReplicaImages:
    """One build of a version at a time, whoever asked for it. `jobs` writes as the leader, or not at all."""

    jobs: Jobs
    clock: Clock = monotonic
    _asked: OrderedDict[str, str] = field(default_factory=OrderedDict)  # who waits → job
    _again: OrderedDict[tuple[str, str], tuple[float, str]] = field(default_factory=OrderedDict)  # version → when, why

    def make(self, spec: ReplicaSpec) -> None:
        """There is no image: raises `ImagePending` until there should be one, or the reason why there will be none."""
        self._made(_Asked(spec.id, spec.model, spec.version, rest.BuildRequest()))

    def push(self, model: str, version: str, request: rest.BuildRequest) -> bool:
        """No registry has an image of it: as `make`, and says then whether the build pushed one."""
        job = self._made(_Asked(f"{model}:{version} {request}", model, version, request))
        return bool((job.result or {}).get("pushed"))

    def _made(self, asked: _Asked) -> rest.Job:
        job = self._job(asked)
        if job.state in ("queued", "running"):
            raise ImagePending(
                f"waits for its image: job {job.id} builds it, and 'tidegate jobs {job.id}' shows how far it is"
            )
        del self._asked[asked.by]
        if job.state == "failed":
            raise self._failure(asked, job)
        return job

    def _job(self, asked: _Asked) -> rest.Job:
        """The build that is waited for: the one that was asked for, one that is under way, or a new one."""
        try:
            if asked.by in self._asked:
                return self.jobs.get(self._asked[asked.by])
        except UnknownJob:  # forgotten by now
            pass
        self._pause(asked)
        job = self.jobs.building(asked.model, asked.version) or self.jobs.build(
            asked.model, asked.version, asked.request, part_of_platform("replicas")
        )
        self._asked[asked.by] = job.id
        while len(self._asked) > ASKED_MAX:
            self._asked.popitem(last=False)
        return job

    def _pause(self, asked: _Asked) -> None:
        retry_at, why = self._again.get((asked.model, asked.version), (0.0, ""))
        if self.clock() < retry_at:
            raise ImagePending(why)
        self._again.pop((asked.model, asked.version), None)

    def _failure(self, asked: _Asked, job: rest.Job) -> TidegateError:
        body = job.error or {}
        code, cause = str(body.get("code", "")), str(body.get("error") or job.message)
        if code not in PASSING:
            return by_code(code)(f"its image could not be built (job {job.id}): {cause}")
        why = f"waits for its image, which is built again in a moment: job {job.id} failed: {cause}"
        self._again[asked.model, asked.version] = self.clock() + PASSING[code], why
        while len(self._again) > ASKED_MAX:
            self._again.popitem(last=False)
        return ImagePending(why)
