"""Engine `ecs`: each workload a service of AWS ECS, each replica a task. Implements `core.workloads.Workloads`.

Nothing is remembered that matters: a service's tags say which workload it is and under which lease it was written. ECS
has no precondition on a write, so the lease is compared just before one, and whoever lost it meanwhile is late by the
length of a call at most.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec

from tidegate import clock
from tidegate.adapters.ecs import definition as d
from tidegate.adapters.ecs import reading
from tidegate.adapters.ecs.choosing import begins_anew, change_of
from tidegate.adapters.ecs.client import AwsClient, AwsRefusal, require_boto3
from tidegate.adapters.ecs.services import Services
from tidegate.adapters.ecs.tasks import FoundTask, Tasks
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.images.pull_secret import of_aws
from tidegate.core.ports import Handle
from tidegate.core.workloads import Instance, WorkloadKey, WorkloadSpec, WorkloadState
from tidegate.errors import EngineUnavailable, InvalidArgument, ModelCrashed, NotLeader
from tidegate.settings import Settings
from tidegate.wire.replicas.manifest import Manifest, read_manifest

log = logging.getLogger(__name__)

Deliver = Callable[[WorkloadSpec], Delivery]
STOPPED_BY = "Tidegate: no gateway uses it any more"
ACTIVE = "ACTIVE"


class EcsWorkloads:
    """Runs replicas as tasks of services on one cluster."""

    name = d.NAME
    looks_every_s = 2.0

    def __init__(
        self,
        settings: Settings,
        platform: str,
        deliver: Deliver,
        key_of: Callable[[str], str],
        *,
        env: Mapping[str, str],
        client: AwsClient | None = None,
    ) -> None:
        """`key_of` works out a replica's key from the name of its credential."""
        self._settings, self._platform = settings, platform
        self._deliver, self._key_of, self._env = deliver, key_of, env
        self._client = client or AwsClient(settings.aws_region)
        self._services = Services(self._client, settings)
        self._tasks = Tasks(self._client, settings, d.prefix_of(platform), clock.now)
        self._protected: dict[str, tuple[str, ...]] = {}  # by service: what may be let go of once it has shrunk

    # -- the port ------------------------------------------------------------------------------------------------------

    def check(self, placement: Placement) -> None:
        """Whether tasks could be started: settings, sizes, credentials, the cluster."""
        require_boto3()
        check_settings(self._settings)
        d.size_of(placement, self._settings)
        d.stop_s(self._settings)
        cluster = self._settings.ecs_cluster
        try:
            found = self._client.call("ecs", "describe_clusters", clusters=[cluster]).get("clusters", [])
        except AwsRefusal as refusal:
            raise EngineUnavailable(f"ECS does not know cluster {cluster!r} ({refusal.message})") from refusal
        status = found[0].get("status") if found else "not there"
        if status != ACTIVE:
            make = f"aws ecs create-cluster --cluster-name {reading.id_of(cluster)}"
            raise EngineUnavailable(
                f"the ECS cluster {cluster!r} in {self._client.region} is {str(status).lower()}: make it ({make}), or "
                "correct TIDEGATE_ECS_CLUSTER or AWS_REGION"
            )

    def unavailable_reason(self) -> str | None:
        """What the last call came to; nothing is asked for it."""
        return self._client.fault

    def apply(self, spec: WorkloadSpec) -> None:
        """See the port."""
        name = d.workload_name(self._platform, spec.key)
        if spec.scaling is not None:
            raise InvalidArgument(
                "on ECS it is Tidegate that sets how many replicas run: use --autoscaler tidegate", field="autoscaler"
            )
        found = self._services.find(name)
        if found is None:
            self._create(name, spec)
            return
        self._fence(found, spec.key, spec.token)
        if found.get("status") != ACTIVE:
            raise EngineUnavailable(f"ECS still ends the older service {name}: it is tried again")
        self._mend(name, found, spec)
        self._resize(name, found, spec)

    def observe(self) -> list[WorkloadState]:
        """See the port."""
        keys: dict[str, WorkloadKey] = {}
        services: dict[str, reading.Facts] = {}
        for service in self._services.named(d.prefix_of(self._platform)):
            key = reading.workload_of(service, d.PLATFORM, self._platform)
            if key is not None:
                name = str(service["serviceName"])
                keys[name], services[name] = key, service
        tasks: defaultdict[str, list[FoundTask]] = defaultdict(list)
        for task in self._tasks.of_services(services.keys()):
            tasks[task.service].append(task)
        states = [self._state(keys[name], service, tasks[name]) for name, service in services.items()]
        return [state for state in states if state is not None]

    def delete(self, key: WorkloadKey, token: int) -> None:
        """See the port."""
        name = d.workload_name(self._platform, key)
        found = self._services.find(name)
        if found is None:
            self._services.delete_rest(name)
            return
        if found.get("status") != ACTIVE:
            return
        self._fence(found, key, token)
        self._protected.pop(name, None)
        self._services.delete(name)

    def logs(self, handle: Handle, lines_max: int) -> list[str]:
        """From CloudWatch, and why ECS ended the task."""
        task, service = str(handle.data.get("replica", "")), str(handle.data.get("workload", ""))
        lines = self._tasks.logs(service, task, lines_max)
        why = self._tasks.why_ended(task)
        return [*lines, *([why] if why else [])][-lines_max:]

    # -- making --------------------------------------------------------------------------------------------------------

    def _create(self, name: str, spec: WorkloadSpec) -> None:
        check_settings(self._settings)
        manifest = _manifest(spec)
        tags = d.tags_of(self._platform, spec, manifest.digest)
        delivery = self._deliver(spec)
        if delivery.fetch is not None:
            build = f"tidegate build {spec.model}:{spec.key.version} --push"
            raise InvalidArgument(
                f"on ECS a version needs an image of its own: run '{build}', with TIDEGATE_IMAGE_REGISTRY set to a "
                "registry that ECS reaches",
                field="backend",
            )
        size = d.size_of(spec.key.placement, self._settings)
        key, region = self._key_of(name), self._client.region
        wanted = d.TaskContainer(
            image=delivery.image,
            env=d.environment(spec, self._settings, size, self._env),
            key=key,
            region=region,
            key_parameter=self._services.keep_key(name, key, tags),
            pull_secret=of_aws(delivery.pull_secret),
            gpus=1 if (manifest.device or "").startswith("cuda") else 0,
        )
        definition = d.task_definition(name, spec, self._settings, wanted)
        self._services.create(d.service(name, spec, self._settings, ""), tags, definition)

    # -- changing ------------------------------------------------------------------------------------------------------

    def _fence(self, service: reading.Facts, key: WorkloadKey, token: int) -> None:
        """Write the lease's token on it. Raises `NotLeader` where a younger lease's is there."""
        there = reading.token_of(service)
        if there > token:
            raise NotLeader(
                f"the service of {key.endpoint} version {key.version} on ECS was written under lease {there}, and this "
                f"control plane's is {token}: another one leads"
            )
        if there < token:
            self._services.tag(service, {d.TOKEN: str(token)})

    def _mend(self, name: str, service: reading.Facts, spec: WorkloadSpec) -> None:
        """Set back what somebody changed, and begin a deployment anew whose tasks failed."""
        desired = int(service.get("desiredCount", 0))
        if reading.changed_by_others(service):
            ours = d.read_tags(service)[d.DEFINITION]
            log.warning("somebody changed the service %s on ECS: it is set back to %s", name, ours)
            self._services.update(name, taskDefinition=ours, forceNewDeployment=True)
        elif begins_anew(reading.rollout_of(service), desired, spec.count, clock.now()):
            self._services.update(name, forceNewDeployment=True)

    def _resize(self, name: str, service: reading.Facts, spec: WorkloadSpec) -> None:
        """Bring the number in line: what stays is protected first, so that ECS takes what no gateway uses any more."""
        desired = int(service.get("desiredCount", 0))
        if spec.count >= desired and not spec.ending:
            if spec.count != desired:
                self._services.update(name, desiredCount=spec.count)
            if int(service.get("runningCount", 0)) + int(service.get("pendingCount", 0)) <= spec.count:
                self._lift(name)
            return
        running = [reading.running_task(task) for task in self._tasks.running(name)]
        change = change_of(running, spec.count, spec.ending)
        if spec.count < desired:
            if change.leave:
                self._protected[name] = change.keep
                self._services.protect(change.keep, on=True)
                self._services.protect(change.leave, on=False)
            self._services.update(name, desiredCount=spec.count)
        elif spec.count > desired:
            self._services.update(name, desiredCount=spec.count)
        for task in change.replace:
            self._services.stop_task(task, STOPPED_BY)
        if not change.leave:
            self._lift(name)

    def _lift(self, name: str) -> None:
        """Let ECS end as it will again what was protected while the service became smaller."""
        protected = self._protected.pop(name, ())
        if protected:
            self._services.protect(protected, on=False)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _state(self, key: WorkloadKey, service: reading.Facts, tasks: Sequence[FoundTask]) -> WorkloadState | None:
        """A service that is being deleted is shown while something of it runs."""
        made_s = reading.seconds(service.get("createdAt"))
        tasks = [task for task in tasks if reading.seconds(task.facts.get("createdAt")) >= made_s]  # not an older one's
        ending = service.get("status") != ACTIVE
        if ending and all(task.end is not None for task in tasks):
            return None
        faults = [task.platforms_fault for task in tasks if task.platforms_fault]
        instances = tuple(task.instance for task in tasks if not task.platforms_fault)
        problem = "" if ending else reading.problem_of(service, _newest_fault(tasks) if faults else "")
        desired = 0 if ending else int(service.get("desiredCount", 0))
        return WorkloadState(key, reading.token_of(service), desired, _marked(instances, ending=ending), problem)


def check_settings(settings: Settings) -> None:
    """Raises `InvalidArgument` naming the setting without which nothing starts."""
    needed = {
        "TIDEGATE_ECS_SUBNETS": (settings.ecs_subnets, "the subnets that replicas shall be in, by comma"),
        "TIDEGATE_ECS_EXECUTION_ROLE": (
            settings.ecs_execution_role,
            "the ARN of the role with which ECS pulls images and writes logs",
        ),
    }
    for name, (value, what) in needed.items():
        if not value:
            raise InvalidArgument(f"replicas on ECS need {name}: {what}", field=name)


def _marked(instances: tuple[Instance, ...], *, ending: bool) -> tuple[Instance, ...]:
    if not ending:
        return instances
    return tuple(Instance(one.id, one.handle, one.seen, True, one.waits) for one in instances)


def _newest_fault(tasks: Sequence[FoundTask]) -> str:
    newest = max((task for task in tasks), key=lambda task: reading.seconds(task.facts.get("createdAt")))
    return newest.platforms_fault


def _manifest(spec: WorkloadSpec) -> Manifest:
    try:
        return read_manifest(spec.manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise ModelCrashed(f"the manifest {spec.manifest} cannot be read: {error}") from error
