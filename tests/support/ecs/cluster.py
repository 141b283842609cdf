"""The cluster's scheduler: starts, watches, ends and replaces tasks as ECS does, only sooner."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.ecs.replicas import Image, Process, new_address
from support.ecs.state import Definition, Deployment, Service, Task
from tidegate import clock

TICK_S = 0.05
BREAKER_DEFAULT = 3
START_BACKOFF_S = 0.2
NO_CAPACITY = "Capacity is unavailable at this time. Please try again later or in a different availability zone"
NO_LOG_GROUP = (
    "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to "
    "create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist."
)
NOT_PLACED = (
    "was unable to place a task because no container instance met all of its requirements. The closest matching "
    "container-instance 0123456789abcdef has insufficient memory available."
)


class Cluster:
    """All state, under one lock; `tick` runs in a thread of its own until `close`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.images: dict[str, Image] = {}
        self.definitions: dict[str, list[Definition]] = {}
        self.services: dict[str, Service] = {}
        self.tasks: list[Task] = []
        self.parameters: dict[str, str] = {}
        self.is_full = False
        self.log_groups = {"/ecs/tidegate"}
        self.started = 0
        self._folder = tempfile.TemporaryDirectory(prefix="fake-ecs-")
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="fake-ecs")
        self._thread.start()

    def close(self) -> None:
        """End every process that it started."""
        self._ended.set()
        self._thread.join()
        with self.lock:
            for task in self.tasks:
                if task.process is not None:
                    task.process.end()
        self._folder.cleanup()

    @contextmanager
    def full(self) -> Iterator[None]:
        """No room for a further task, for as long."""
        self.is_full = True
        try:
            yield
        finally:
            self.is_full = False

    def living(self, service: Service) -> list[Task]:
        """Tasks that shall run."""
        return [task for task in self.tasks if task.service is service and task.desired == "RUNNING"]

    def stop(self, task: Task, code: str, reason: str) -> None:
        """Tell a task to end."""
        if task.desired == "STOPPED":
            return
        task.desired, task.stop_code, task.reason = "STOPPED", code, reason
        task.stopping_s = clock.now()
        if task.process is not None and task.exit_code is None:
            task.status = "STOPPING"
            task.process.signal(signal.SIGTERM)

    # -- the scheduler -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ended.wait(TICK_S):
            probed = self._probed()
            with self.lock:
                for task in self.tasks:
                    self._step(task, probed)
                for service in self.services.values():
                    self._schedule(service)

    def _probed(self) -> dict[str, bool]:
        """Health checks, made without the lock."""
        with self.lock:
            running = [task for task in self.tasks if task.status == "RUNNING" and task.process is not None]
        return {task.id: task.process.is_ready() for task in running if task.process is not None}

    def _step(self, task: Task, probed: dict[str, bool]) -> None:
        """One step of a task's life."""
        if task.is_over:
            return
        if task.process is not None:
            task.exit_code = task.process.exit_code()
        if task.desired == "STOPPED":
            self._step_to_end(task)
        elif task.status == "PROVISIONING":
            task.status = "PENDING"
        elif task.status == "PENDING":
            self._start(task)
        elif task.exit_code is not None:
            code, why = "EssentialContainerExited", "Essential container in task exited"
            if task.exit_code == 137:
                task.container_reason = "OutOfMemoryError: Container killed due to memory usage"
            self._fail(task, code, why)
        elif task.id in probed:
            self._judge(task, is_ready=probed[task.id])

    def _step_to_end(self, task: Task) -> None:
        if task.process is not None and task.exit_code is None:
            grace_s = float(task.container.get("stopTimeout", 30))
            if clock.now() - (task.stopping_s or 0.0) > grace_s:
                task.process.signal(signal.SIGKILL)
            return
        if task.process is not None:
            task.process.end()
        task.status, task.stopped_s, task.health = "STOPPED", clock.now(), "UNKNOWN"

    def _start(self, task: Task) -> None:
        container = task.container
        image = self.images.get(container["image"])
        if image is None:
            why = f"failed to resolve reference {container['image']}: {container['image']}: not found"
            self._fail(task, "TaskFailedToStart", f"CannotPullContainerError: {why}")
            return
        content = task.deployment.definition.content
        if image.architecture != content.get("runtimePlatform", {}).get("cpuArchitecture", "X86_64"):
            why = "image Manifest does not contain descriptor matching platform 'linux/amd64'"
            self._fail(task, "TaskFailedToStart", f"CannotPullContainerError: {why}")
            return
        if container["logConfiguration"]["options"]["awslogs-group"] not in self.log_groups:
            self._fail(task, "TaskFailedToStart", NO_LOG_GROUP)
            return
        env = {one["name"]: one["value"] for one in container.get("environment", ())}
        env |= {one["name"]: self.parameters[one["valueFrom"]] for one in container.get("secrets", ())}
        task.process = Process(image, container, env, task.ip, Path(self._folder.name) / f"{task.id}.log")
        task.status, task.started_s = "RUNNING", clock.now()
        self.started += 1

    def _judge(self, task: Task, *, is_ready: bool) -> None:
        check = task.container["healthCheck"]
        if is_ready:
            task.health = "HEALTHY"
            task.deployment.failed = 0
            return
        silent_s = clock.now() - (task.started_s or 0.0)
        if task.health == "UNKNOWN" and silent_s > check["startPeriod"] + check["interval"] * check["retries"]:
            task.health = "UNHEALTHY"
            why = f"Task failed container health checks in (service {task.service.name})"
            self._fail(task, "ServiceSchedulerInitiated", why)

    def _fail(self, task: Task, code: str, why: str) -> None:
        self.stop(task, code, why)
        deployment = task.deployment
        deployment.failed_in_all += 1
        deployment.start_after_s = clock.now() + START_BACKOFF_S * min(8, deployment.failed_in_all)
        if deployment.rollout == "IN_PROGRESS":
            deployment.failed += 1

    def _schedule(self, service: Service) -> None:
        living = self.living(service)
        if service.status != "ACTIVE":
            for task in living:
                self.stop(
                    task, "ServiceSchedulerInitiated", f"Scaling activity initiated by (deployment {service.name})"
                )
            if all(task.is_over for task in self.tasks if task.service is service):
                service.status = "INACTIVE"
            return
        deployment = service.primary
        self._break(service, deployment)
        new = [task for task in living if task.deployment is deployment]
        healthy = [task for task in new if task.health == "HEALTHY"]
        if deployment.rollout != "FAILED" and clock.now() >= deployment.start_after_s:
            for _one in range(service.desired - len(new)):
                self._place(service, deployment)
        self._shrink(service, new)
        old = [task for task in living if task.deployment is not deployment]
        if len(healthy) >= service.desired:
            for task in old:
                self._end_of(task, deployment)
            if deployment.rollout == "IN_PROGRESS" and not old:
                deployment.rollout, deployment.reason = "COMPLETED", "ECS deployment completed."
                service.deployments = [deployment]
                service.say("has reached a steady state.")

    def _break(self, service: Service, deployment: Deployment) -> None:
        breaker = service.request["deploymentConfiguration"].get("deploymentCircuitBreaker", {})
        threshold = breaker.get("thresholdConfiguration", {}).get("value", BREAKER_DEFAULT)
        if breaker.get("enable") and deployment.rollout == "IN_PROGRESS" and deployment.failed >= threshold:
            deployment.rollout, deployment.updated_s = "FAILED", clock.now()
            deployment.reason = f"ECS deployment circuit breaker: tasks failed to start ({deployment.failed})."
            service.say(f"(deployment {deployment.id}) deployment failed: tasks failed to start.")

    def _place(self, service: Service, deployment: Deployment) -> None:
        task = Task(service, deployment, new_address())
        if service.request.get("propagateTags") == "SERVICE":
            task.tags = list(service.tags)
        if self.is_full:
            if service.request.get("launchType") == "EC2":
                service.say(NOT_PLACED)
                deployment.start_after_s = clock.now() + 1.0
                return
            self.tasks.append(task)
            self._fail(task, "TaskFailedToStart", NO_CAPACITY)
            deployment.failed -= 1
            return
        self.tasks.append(task)
        service.say(f"has started 1 tasks: (task {task.id}).")

    def _shrink(self, service: Service, living: list[Task]) -> None:
        """The oldest that nobody protects: the very ones that a gateway would rather keep."""
        now = clock.now()
        free = sorted((task for task in living if task.protected_until_s < now), key=lambda task: task.created_s)
        for task in free[: max(0, len(living) - service.desired)]:
            self._end_of(task, service.primary)

    def _end_of(self, task: Task, deployment: Deployment) -> None:
        if task.protected_until_s < clock.now():
            self.stop(task, "ServiceSchedulerInitiated", f"Scaling activity initiated by (deployment {deployment.id})")
