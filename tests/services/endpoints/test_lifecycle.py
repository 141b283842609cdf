from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.control import ME, NewDatabase, add_version, container_at
from tidegate.core.engines.placement import Placement
from tidegate.errors import Conflict, EngineUnavailable, InvalidArgument, UnknownEndpoint, UnknownModel, UnknownVersion
from tidegate.store.endpoints.endpoints import get_endpoint
from tidegate.wire.rest import DeployRequest, RollbackRequest, ScaleRequest, TrafficRequest
from tidegate.wiring import Container


@pytest.fixture
def platform(tmp_path: Path, migrated_database: NewDatabase) -> Iterator[Container]:
    container = container_at(tmp_path / "data", database_url=migrated_database())
    add_version(container, "churn", "1", label="v1.0.0")
    add_version(container, "churn", "2")
    add_version(container, "churn", "10")
    yield container
    container.close()


def _deploy(platform: Container, version: str | None, endpoint: str = "churn") -> dict[str, float]:
    return platform.endpoints.deploy(endpoint, DeployRequest("churn", version), ME).target


def test_a_deployment_makes_the_endpoint_wakes_the_loop_and_waits_for_it(platform: Container) -> None:
    view = platform.endpoints.deploy("churn", DeployRequest("churn", "1", replicas=2), ME)
    assert platform.spec_changed.is_set()
    assert (view.status, view.traffic, view.target, view.revision) == ("deploying", {}, {"1": 100.0}, 1)
    assert view.url == "http://127.0.0.1:8000/predict/churn"
    assert view.example == [0.0, 1.0]
    (variant,) = view.variants
    assert (variant.version, variant.label, variant.replicas.desired, variant.replicas.ready) == ("1", "v1.0.0", 2, 0)


@pytest.mark.parametrize(("reference", "number"), [(None, "10"), ("latest", "10"), ("2", "2"), ("v1.0.0", "1")])
def test_a_version_is_named_by_number_label_or_as_the_newest(
    platform: Container, reference: str | None, number: str
) -> None:
    assert _deploy(platform, reference) == {number: 100.0}


def test_what_is_not_there_is_named_beside_what_is(platform: Container) -> None:
    with pytest.raises(UnknownModel, match="there are churn"):
        platform.endpoints.deploy("x", DeployRequest("chrun"), ME)
    with pytest.raises(UnknownVersion, match=r"there are 10, 2, 1 \(v1\.0\.0\)"):
        platform.endpoints.deploy("x", DeployRequest("churn", "7"), ME)
    with pytest.raises(UnknownEndpoint, match="there is none"):
        platform.endpoints.get("x")
    assert platform.endpoints.shown.all() == []


def test_a_cache_and_a_limit_are_kept_until_they_are_changed(platform: Container) -> None:
    def deploy(**given: float) -> tuple[float, float, int]:
        view = platform.endpoints.deploy("churn", DeployRequest("churn", "1", **given), ME)  # type: ignore[arg-type]
        return view.cache_ttl_s, view.rate_limit_per_s, view.revision

    assert deploy() == (0.0, 0.0, 1)
    assert deploy(cache_ttl_s=60.0, rate_limit_per_s=0.5) == (60.0, 0.5, 2)
    assert deploy() == (60.0, 0.5, 2)  # nothing changed
    assert deploy(cache_ttl_s=0.0) == (0.0, 0.5, 3)
    platform.endpoints.set_traffic("churn", TrafficRequest({"2": 100}), ME)
    view = platform.endpoints.rollback("churn", RollbackRequest(), ME)
    assert (view.target, view.rate_limit_per_s) == ({"1": 100.0}, 0.5)


