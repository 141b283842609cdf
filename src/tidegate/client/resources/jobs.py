"""`client.jobs`: looks at jobs and waits for them."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.client.registration.files import OnProgress
from tidegate.client.rest.api import Api
from tidegate.client.rest.lists import ListedJobs
from tidegate.client.rest.paging import Page, page_of
from tidegate.client.rest.paths import API, part
from tidegate.client.waiting import has_ended, poll, wait_for_job
from tidegate.errors import DeadlineExceeded
from tidegate.wire.rest import Job

TIMEOUT_S, CANCEL_TIMEOUT_S = 1800.0, 60.0


@dataclass(frozen=True)
class JobsClient:
    """Heavy work that the platform does: registering versions, building images."""

    api: Api

    def list(self, state: str | None = None, subject: str | None = None, limit: int | None = None) -> list[Job]:
        """Jobs, newest first: `limit` of them, 100 when not given, of one state if given: see `wire.rest.JobState`."""
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

    def cancel(self, job_id: str, *, wait: bool = True, timeout_s: float = CANCEL_TIMEOUT_S) -> Job:
        """End a job before it is done, and wait until what it made is undone; it is returned as it is then.

        A version that was registered when only faster forms were still tried stays. Raises `Conflict` for a job that
        has ended, `DeadlineExceeded` after `timeout_s`.
        """
        asked = self.api.send("POST", f"{API}/jobs/{part(job_id)}/cancel", {}, Job)
        if not wait:
            return asked
        job, ended = poll(lambda: self.get(job_id), has_ended, timeout_s)
        if not ended:
            raise DeadlineExceeded(f"job {job_id} was told to end and still runs after {timeout_s:g} s")
        return job

    def wait(self, job_id: str, timeout_s: float = TIMEOUT_S, on_progress: OnProgress | None = None) -> Job:
        """Wait for a job to end and return it; raises the error it ended with, `DeadlineExceeded` after `timeout_s`."""
        return wait_for_job(lambda: self.get(job_id), timeout_s, on_progress)
