from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from tidegate.cli.platform.jobs import jobs
from tidegate.client.resources.jobs import JobsClient
from tidegate.wire.rest import Job


def job(state: Any) -> Job:
    return Job("4f9c2d", "register", state, 0.5, f"{state} by anna", "churn", cancelled_by="anna")


def test_one_job_is_shown_with_and_without_a_verb_and_cancelled_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    def cancel(self: JobsClient, job_id: str, *, wait: bool) -> Job:
        waits.append(wait)
        return job("cancelled")

    monkeypatch.setattr(JobsClient, "get", lambda self, job_id: job("running"))
    monkeypatch.setattr(JobsClient, "cancel", cancel)
    ran = CliRunner()
    for words in (["4f9c2d"], ["show", "4f9c2d"]):
        assert "running by anna" in ran.invoke(jobs, [*words, "--url", "http://127.0.0.1:9"]).output
    assert "register churn cancelled" in ran.invoke(jobs, ["cancel", "4f9c2d", "--url", "http://127.0.0.1:9"]).output
    ran.invoke(jobs, ["cancel", "4f9c2d", "--no-wait", "--url", "http://127.0.0.1:9"])
    assert waits == [True, False]
    for wrong in (["cancel"], ["show"], ["cancel", "a", "b"], ["a", "b"]):
        assert ran.invoke(jobs, wrong).exit_code == 2
