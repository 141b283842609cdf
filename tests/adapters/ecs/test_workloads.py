"""Replicas as tasks of ECS: what is made, seen, changed and ended, and what is said when it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from support.ecs.server import FakeAws
from support.ecs.state import Service
from support.wait import until
from tidegate.adapters.ecs.workloads import EcsWorkloads
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery, Fetch
from tidegate.core.workloads import EngineScaling, Instance, WorkloadSpec, WorkloadState
from tidegate.errors import EngineUnavailable, InvalidArgument, MissingExtra, NotLeader
from tidegate.wire.replicas.replica_key import replica_key

Make = Callable[..., EcsWorkloads]


def state(engine: EcsWorkloads, spec: WorkloadSpec) -> WorkloadState | None:
    return next((one for one in engine.observe() if one.key == spec.key), None)


def instances(engine: EcsWorkloads, spec: WorkloadSpec) -> tuple[Instance, ...]:
    found = state(engine, spec)
    return () if found is None else found.instances


def ready(engine: EcsWorkloads, spec: WorkloadSpec, count: int) -> list[Instance]:
    """Exactly so many that answer and stay."""

    def look() -> list[Instance]:
        alive = [one for one in instances(engine, spec) if one.seen.alive]
        done = len(alive) == count and all(one.seen.ready and not one.terminating for one in alive)
        return alive if done else []

    return until(look, what=f"{count} ready")


def applied(engine: EcsWorkloads, spec: WorkloadSpec) -> str:
    """What keeps it from being applied now; "" where nothing does."""
    try:
        engine.apply(spec)
    except EngineUnavailable as error:
        return error.message
    return ""


def service(aws: FakeAws, spec: WorkloadSpec) -> Service:
    return next(
        one for name, one in aws.cluster.services.items() if spec.key.suffix in name and spec.key.endpoint in name
    )


def test_a_service_is_made_as_it_was_asked_for_and_known_again(engine: Make, spec: WorkloadSpec, aws: FakeAws) -> None:
    made = engine()
    made.apply(replace(spec, count=2))
    made.apply(replace(spec, count=2))  # nothing to do
    found = ready(engine(), replace(spec, count=2), 2)
    name = f"tidegate-0a1b2c3d-{spec.key.endpoint}-v1-{spec.key.suffix}"
    assert all(str(one.seen.address).endswith(f":8000?credential={name}") for one in found)
    seen = state(made, spec)
    assert seen is not None
    assert (seen.token, seen.desired, seen.problem) == (7, 2, "")
    content = service(aws, spec).primary.definition.content
    container = content["containerDefinitions"][0]
    env = {one["name"]: one["value"] for one in container["environment"]}
    assert env["TIDEGATE_API_KEY"] == replica_key("node-key", name)
    assert (content["cpu"], content["memory"], container["user"]) == ("512", "1024", "10001:10001")
    assert container["readonlyRootFilesystem"]
    breaker = service(aws, spec).request["deploymentConfiguration"]["deploymentCircuitBreaker"]
    assert breaker["thresholdConfiguration"] == {"type": "COUNT", "value": 3}
    assert len(aws.cluster.definitions[name]) == 1


def test_the_key_is_kept_apart_where_a_prefix_is_set(engine: Make, spec: WorkloadSpec, aws: FakeAws) -> None:
    made = engine(ecs_key_prefix="/tidegate")
    made.apply(spec)
    name = service(aws, spec).name
    container = service(aws, spec).primary.definition.content["containerDefinitions"][0]
    assert container["secrets"] == [{"name": "TIDEGATE_API_KEY", "valueFrom": f"/tidegate/{name}"}]
    assert "TIDEGATE_API_KEY" not in {one["name"] for one in container["environment"]}
    assert aws.cluster.parameters[f"/tidegate/{name}"] == replica_key("node-key", name)
    ready(made, spec, 1)
    made.delete(spec.key, 7)
    assert aws.cluster.parameters == {}


def test_those_that_no_gateway_uses_go_first(engine: Make, spec: WorkloadSpec, aws: FakeAws) -> None:
    """ECS by itself would end the oldest."""
    made, three = engine(), replace(spec, count=3)
    made.apply(replace(spec, count=1))
    (oldest,) = ready(made, spec, 1)
    made.apply(three)
    young = next(one for one in ready(made, three, 3) if one.id != oldest.id)
    two = replace(spec, count=2, ending=(young.id,))
    made.apply(two)
    made.apply(two)
    left = ready(made, two, 2)
    assert young.id not in {one.id for one in left}
    assert oldest.id in {one.id for one in left}
    made.apply(replace(spec, count=2))
    assert all(task.protected_until_s == 0 for task in aws.cluster.living(service(aws, spec)))


def test_one_that_is_to_end_is_replaced_where_the_number_stays(engine: Make, spec: WorkloadSpec) -> None:
    made = engine()
    made.apply(spec)
    (first,) = ready(made, spec, 1)
    again = replace(spec, ending=(first.id,))
    made.apply(again)
    made.apply(again)
    (second,) = ready(made, spec, 1)
    assert second.id != first.id
    until(lambda: [one.id for one in instances(made, spec)] == [second.id], what="its end, of which nobody hears")


def test_zero_and_back(engine: Make, spec: WorkloadSpec) -> None:
    made = engine()
    made.apply(spec)
    (first,) = ready(made, spec, 1)
    made.apply(replace(spec, count=0, ending=(first.id,)))
    until(lambda: not instances(made, spec), what="the end")
    made.apply(spec)
    assert ready(made, spec, 1)[0].id != first.id


def test_an_image_that_is_not_there_is_said_and_given_up(engine: Make, spec: WorkloadSpec) -> None:
    made = engine("registry.example.com/nothing:1")
    made.apply(spec)
    problem = until(lambda: (seen := state(made, spec)) is not None and seen.problem, what="the breaker")
    assert "ECS starts no more tasks" in str(problem)
    ended = instances(made, spec)
    assert len(ended) == 3
    for one in ended:
        assert not one.seen.alive
        assert "nothing:1 is not in its registry" in one.seen.log_tail[-1]
        assert "tidegate build MODEL --push" in one.seen.log_tail[-1]


def test_an_image_for_another_processor(engine: Make, spec: WorkloadSpec) -> None:
    made = engine("arm")
    made.apply(spec)
    (ended, *_) = until(lambda: instances(made, spec) and [i for i in instances(made, spec) if not i.seen.alive])
    assert "set TIDEGATE_ECS_ARCHITECTURE=ARM64" in ended.seen.log_tail[-1]


def test_a_crash_has_its_exit_code_and_its_last_lines(engine: Make, spec: WorkloadSpec) -> None:
    made = engine("crashes")
    made.apply(spec)
    ended = until(lambda: [one for one in instances(made, spec) if not one.seen.alive], what="a crash")[0]
    assert (ended.seen.exit_code, ended.terminating) == (3, False)
    assert ended.seen.log_tail == ("one line", "the last line", "Essential container in task exited")
    assert made.logs(ended.handle, 2) == ["the last line", "Essential container in task exited"]


def test_a_log_group_that_is_not_there_is_no_fault_of_the_version(engine: Make, spec: WorkloadSpec) -> None:
    made = engine(ecs_log_group="/no/such/group")
    made.apply(spec)
    problem = until(lambda: (seen := state(made, spec)) is not None and seen.problem, what="the problem")
    assert "make the log group TIDEGATE_ECS_LOG_GROUP" in str(problem)
    assert all(one.seen.alive for one in instances(made, spec))


@pytest.mark.parametrize(
    ("launch_type", "said"), [("FARGATE", "Capacity is unavailable"), ("EC2", "insufficient memory")]
)
def test_a_full_cluster_is_waited_for(
    engine: Make, spec: WorkloadSpec, aws: FakeAws, launch_type: str, said: str
) -> None:
    spec = replace(spec, key=replace(spec.key, endpoint=f"full-{launch_type.lower()}"))
    made = engine(ecs_launch_type=launch_type)
    with aws.cluster.full():
        made.apply(spec)
        problem = until(lambda: (seen := state(made, spec)) is not None and seen.problem, what="the problem")
        assert said in str(problem)
        assert instances(made, spec) == ()
    ready(made, spec, 1)
    seen = state(made, spec)
    assert seen is not None
    assert seen.problem == ""


def test_an_older_lease_changes_nothing(engine: Make, spec: WorkloadSpec) -> None:
    made = engine()
    made.apply(spec)
    made.apply(replace(spec, token=9))
    with pytest.raises(NotLeader, match="under lease 9"):
        made.apply(replace(spec, count=3, token=8))
    with pytest.raises(NotLeader):
        made.delete(spec.key, 8)
    seen = state(made, spec)
    assert seen is not None
    assert (seen.token, seen.desired) == (9, 1)


def test_another_platform_sees_nothing_of_it(engine: Make, spec: WorkloadSpec) -> None:
    engine().apply(spec)
    assert state(engine(platform="ffffffff"), spec) is None


def test_what_somebody_changed_is_said_and_set_back(engine: Make, spec: WorkloadSpec, aws: FakeAws) -> None:
    made = engine()
    made.apply(spec)
    name = service(aws, spec).name
    client = made._client
    content = dict(service(aws, spec).primary.definition.content)
    other = client.call("ecs", "register_task_definition", **content)["taskDefinition"]["taskDefinitionArn"]
    client.call("ecs", "update_service", cluster="tidegate-tests", service=name, taskDefinition=other)
    seen = state(made, spec)
    assert seen is not None
    assert seen.problem.startswith(f"somebody changed the service {name}")
    made.apply(spec)
    ready(made, spec, 1)
    now = state(made, spec)
    assert now is not None
    assert now.problem == ""


def test_what_is_deleted_leaves_nothing_and_may_be_made_again(engine: Make, spec: WorkloadSpec, aws: FakeAws) -> None:
    made = engine()
    made.apply(spec)
    ready(made, spec, 1)
    made.delete(spec.key, 7)
    made.delete(spec.key, 7)
    until(lambda: state(made, spec) is None, what="the end")
    name = service(aws, spec).name
    assert {one.status for one in aws.cluster.definitions[name]} == {"DELETE_IN_PROGRESS"}

    until(lambda: applied(made, spec) == "", what="another service of the name")
    ready(made, spec, 1)


def test_a_service_that_somebody_deleted_is_made_again(engine: Make, spec: WorkloadSpec, aws: FakeAws) -> None:
    made = engine()
    made.apply(spec)
    name = service(aws, spec).name
    made._client.call("ecs", "delete_service", cluster="tidegate-tests", service=name, force=True)
    until(lambda: aws.cluster.services[name].status == "INACTIVE", what="its end")
    made.apply(spec)
    ready(made, spec, 1)


def test_what_was_made_for_a_service_that_somebody_deleted_goes_too(
    engine: Make, spec: WorkloadSpec, aws: FakeAws
) -> None:
    made = engine()
    made.apply(spec)
    name = service(aws, spec).name
    made._client.call("ecs", "delete_service", cluster="tidegate-tests", service=name, force=True)
    until(lambda: aws.cluster.services[name].status == "INACTIVE", what="its end")
    made.delete(spec.key, 7)
    assert {one.status for one in aws.cluster.definitions[name]} == {"DELETE_IN_PROGRESS"}


def test_what_ecs_does_not_do_is_refused(engine: Make, spec: WorkloadSpec) -> None:
    made = engine()
    with pytest.raises(InvalidArgument, match="--autoscaler tidegate"):
        made.apply(replace(spec, scaling=EngineScaling(1, 3, "cpu", 60.0)))
    made._deliver = lambda _spec: Delivery("runtime", Fetch("https://control", "/internal", "sha256:1", 1))
    with pytest.raises(InvalidArgument, match="tidegate build churn:1 --push"):
        made.apply(replace(spec, key=replace(spec.key, endpoint="fetched")))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ecs_subnets": ""}, "TIDEGATE_ECS_SUBNETS"),
        ({"ecs_execution_role": ""}, "TIDEGATE_ECS_EXECUTION_ROLE"),
        ({"ecs_cluster": "elsewhere"}, "aws ecs create-cluster --cluster-name elsewhere"),
        ({"drain_s": 300.0}, "TIDEGATE_DRAIN_S"),
    ],
)
def test_what_is_missing_is_said_before_anything_starts(engine: Make, settings: dict[str, object], said: str) -> None:
    with pytest.raises((InvalidArgument, EngineUnavailable), match=said):
        engine(**settings).check(Placement("ecs"))


def test_a_wrong_subnet_names_its_setting(engine: Make, spec: WorkloadSpec) -> None:
    with pytest.raises(EngineUnavailable, match="correct TIDEGATE_ECS_SUBNETS"):
        engine(ecs_subnets="subnet-9").apply(spec)


def test_while_aws_is_away_nothing_is_known(engine: Make, spec: WorkloadSpec, aws: FakeAws) -> None:
    made = engine()
    made.apply(spec)
    ready(made, spec, 1)
    assert made.unavailable_reason() is None
    with aws.away():
        with pytest.raises(EngineUnavailable, match="AWS does not answer in region eu-west-1"):
            made.observe()
        assert "AWS does not answer" in str(made.unavailable_reason())

    def answers() -> bool:
        try:
            return state(made, spec) is not None
        except EngineUnavailable:
            return False

    until(answers, what="AWS")
    assert made.unavailable_reason() is None


def test_after_ecs_gave_up_a_further_try_is_one(engine: Make, spec: WorkloadSpec, aws: FakeAws) -> None:
    """The platform's own pause is over: the count goes to zero when a start fails, and up again."""
    made = engine("crashes")
    made.apply(spec)
    until(lambda: service(aws, spec).primary.rollout == "FAILED", what="the breaker")
    failed, before = service(aws, spec).primary, len(instances(made, spec))
    made.apply(replace(spec, count=0))
    made.apply(replace(spec, count=0))
    assert service(aws, spec).primary is failed
    made.apply(spec)
    until(lambda: len(instances(made, spec)) > before, what="another try")
    assert service(aws, spec).primary is not failed


def test_without_boto3_nothing_is_known_and_nothing_starts(
    engine: Make, spec: WorkloadSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_module(name: str) -> None:
        raise ModuleNotFoundError(name)

    made = engine()
    monkeypatch.setattr("tidegate.adapters.ecs.client.import_module", no_module)
    with pytest.raises(MissingExtra, match=r"pip install 'tidegate\[ecs\]'"):
        made.check(spec.key.placement)
    with pytest.raises(EngineUnavailable, match="needs boto3"):
        made.observe()
    with pytest.raises(EngineUnavailable, match="needs boto3"):
        made.apply(spec)
