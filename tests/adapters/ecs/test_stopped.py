"""Why a task of ECS ended, as AWS's own messages say it, in our words."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.adapters.ecs.stopped import Blame, ended


def task(code: str, stopped: str, **container: Any) -> dict[str, Any]:
    return {
        "stopCode": code,
        "stoppedReason": stopped,
        "containers": [{"image": "r.example.com/churn@sha256:1", **container}],
    }


TIMED_OUT = (
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable "
    "to retrieve secrets from ssm: service call has been retried 5 time(s): RequestCanceled"
)


@pytest.mark.parametrize(
    ("seen", "blame", "said"),
    [
        (task("UserInitiated", "Task stopped by user"), Blame.ASKED, "as it was asked"),
        (
            task("ServiceSchedulerInitiated", "Scaling activity initiated by (deployment ecs-svc/1)", exitCode=0),
            Blame.ASKED,
            "as it was asked",
        ),
        (
            task("ServiceSchedulerInitiated", "Task failed container health checks in (service x)", exitCode=137),
            Blame.VERSION,
            "did not answer its health check",
        ),
        (task("SpotInterruption", "Your Spot Task was interrupted."), Blame.PLATFORM, "no room"),
        (task("TaskFailedToStart", "RESOURCE:ENI"), Blame.PLATFORM, "no room"),
        (
            task("TaskFailedToStart", "Capacity is unavailable at this time. Please try again later"),
            Blame.PLATFORM,
            "no room",
        ),
        (task("TaskFailedToStart", TIMED_OUT), Blame.PLATFORM, "TIDEGATE_ECS_KEY_PREFIX"),
        (
            task("TaskFailedToStart", "ResourceInitializationError: failed to validate logger args: ... log group"),
            Blame.PLATFORM,
            "TIDEGATE_ECS_LOG_GROUP",
        ),
        (
            task("TaskFailedToStart", "ResourceInitializationError: failed to configure ENI"),
            Blame.PLATFORM,
            "TIDEGATE_ECS_SUBNETS",
        ),
        (
            task(
                "TaskFailedToStart",
                "CannotPullContainerError: pull image manifest has been retried 5 time(s): dial tcp: i/o timeout",
            ),
            Blame.PLATFORM,
            "TIDEGATE_ECS_PUBLIC_IP=1",
        ),
        (
            task("TaskFailedToStart", "CannotPullContainerError: pull access denied, no basic auth credentials"),
            Blame.VERSION,
            "AmazonECSTaskExecutionRolePolicy",
        ),
        (
            task("TaskFailedToStart", "CannotPullContainerError: manifest unknown: not found"),
            Blame.VERSION,
            "is not in its registry",
        ),
        (
            task(
                "TaskFailedToStart",
                "CannotPullContainerError: image Manifest does not contain descriptor matching platform 'linux/amd64'",
            ),
            Blame.VERSION,
            "set TIDEGATE_ECS_ARCHITECTURE=ARM64",
        ),
        (
            task(
                "EssentialContainerExited", "Essential container in task exited", exitCode=1, reason="exec format error"
            ),
            Blame.VERSION,
            "another processor",
        ),
        (
            task(
                "EssentialContainerExited",
                "Essential container in task exited",
                exitCode=137,
                reason="OutOfMemoryError: Container killed due to memory usage",
            ),
            Blame.VERSION,
            "its limit is 1024 MiB (deploy with more --memory)",
        ),
        (task("", ""), Blame.VERSION, "does not say"),
    ],
)
def test_what_aws_says_has_somebody_to_blame_and_a_fix(seen: dict[str, Any], blame: Blame, said: str) -> None:
    found = ended(seen, "X86_64", 1024)
    assert found.blame is blame
    assert said in found.why


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 3), (137, -9), (143, -15), (None, None)])
def test_exit_codes_are_those_of_processes(code: int | None, expected: int | None) -> None:
    container = {} if code is None else {"exitCode": code}
    assert (
        ended(task("EssentialContainerExited", "Essential container in task exited", **container), "X86_64").exit_code
        == expected
    )
