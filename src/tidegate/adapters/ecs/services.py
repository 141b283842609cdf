"""Services of ECS and what is made for each: its task definition and its key. Called by `ecs.workloads`."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tidegate.adapters.ecs import definition as d
from tidegate.adapters.ecs.client import AwsClient, AwsRefusal, import_botocore, refused
from tidegate.adapters.ecs.reading import id_of
from tidegate.errors import EngineUnavailable
from tidegate.settings import Settings

log = logging.getLogger(__name__)

SERVICES_A_CALL, TASKS_A_CALL, PAGES_MAX = 10, 10, 100
PROTECTED_MINUTES = 10
"""Protection that nobody lifts, because this process died meanwhile, ends by itself."""
FINGERPRINT = f"{d.OWN}content"
"""Tag of a task definition: by it a try whose answer was lost is found again."""
_GONE = ("ServiceNotFoundException", "ServiceNotActiveException")
_ENDING = "draining"


class Services:
    """Services on one cluster. Every method raises `EngineUnavailable`, and those that write what `refused` makes."""

    def __init__(self, client: AwsClient, settings: Settings) -> None:
        self._client, self._settings = client, settings
        self._counts: bool | None = None

    # -- reading -------------------------------------------------------------------------------------------------------

    def named(self, prefix: str) -> list[dict[str, Any]]:
        """All whose names begin so, with their tags."""
        names = [name for name in self._names() if name.startswith(prefix)]
        return [service for service in self._described(names) if service.get("status") != "INACTIVE"]

    def find(self, name: str) -> dict[str, Any] | None:
        """The service of this name, also one that ECS is ending; None where there is none."""
        found = [one for one in self._described([name]) if one.get("status") != "INACTIVE"]
        return found[0] if found else None

    def _names(self) -> Iterator[str]:
        request: dict[str, Any] = {"cluster": self._settings.ecs_cluster, "maxResults": 100}
        for _page in range(PAGES_MAX):
            answer = self._ask("list_services", **request)
            yield from (id_of(str(arn)) for arn in answer.get("serviceArns", ()))
            if not answer.get("nextToken"):
                return
            request["nextToken"] = answer["nextToken"]
        raise EngineUnavailable(f"cluster {self._settings.ecs_cluster} has too many services to be read: use another")

    def _described(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        for first in range(0, len(names), SERVICES_A_CALL):
            some = list(names[first : first + SERVICES_A_CALL])
            cluster = self._settings.ecs_cluster
            yield from self._ask("describe_services", cluster=cluster, services=some, include=["TAGS"])["services"]

    def _ask(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return self._client.call("ecs", operation, **request)
        except AwsRefusal as refusal:
            raise EngineUnavailable(
                f"ECS does not say what runs ({refusal.message}): is TIDEGATE_ECS_CLUSTER right?"
            ) from refusal

    # -- making --------------------------------------------------------------------------------------------------------

    def create(self, request: Mapping[str, Any], tags: Mapping[str, str], definition: Mapping[str, Any]) -> None:
        """Make the service, of a task definition that is made for it. One that is there already is left as it is."""
        arn = self._definition(definition, tags)
        call = dict(request) | {"taskDefinition": arn}
        call["deploymentConfiguration"] = request["deploymentConfiguration"] | {
            "deploymentCircuitBreaker": d.breaker(counts=self._counts_failures())
        }
        all_tags = d.aws_tags({**tags, d.DEFINITION: id_of(arn)})
        try:
            self._client.call("ecs", "create_service", **call, tags=all_tags, clientToken=uuid.uuid4().hex)
        except AwsRefusal as refusal:
            if _ENDING in refusal.message.lower() or "idempotent" in refusal.message.lower():
                name = request["serviceName"]
                raise EngineUnavailable(f"ECS still ends an older service {name}: it is tried again") from refusal
            raise refused(refusal, "make the service") from refusal

    def _definition(self, wanted: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """The ARN of a task definition with this content: the newest of its family, or a new one."""
        content = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()[:32]
        try:
            found = self._client.call(
                "ecs", "describe_task_definition", taskDefinition=wanted["family"], include=["TAGS"]
            )
            if d.read_tags(found).get(FINGERPRINT) == content:
                return str(found["taskDefinition"]["taskDefinitionArn"])
        except AwsRefusal as refusal:
            log.debug("no task definition %s yet: %s", wanted["family"], refusal)
        kept = {name: value for name, value in tags.items() if name != d.TOKEN}
        all_tags = d.aws_tags({**kept, FINGERPRINT: content})
        try:
            made = self._client.call("ecs", "register_task_definition", **wanted, tags=all_tags)
        except AwsRefusal as refusal:
            raise refused(refusal, "take the task definition") from refusal
        return str(made["taskDefinition"]["taskDefinitionArn"])

    def _counts_failures(self) -> bool:
        """Whether this release of AWS's library knows of a number of failed tasks."""
        if self._counts is None:
            model = import_botocore("session").get_session().get_service_model("ecs")
            self._counts = "thresholdConfiguration" in model.shape_for("DeploymentCircuitBreaker").members
        return self._counts

    def keep_key(self, name: str, key: str, tags: Mapping[str, str]) -> str | None:
        """Where in the Parameter Store a workload's key is now; None where it is to stand in the task definition."""
        parameter = self._parameter(name)
        if parameter is None:
            return None
        aws_tags = [{"Key": tag, "Value": value} for tag, value in tags.items() if tag != d.TOKEN]
        try:
            try:
                self._client.call("ssm", "put_parameter", Name=parameter, Value=key, Type="SecureString", Tags=aws_tags)
            except AwsRefusal as refusal:
                if refusal.code != "ParameterAlreadyExists":
                    raise
                self._client.call(
                    "ssm", "put_parameter", Name=parameter, Value=key, Type="SecureString", Overwrite=True
                )
        except AwsRefusal as refusal:
            raise refused(refusal, f"keep the key as {parameter}") from refusal
        return parameter

    def _parameter(self, name: str) -> str | None:
        prefix = self._settings.ecs_key_prefix
        return None if prefix is None else f"{prefix}/{name}"

    # -- changing ------------------------------------------------------------------------------------------------------

    def tag(self, service: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Add these, or give them another value."""
        self._change("tag_resource", resourceArn=service["serviceArn"], tags=d.aws_tags(tags))

    def update(self, name: str, **changes: Any) -> None:
        """Change what the service is asked for."""
        self._change("update_service", cluster=self._settings.ecs_cluster, service=name, **changes)

    def protect(self, tasks: Sequence[str], *, on: bool) -> None:
        """Have ECS end others first, or these as well as any other."""
        expires = {"expiresInMinutes": PROTECTED_MINUTES} if on else {}
        for first in range(0, len(tasks), TASKS_A_CALL):
            some, cluster = list(tasks[first : first + TASKS_A_CALL]), self._settings.ecs_cluster
            answer = self._change(
                "update_task_protection", cluster=cluster, tasks=some, protectionEnabled=on, **expires
            )
            failed = [
                one for one in answer.get("failures", ()) if one.get("reason") not in ("MISSING", "TASK_NOT_VALID")
            ]
            if on and failed:
                task, why = id_of(str(failed[0].get("arn", ""))), failed[0].get("reason")
                raise EngineUnavailable(
                    f"ECS does not protect {task} ({why}), so nothing is taken away yet: it is tried again"
                )

    def stop_task(self, task: str, why: str) -> None:
        """End one task; its service starts another in its place. One that is gone is no error."""
        try:
            self._client.call("ecs", "stop_task", cluster=self._settings.ecs_cluster, task=task, reason=why[:255])
        except AwsRefusal as refusal:
            log.debug("task %s is not stopped: %s", task, refusal)

    def delete(self, name: str) -> None:
        """Delete the service with its tasks, its task definitions and its key. What is gone is no error.

        The service goes last, so that it is found again, and all of this done again, if that ends half-way.
        """
        self.delete_rest(name)
        try:
            self._client.call("ecs", "delete_service", cluster=self._settings.ecs_cluster, service=name, force=True)
        except AwsRefusal as refusal:
            if refusal.code not in _GONE:
                raise refused(refusal, "delete the service") from refusal

    def delete_rest(self, name: str) -> None:
        """Delete what was made for a service, which may be gone by itself."""
        self._delete_definitions(name)
        parameter = self._parameter(name)
        if parameter is not None:
            try:
                self._client.call("ssm", "delete_parameter", Name=parameter)
            except AwsRefusal as refusal:
                log.debug("parameter %s is not deleted: %s", parameter, refusal)

    def _delete_definitions(self, family: str) -> None:
        """ECS deletes them once no task has them any more."""
        try:
            for status in ("ACTIVE", "INACTIVE"):
                listed = self._client.call("ecs", "list_task_definitions", familyPrefix=family, status=status)
                arns = [str(arn) for arn in listed.get("taskDefinitionArns", ())]
                for arn in arns if status == "ACTIVE" else ():
                    self._client.call("ecs", "deregister_task_definition", taskDefinition=arn)
                for first in range(0, len(arns), SERVICES_A_CALL):
                    some = arns[first : first + SERVICES_A_CALL]
                    self._client.call("ecs", "delete_task_definitions", taskDefinitions=some)
        except AwsRefusal as refusal:
            log.warning("the task definitions of %s are not deleted: %s", family, refusal)

    def _change(self, operation: str, **request: Any) -> dict[str, Any]:
        try:
            return self._client.call("ecs", operation, **request)
        except AwsRefusal as refusal:
            if refusal.code in _GONE:
                raise EngineUnavailable(
                    f"the service is gone from ECS ({refusal.message}): it is made again"
                ) from refusal
            raise refused(refusal, "change the service") from refusal
