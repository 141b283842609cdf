"""`client.jobs`: looks at jobs and waits for them."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.client.api import Api
from tidegate.client.files import OnProgress
from tidegate.client.lists import ListedJobs
from tidegate.client.paths import API, part
from tidegate.client.waiting import wait_for_job
from tidegate.wire.rest import Job

TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Jobs:
    """Heavy work that the platform does: registering versions, building images."""

    api: Api

    def list(self, state: str | None = None, subject: str | None = None, limit: int | None = None) -> list[Job]:
        """Jobs, newest first; `state` is queued, running, succeeded or failed."""
        params = {"state": state, "subject": subject, "limit": limit}
        return self.api.get(f"{API}/jobs", ListedJobs, params)["jobs"]

    def get(self, job_id: str) -> Job:
        """One job. Raises `UnknownJob`."""
        return self.api.get(f"{API}/jobs/{part(job_id)}", Job)

    def wait(self, job_id: str, timeout_s: float = TIMEOUT_S, on_progress: OnProgress | None = None) -> Job:
        """Wait for a job to end and return it; raises the error it ended with, `DeadlineExceeded` after `timeout_s`."""
        return wait_for_job(lambda: self.get(job_id), timeout_s, on_progress)