@pytest.mark.parametrize("wrong", [-1.0, 1e9, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["cache_ttl_s", "rate_limit_per_s"])
def test_a_cache_or_a_limit_out_of_range_is_refused(platform: Container, name: str, wrong: float) -> None:
    with pytest.raises(InvalidArgument, match=name):
        platform.endpoints.deploy("churn", DeployRequest("churn", **{name: wrong}), ME)  # type: ignore[arg-type]
    assert platform.endpoints.shown.all() == []


@pytest.mark.parametrize("name", ["Churn", "a_b", "-a", "a" * 64, ""])
def test_names_that_are_no_dns_labels_are_refused(platform: Container, name: str) -> None:
    with pytest.raises(InvalidArgument, match="endpoint name"):
        platform.endpoints.deploy(name, DeployRequest("churn"), ME)


def test_another_model_on_the_same_endpoint_is_a_conflict(platform: Container) -> None:
    add_version(platform, "fraud", "1")
    _deploy(platform, "1")
    with pytest.raises(Conflict, match="serves model 'churn'"):
        platform.endpoints.deploy("churn", DeployRequest("fraud"), ME)


def test_traffic_takes_labels_and_drops_zeros(platform: Container) -> None:
    _deploy(platform, "1")
    view = platform.endpoints.set_traffic("churn", TrafficRequest({"v1.0.0": 90, "2": 10, "10": 0}), ME)
    assert view.target == {"1": 90, "2": 10}


@pytest.mark.parametrize(
    ("traffic", "told"),
    [
        ({"1": 90, "2": 20}, "add up to 110"),
        ({"1": 50, "v1.0.0": 50}, "named twice"),
        ({}, "no version"),
        ({"1": -1, "2": 101}, "from 0 to 100"),
    ],
)
def test_weights_that_make_no_sense_change_nothing(platform: Container, traffic: dict[str, float], told: str) -> None:
    _deploy(platform, "1")
    with pytest.raises(InvalidArgument, match=told):
        platform.endpoints.set_traffic("churn", TrafficRequest(traffic), ME)
    assert platform.endpoints.get("churn").revision == 1


def test_rollback_goes_one_back_and_a_second_one_undoes_it(platform: Container) -> None:
    _deploy(platform, "1")
    platform.endpoints.set_traffic("churn", TrafficRequest({"1": 90, "2": 10}), ME)
    platform.endpoints.set_traffic("churn", TrafficRequest({"2": 100}, action="promote"), ME)
    targets = [platform.endpoints.rollback("churn", RollbackRequest(), ME).target for _ in range(2)]
    assert targets == [{"1": 90, "2": 10}, {"2": 100}]
    entries = [(entry.action, entry.restores) for entry in platform.endpoints.history("churn")]
    assert entries == [("rollback", 3), ("rollback", 2), ("promote", None), ("traffic", None), ("deploy", None)]


def test_scaling_does_not_get_in_the_way_of_a_rollback(platform: Container) -> None:
    _deploy(platform, "1")
    _deploy(platform, "2")
    platform.endpoints.scale("churn", ScaleRequest(3), ME)
    view = platform.endpoints.rollback("churn", RollbackRequest(), ME)
    assert view.target == {"1": 100}
    assert view.variants[0].replicas.desired == 3


def test_a_rollback_leaves_settings_alone_and_the_history_says_what_they_were(platform: Container) -> None:
    endpoints = platform.endpoints
    endpoints.deploy("churn", DeployRequest("churn", "1", rate_limit_per_s=5.0), ME)
    endpoints.deploy("churn", DeployRequest("churn", "2", rate_limit_per_s=50.0, cache_ttl_s=60.0), ME)
    endpoints.deploy("churn", DeployRequest("churn", "2", replicas=3), ME)
    back = endpoints.rollback("churn", RollbackRequest(), ME)
    assert (back.target, back.rate_limit_per_s, back.cache_ttl_s) == ({"1": 100.0}, 50.0, 60.0)
    notes = [entry.note for entry in endpoints.history("churn")]
    assert notes == ["", "", "kept answers 60 s (was unset), rate limit 50/s (was 5/s)", "rate limit 5/s (was unset)"]


def test_rollback_to_a_revision_or_to_nothing(platform: Container) -> None:
    _deploy(platform, "1")
    with pytest.raises(Conflict, match="nothing to roll back to"):
        platform.endpoints.rollback("churn", RollbackRequest(), ME)
    _deploy(platform, "2")
    _deploy(platform, "10")
    assert platform.endpoints.rollback("churn", RollbackRequest(to=1), ME).target == {"1": 100}
    with pytest.raises(Conflict, match="no revision 77: it has 1 to 4"):
        platform.endpoints.rollback("churn", RollbackRequest(to=77), ME)


def test_rolling_back_to_a_deleted_version_says_so(platform: Container) -> None:
    _deploy(platform, "1")
    _deploy(platform, "2")
    platform.models.delete_version("churn", "1", ME)
    with pytest.raises(Conflict, match="has been deleted"):
        platform.endpoints.rollback("churn", RollbackRequest(), ME)


def test_a_change_that_changes_nothing_is_no_entry_unless_it_retries_a_failure(platform: Container) -> None:
    _deploy(platform, "1")
    _deploy(platform, "1")
    assert platform.endpoints.get("churn").revision == 1
    with platform.store.transaction() as tx:
        row = get_endpoint(tx, "churn")
        assert row is not None
        row.status, row.reason, row.observed_generation = "failed", "no replica became ready", 1
    assert platform.endpoints.get("churn").status == "failed"
    _deploy(platform, "1")
    view = platform.endpoints.get("churn")
    assert (view.revision, view.status, view.reason) == (2, "deploying", "")


@pytest.mark.parametrize("replicas", [0, -1, 101])
def test_replicas_are_bounded(platform: Container, replicas: int) -> None:
    _deploy(platform, "1")
    with pytest.raises(InvalidArgument, match="from 1 to 100"):
        platform.endpoints.scale("churn", ScaleRequest(replicas), ME)
    with pytest.raises(InvalidArgument, match="from 1 to 100"):
        platform.endpoints.deploy("churn", DeployRequest("churn", "1", replicas), ME)


def test_an_endpoint_being_deleted_takes_no_changes(platform: Container) -> None:
    _deploy(platform, "1")
    assert platform.endpoints.delete("churn", ME).status == "deleting"
    assert platform.endpoints.delete("churn", ME).status == "deleting"
    for change in (
        lambda: _deploy(platform, "2"),
        lambda: platform.endpoints.scale("churn", ScaleRequest(2), ME),
        lambda: platform.endpoints.rollback("churn", RollbackRequest(), ME),
    ):
        with pytest.raises(Conflict, match="being deleted"):
            change()


def test_deploying_an_alias_gives_the_version_it_points_at(platform: Container) -> None:
    with pytest.raises(UnknownVersion, match="no alias 'champion'"):
        _deploy(platform, "@champion")


def test_where_an_endpoint_runs_and_its_limits_stay_until_they_are_changed(platform: Container) -> None:
    endpoints = replace(platform.endpoints, can_start=lambda _where: None)

    def deploy(**given: object) -> tuple[str, float | None, int | None, int]:
        view = endpoints.deploy("churn", DeployRequest("churn", "1", **given), ME)  # type: ignore[arg-type]
        return view.backend, view.cpus, view.memory_bytes, view.revision

    assert deploy() == ("local", None, None, 1)
    with pytest.raises(InvalidArgument, match="only containers have limits"):
        deploy(cpus=1.0)
    assert deploy(backend="docker", cpus=0.5, memory_bytes=64 << 20) == ("docker", 0.5, 64 << 20, 2)
    assert deploy() == ("docker", 0.5, 64 << 20, 2)
    assert deploy(cpus=0.0) == ("docker", None, 64 << 20, 3)
    endpoints.scale("churn", ScaleRequest(2), ME)
    assert deploy() == ("docker", None, 64 << 20, 4)
    assert deploy(backend="local") == ("local", None, None, 5)
    assert deploy(backend="docker") == ("docker", None, None, 6)
    with pytest.raises(InvalidArgument, match="local, docker"):
        deploy(backend="podman")


def test_what_is_kept_free_for_replicas_stays_until_it_is_changed(platform: Container) -> None:
    endpoints = replace(platform.endpoints, can_start=lambda _where: None)

    def deploy(**given: object) -> tuple[str, float | None, float | None, int | None]:
        view = endpoints.deploy("churn", DeployRequest("churn", "1", **given), ME)  # type: ignore[arg-type]
        return view.backend, view.cpus, view.cpu_request, view.memory_request_bytes

    with pytest.raises(InvalidArgument, match="several machines has requests"):
        deploy(backend="docker", cpu_request=1.0)
    asked = {"cpus": 2.0, "cpu_request": 0.5, "memory_request_bytes": 64 << 20}
    assert deploy(backend="kubernetes", **asked) == ("kubernetes", 2.0, 0.5, 64 << 20)
    assert deploy(cpu_request=0.0) == ("kubernetes", 2.0, None, 64 << 20)
    with pytest.raises(InvalidArgument, match="more than cpus"):
        deploy(cpu_request=4.0)
    assert deploy(backend="docker") == ("docker", 2.0, None, None)


def test_limits_wait_while_the_platform_runs_processes(platform: Container) -> None:
    endpoints = replace(platform.endpoints, can_start=lambda _where: None, placement=Placement("docker", cpus=2.0))
    view = endpoints.deploy("churn", DeployRequest("churn", "1", memory_bytes=64 << 20), ME)
    assert (view.backend, view.cpus, view.memory_bytes) == ("docker", 2.0, 64 << 20)
    view = platform.endpoints.deploy("churn", DeployRequest("churn", "2"), ME)
    assert (view.backend, view.cpus, view.memory_bytes) == ("local", None, None)
    assert endpoints.get("churn").memory_bytes == 64 << 20


def test_a_deployment_to_an_engine_that_does_not_answer_changes_nothing(platform: Container) -> None:
    def away(where: Placement) -> None:
        raise EngineUnavailable(f"no engine for {where.backend}")

    with pytest.raises(EngineUnavailable):
        replace(platform.endpoints, can_start=away).deploy("churn", DeployRequest("churn", "1", backend="docker"), ME)
    assert platform.endpoints.shown.all() == []


def test_two_deployments_at_once_keep_both_settings(platform: Container) -> None:
    """The second one lands between the first one's look at the endpoint and its change."""
    in_docker = replace(platform.endpoints, placement=Placement("docker"), can_start=lambda _where: None)
    in_docker.deploy("churn", DeployRequest("churn", "1"), ME)

    def meanwhile(_where: Placement) -> None:
        in_docker.deploy("churn", DeployRequest("churn", "1", memory_bytes=64 << 20, rate_limit_per_s=5.0), ME)

    view = replace(in_docker, can_start=meanwhile).deploy(
        "churn", DeployRequest("churn", "2", cpus=2.0, cache_ttl_s=9.0), ME
    )
    assert (view.cpus, view.memory_bytes, view.rate_limit_per_s, view.cache_ttl_s) == (2.0, 64 << 20, 5.0, 9.0)
    assert view.target == {"2": 100.0}


def test_a_deployment_whose_engine_was_changed_meanwhile_is_a_conflict(platform: Container) -> None:
    _deploy(platform, "1")
    unchecked = replace(platform.endpoints, can_start=lambda _where: None)

    def meanwhile(_where: Placement) -> None:
        unchecked.deploy("churn", DeployRequest("churn", "1", backend="docker"), ME)

    with pytest.raises(Conflict, match="moved to 'docker'"):
        replace(platform.endpoints, can_start=meanwhile).deploy("churn", DeployRequest("churn", "2"), ME)
    assert platform.endpoints.get("churn").target == {"1": 100.0}
