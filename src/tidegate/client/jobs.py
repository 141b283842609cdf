"""`client.jobs`: looks at jobs and waits for them."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.client.api import Api
from tidegate.client.files import OnProgress
from tidegate.client.lists import ListedJobs
from tidegate.client.paging import Page, page_of
from tidegate.client.paths import API, part
from tidegate.client.waiting import wait_for_job
from tidegate.wire.rest import Job

TIMEOUT_S = 1800.0


@dataclass(frozen=True)
class Jobs:
    """Heavy work that the platform does: registering versions, building images."""

    api: Api

    def list(self, state: str | None = None, subject: str | None = None, limit: int | None = None) -> list[Job]:
        """Jobs, newest first: `limit` of them, 100 when not given; `state` is queued, running, succeeded or failed."""
        return self.page(state, subject, limit).rows

    def page(
        self,
        state: str | None = None,
        subject: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Job]:
        """The same, page by page; `cursor` is `next` of the page before."""
        params = {"state": state, "subject": subject, "limit": limit, "cursor": cursor}
        return page_of(self.api, f"{API}/jobs", ListedJobs, "jobs", params)

    def get(self, job_id: str) -> Job:
        """One job. Raises `UnknownJob`."""
        return self.api.get(f"{API}/jobs/{part(job_id)}", Job)

    def wait(self, job_id: str, timeout_s: float = TIMEOUT_S, on_progress: OnProgress | None = None) -> Job:
        """Wait for a job to end and return it; raises the error it ended with, `DeadlineExceeded` after `timeout_s`."""
        return wait_for_job(lambda: self.get(job_id), timeout_s, on_progress)
