"""Tasks of a cluster as they are listed, page by page."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate import clock
from tidegate.adapters.ecs.client import AwsClient
from tidegate.adapters.ecs.tasks import PAGES_MAX, Tasks
from tidegate.errors import EngineUnavailable
from tidegate.settings import Settings

SERVICE = "tidegate-0a1b2c3d-churn-v1-abc"


class Crowded(AwsClient):
    """A cluster on which there are always more tasks, in the status `crowded`."""

    def __init__(self, crowded: str) -> None:
        super().__init__("eu-west-1")
        self.crowded = crowded
        self.pages = 0

    def call(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        if operation == "describe_tasks":
            return {"tasks": []}
        if request["desiredStatus"] != self.crowded:
            return {"taskArns": []}
        self.pages += 1
        return {"taskArns": [f"arn:aws:ecs:eu-west-1:1:task/shared/{self.pages}"], "nextToken": str(self.pages)}


@pytest.mark.parametrize("status", ["RUNNING", "STOPPED"])
def test_where_not_all_tasks_can_be_read_none_is_said_to_be_gone(status: str) -> None:
    client = Crowded(status)
    tasks = Tasks(client, Settings(ecs_cluster="shared"), "tidegate-0a1b2c3d-", clock.now)
    with pytest.raises(
        EngineUnavailable, match=r"cluster shared has more than 10000 tasks .*: use a cluster of its own"
    ):
        tasks.of_services([SERVICE])
    assert client.pages == PAGES_MAX


def test_nor_is_a_service_said_to_run_fewer_than_it_does() -> None:
    tasks = Tasks(Crowded("RUNNING"), Settings(ecs_cluster="shared"), "tidegate-0a1b2c3d-", clock.now)
    with pytest.raises(EngineUnavailable, match="more than 10000 tasks"):
        tasks.running(SERVICE)
