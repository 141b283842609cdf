"""Users of jobs: one at a time has each, and what it runs ends with the job."""

from __future__ import annotations

import os

from tidegate.adapters.sandbox import job_users


def test_no_two_jobs_have_one_user_at_a_time_and_replicas_never_do() -> None:
    if os.getuid() != 0:
        return  # nobody else may become another user
    with job_users.of_job("same") as first, job_users.of_job("same") as second:
        assert first != second
    with job_users.of_job("same") as again:
        assert again == first
    assert job_users.of_replica("same") >= job_users.JOBS_FIRST + job_users.JOBS
