"""The tasks of a platform's services on a cluster, and the ends of those that are over. Called by `ecs.workloads`."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.adapters.ecs import reading
from tidegate.adapters.ecs.client import AwsClient, AwsRefusal
from tidegate.adapters.ecs.definition import CONTAINER
from tidegate.adapters.ecs.stopped import Blame, StoppedTask, ended
from tidegate.clock import Clock
from tidegate.core.workloads import Instance
from tidegate.errors import EngineUnavailable
from tidegate.settings import Settings

log = logging.getLogger(__name__)

TASKS_A_CALL, TASKS_A_PAGE, PAGES_MAX = 100, 100, 100
DEAD_SHOWN_S = 120.0
"""For so long a task is shown that ended by itself: whoever looks less often does not hear of it."""
ENDS_KEPT, STRANGERS_KEPT = 1000, 10_000
TAIL_LINES, LOG_LINES_MAX = 20, 10_000
LOGS_LATE_S = 20.0
"""CloudWatch has the last lines of a task within so long."""


@dataclass(frozen=True)
class FoundTask:
    """A task as AWS describes it; `end` where it is over, with its last lines."""

    facts: reading.Facts
    service: str
    end: StoppedTask | None = None
    lines: tuple[str, ...] = ()

    @property
    def instance(self) -> Instance:
        """As the port has it."""
        if self.end is None:
            return reading.living(self.facts, self.service)
        return reading.dead(self.facts, self.service, self.end, self.lines)

    @property
    def platforms_fault(self) -> str:
        """Why the platform or AWS ended it, which is not held against the version; "" for any other end."""
        return self.end.why if self.end is not None and self.end.blame is Blame.PLATFORM else ""


class Tasks:
    """Tasks on one cluster, listed as a whole: a call for a hundred, and none again for those of others or over."""

    def __init__(self, client: AwsClient, settings: Settings, prefix: str, clock: Clock) -> None:
        """`prefix` is what the names of this platform's services begin with."""
        self._client, self._settings, self._prefix, self._now = client, settings, prefix, clock
        self._ends: OrderedDict[str, FoundTask] = OrderedDict()
        self._strangers: OrderedDict[str, None] = OrderedDict()

    def of_services(self, names: Collection[str]) -> list[FoundTask]:
        """All that run, and those that ended lately. Raises `EngineUnavailable`."""
        arns = [*self._listed("RUNNING"), *self._listed("STOPPED")] if names else []
        arns = list(dict.fromkeys(arns))
        known: list[FoundTask | None] = [self._ends[arn] for arn in arns if arn in self._ends]
        new = [arn for arn in arns if arn not in self._ends and arn not in self._strangers]
        every = [*known, *(self._found(task, names) for task in self._described(new))]
        return [one for one in every if one is not None and one.service in names and self._is_shown(one)]

    def running(self, service: str) -> list[reading.Facts]:
        """The tasks of one service that are to run. Raises `EngineUnavailable`."""
        arns = self._listed("RUNNING", serviceName=service)
        return [task for task in self._described(list(arns)) if not reading.is_leaving(task)]

    def logs(self, service: str, task: str, lines_max: int) -> list[str]:
        """The last lines that CloudWatch has. Raises `EngineUnavailable`."""
        stream = f"{service}/{CONTAINER}/{task}"
        try:
            answer = self._client.call(
                "logs",
                "get_log_events",
                logGroupName=self._settings.ecs_log_group,
                logStreamName=stream,
                limit=max(1, min(lines_max, LOG_LINES_MAX)),
                startFromHead=False,
            )
        except AwsRefusal as refusal:
            log.debug("no log %s: %s", stream, refusal)
            return []
        return [str(event.get("message", "")) for event in answer.get("events", ())][-lines_max:]

    def why_ended(self, task: str) -> str:
        """Why ECS says a task ended that is over; "" where that is not known, or not any more."""
        found = next((one for arn, one in self._ends.items() if reading.id_of(arn) == task), None)
        return found.end.why if found is not None and found.end is not None else ""

    def _listed(self, status: str, **further: str) -> Iterator[str]:
        request: dict[str, Any] = {"cluster": self._settings.ecs_cluster, "desiredStatus": status, **further}
        for _page in range(PAGES_MAX):
            answer = self._ask("list_tasks", **request)
            yield from (str(arn) for arn in answer.get("taskArns", ()))
            if not answer.get("nextToken"):
                return
            request["nextToken"] = answer["nextToken"]
        raise EngineUnavailable(
            f"cluster {self._settings.ecs_cluster} has more than {TASKS_A_PAGE * PAGES_MAX} tasks that are "
            f"{status.lower()}, too many to be read: use a cluster of its own"
        )

    def _described(self, arns: Sequence[str]) -> Iterator[dict[str, Any]]:
        cluster = self._settings.ecs_cluster
        for first in range(0, len(arns), TASKS_A_CALL):
            some = list(arns[first : first + TASKS_A_CALL])
            yield from self._ask("describe_tasks", cluster=cluster, tasks=some, include=["TAGS"]).get("tasks", ())

    def _ask(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return self._client.call("ecs", operation, **request)
        except AwsRefusal as refusal:
            raise EngineUnavailable(f"ECS does not say what runs ({refusal.message}): {SETTING}") from refusal

    def _found(self, task: dict[str, Any], names: Collection[str]) -> FoundTask | None:
        service, arn = reading.service_of(task), str(task["taskArn"])
        if service not in names and service.startswith(self._prefix):
            return None  # of a service that is gone, or not listed yet
        if service not in names:
            self._strangers[arn] = None
            while len(self._strangers) > STRANGERS_KEPT:
                self._strangers.popitem(last=False)
            return None
        if not reading.is_over(task):
            return FoundTask(task, service)
        return self._over(arn, task, service)

    def _over(self, arn: str, task: dict[str, Any], service: str) -> FoundTask:
        limit = str(task.get("memory", ""))
        end = ended(task, self._settings.ecs_architecture, int(limit) if limit.isdecimal() else None)
        lines: list[str] = []
        if end.blame is Blame.VERSION and end.exit_code is not None:
            lines = self._last_lines(service, reading.id_of(arn))
        found = FoundTask(task, service, end, tuple(lines))
        if lines or end.exit_code is None or self._now() - _ended_s(task) > LOGS_LATE_S:
            self._ends[arn] = found
            while len(self._ends) > ENDS_KEPT:
                self._ends.popitem(last=False)
        return found

    def _last_lines(self, service: str, task: str) -> list[str]:
        """None while CloudWatch does not answer: what runs is known all the same."""
        try:
            return self.logs(service, task, TAIL_LINES)
        except EngineUnavailable as error:
            log.debug("the log of task %s is not there: %s", task, error)
            return []

    def _is_shown(self, found: FoundTask) -> bool:
        """One that was asked to end is no news once it has."""
        if found.end is None:
            return True
        return found.end.blame is not Blame.ASKED and self._now() - _ended_s(found.facts) < DEAD_SHOWN_S


SETTING = "is TIDEGATE_ECS_CLUSTER right?"


def _ended_s(task: reading.Facts) -> float:
    return max(reading.seconds(task.get(name)) for name in ("stoppedAt", "stoppingAt", "executionStoppedAt"))
