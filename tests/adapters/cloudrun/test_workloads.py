"""Workloads on Cloud Run, against a fake of its API whose instances are real replicas."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from support.wait import until
from support.workload_subjects.cloudrun import NODE_KEY, REPOSITORY, CloudRunSubject
from tidegate.adapters.cloudrun.rights import ACT_AS, RIGHTS, SECRET_RIGHTS
from tidegate.core.engines.placement import Placement
from tidegate.core.images.delivery import Delivery
from tidegate.core.routing.targets import Address, address_of
from tidegate.core.workloads import EngineScaling, Instance, Workloads, WorkloadSpec, WorkloadState
from tidegate.errors import EngineUnavailable, ImagePending, InvalidArgument, NotLeader
from tidegate.wire.replicas.replica_key import replica_key


def only(workloads: Workloads) -> WorkloadState:
    (state,) = workloads.observe()
    return state


def only_of(workloads: Workloads, version: str) -> WorkloadState:
    (state,) = [one for one in workloads.observe() if one.key.version == version]
    return state


def ready(workloads: Workloads, version: str = "1") -> Instance:
    """The instance of this version, once it is ready."""

    def look() -> list[Instance]:
        states = [one for one in workloads.observe() if one.key.version == version]
        return [one for state in states for one in state.instances if one.seen.ready]

    return until(look, what=f"version {version} on Cloud Run", timeout_s=60)[0]


def ended(workloads: Workloads) -> Instance:
    return until(
        lambda: [one for state in workloads.observe() for one in state.instances if not one.seen.alive],
        what="the end of a revision",
        timeout_s=60,
    )[0]


def address_of_instance(instance: Instance) -> Address:
    assert instance.seen.address is not None
    return address_of(instance.seen.address)


def test_a_workload_is_a_revision_whose_tag_answers_for_real(subject: CloudRunSubject) -> None:
    workloads, spec = subject.workloads(), subject.good()
    workloads.check(spec.key.placement)
    assert list(workloads.observe()) == []
    workloads.apply(spec)
    state = only(workloads)
    assert (state.key, state.token, state.desired) == (spec.key, spec.token, 1)
    instance = ready(workloads)
    address = address_of_instance(instance)
    assert address.credential == f"tidegate-churn-v1-{spec.key.suffix}"
    assert address.batches_max == 4
    assert address.audience == subject.server.fake.service("tidegate-churn")["uri"]
    assert subject.ask(instance) == 200
    assert subject.call(address, "another") == 401, "the replica wants its own key"
    written = len(subject.server.fake.writes)
    workloads.apply(spec)
    subject.workloads().apply(spec)
    assert len(subject.server.fake.writes) == written, "what is as it should be is not touched"
    assert only(subject.workloads()).instances[0].id == instance.id, "and is found again by a new process"


def test_the_template_says_everything_each_time(subject: CloudRunSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEGATE_DRAIN_S", "60")
    workloads = subject.workloads()
    spec = replace(subject.good(), scaling=EngineScaling(1, 3, "concurrency", 3), cold_start_s=20.0)
    workloads.apply(spec)
    ready(workloads)
    service = subject.server.fake.service("tidegate-churn")
    template, (container,) = service["template"], service["template"]["containers"]
    assert template["scaling"] == {"minInstanceCount": 1, "maxInstanceCount": 3, "concurrencyUtilization": 0.75}
    assert template["maxInstanceRequestConcurrency"] == 4
    assert template["serviceAccount"] == "replicas@demo-project.iam.gserviceaccount.com"
    assert container["args"] == ["--host", "0.0.0.0", "--port", "8000", "--managed"]
    env = {one["name"]: one["value"] for one in container["env"]}
    key = replica_key(NODE_KEY, f"tidegate-churn-v1-{spec.key.suffix}")
    assert (env["MODEL_VERSION"], env["TIDEGATE_API_KEY"], env["OMP_NUM_THREADS"]) == ("1", key, "1")
    assert env["TIDEGATE_DRAIN_S"] == "8", "Cloud Run ends an instance after ten seconds"
    assert container["resources"]["startupCpuBoost"] is True
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] == 80
    assert service["labels"] == {"tidegate-platform": "0a1b2c3d", "tidegate-endpoint": "churn"}
    assert all(one["type"] == "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION" for one in service["traffic"])
    assert address_of_instance(ready(workloads)).batches_max == 12


def test_traffic_mirrors_the_weights_and_a_deletion_leaves_nothing_behind(subject: CloudRunSubject) -> None:
    workloads, one, two = subject.workloads(), subject.good(), subject.good(version="2")
    workloads.apply(one)
    ready(workloads)
    workloads.apply(replace(two, routed={"1": 100.0}))
    ready(workloads, "2")
    split = {"1": 66.6, "2": 33.4}
    for spec in (one, two):
        workloads.apply(replace(spec, routed=split))
    fake = subject.server.fake

    def percents() -> dict[str, int]:
        shown = fake.service("tidegate-churn").get("trafficStatuses", [])
        return {one["tag"].partition("-")[0]: one["percent"] for one in shown}

    until(lambda: percents() == {"v1": 67, "v2": 33}, what="the split on the service")
    workloads.delete(one.key, one.token)
    assert [state.key.version for state in workloads.observe()] == ["2"]
    until(lambda: percents() == {"v2": 100}, what="all traffic on what is left")
    workloads.apply(replace(two, routed={"2": 100.0}))
    until(lambda: [r["name"].rpartition("/")[2][:17] for r in fake.list_revisions("tidegate-churn")], what="revisions")
    workloads.delete(two.key, two.token)
    workloads.delete(two.key, two.token)
    assert list(workloads.observe()) == []
    assert fake.services == {}
    until(lambda: fake.processes() == [], what="the end of all instances")


def test_other_bounds_are_another_revision_to_which_the_tag_moves_once_it_answers(subject: CloudRunSubject) -> None:
    workloads, spec = subject.workloads(), subject.good()
    workloads.apply(spec)
    first = ready(workloads)
    workloads.apply(replace(spec, count=2))
    state = only(workloads)
    assert state.desired == 2
    assert [one.id for one in state.instances if one.seen.ready] == [first.id], "the old one serves on meanwhile"
    second = until(
        lambda: [one for one in only(workloads).instances if one.seen.ready and one.id != first.id], what="the new one"
    )[0]
    assert [one.id for one in only(workloads).instances] == [second.id]
    assert address_of_instance(second).batches_max == 8
    until(lambda: len(subject.server.fake.running(second.id).instances) == 2, what="two instances")
    workloads.apply(replace(spec, count=2))
    assert first.id not in [
        one["name"].rpartition("/")[2] for one in subject.server.fake.list_revisions("tidegate-churn")
    ]


def test_what_runs_is_scaled_and_split_while_its_next_image_is_built(subject: CloudRunSubject) -> None:
    workloads, one, two = subject.workloads(), subject.good(), subject.good(version="2")
    for spec in (one, two):
        workloads.apply(spec)
        ready(workloads, spec.key.version)
    (first, *_) = only_of(workloads, "1").instances

    def builds(_spec: WorkloadSpec) -> Delivery:
        raise ImagePending("waits for its image")

    upgraded = subject.workloads(builds)
    for spec in (one, two):
        upgraded.apply(replace(spec, count=2, routed={"1": 70.0, "2": 30.0}))
    fake = subject.server.fake
    traffic = {one["tag"].partition("-")[0]: one["percent"] for one in fake.service("tidegate-churn")["traffic"]}
    assert traffic == {"v1": 70, "v2": 30}
    until(lambda: first.id not in [i.id for i in only_of(upgraded, "1").instances], what="the revision of two")
    assert only_of(upgraded, "1").desired == 2
    (young,) = only_of(upgraded, "1").instances
    with pytest.raises(ImagePending):
        upgraded.apply(replace(one, count=2, ending=(young.id,)))
    with pytest.raises(ImagePending):
        upgraded.apply(subject.good(version="6"))


def test_of_no_replicas_nothing_is_left(subject: CloudRunSubject) -> None:
    workloads, spec = subject.workloads(), subject.good()
    workloads.apply(spec)
    first = ready(workloads)
    workloads.apply(replace(spec, count=0))
    assert list(workloads.observe()) == []
    workloads.apply(spec)
    assert ready(workloads).id != first.id


def test_why_a_revision_failed_is_said_with_what_to_do(subject: CloudRunSubject) -> None:
    workloads = subject.workloads()
    workloads.apply(subject.good())
    good = ready(workloads)
    for spec, words in (
        (subject.bad_image(), (f"the image {REPOSITORY}:3 is not in its registry", "--push")),
        (replace(subject.good("6"), routed={}), ("did not start", "Traceback: it broke")),
    ):
        workloads.apply(replace(spec, routed={"1": 100.0}))
        instance = ended(workloads)
        said = "\n".join(instance.seen.log_tail)
        assert all(word in said for word in words), said
        assert not instance.seen.ready
        anew = replace(spec, ending=(instance.id,), routed={"1": 100.0})
        workloads.apply(anew)
        assert ended(workloads).id != instance.id, "it was tried anew"
        workloads.delete(spec.key, spec.token)
    assert ready(workloads).id == good.id
    subject.server.fake.unreadable_images.add(f"{REPOSITORY}:2")
    workloads.apply(replace(subject.good(version="2"), routed={"1": 100.0}))
    assert "roles/artifactregistry.reader" in ended(workloads).seen.log_tail[0]


def test_one_that_is_never_ready_is_given_up_in_time(subject: CloudRunSubject) -> None:
    subject.server.fake.start_timeout_s = 0.5
    workloads = subject.workloads()
    workloads.apply(subject.never_ready())
    assert "did not start" in ended(workloads).seen.log_tail[0]


def test_an_older_lease_writes_nothing(subject: CloudRunSubject) -> None:
    workloads, spec = subject.workloads(), subject.good(token=3)
    workloads.apply(spec)
    with pytest.raises(NotLeader, match=r"a younger lease \(3\)"):
        subject.workloads().apply(replace(spec, token=2, count=2))
    with pytest.raises(NotLeader):
        subject.workloads().delete(spec.key, 2)
    assert only(workloads).desired == 1
    subject.workloads().apply(replace(spec, token=4))
    assert only(workloads).token == 4


def test_a_service_of_somebody_else_is_left_alone(subject: CloudRunSubject) -> None:
    spec = subject.good()
    subject.elsewhere().apply(spec)
    workloads = subject.workloads()
    assert list(workloads.observe()) == []
    with pytest.raises(InvalidArgument, match=r"another platform \(ffffffff\) has it.*gcloud run services delete"):
        workloads.apply(spec)
    workloads.delete(spec.key, spec.token + 1)
    assert len(subject.elsewhere().observe()) == 1, "nor deleted"


def test_what_others_change_meanwhile_is_read_again(subject: CloudRunSubject) -> None:
    workloads, spec = subject.workloads(), subject.good()
    workloads.apply(spec)
    subject.server.fake.conflicts = 2
    workloads.apply(replace(spec, count=2))
    assert only(workloads).desired == 2
    subject.server.fake.conflicts = 10
    with pytest.raises(EngineUnavailable, match="others change service tidegate-churn"):
        workloads.apply(replace(spec, count=3))


def test_one_that_somebody_deletes_meanwhile_is_made_anew(subject: CloudRunSubject) -> None:
    workloads, spec, fake = subject.workloads(), subject.good(), subject.server.fake
    workloads.apply(spec)
    first = ready(workloads)
    fake.deleted_meanwhile = True
    workloads.apply(replace(spec, count=2))
    assert ready(workloads).id != first.id
    assert only(workloads).desired == 2


def test_an_engine_that_is_away_is_unknown_and_never_empty(subject: CloudRunSubject) -> None:
    workloads, spec = subject.workloads(), subject.good()
    workloads.apply(spec)
    instance = ready(workloads)
    with subject.away():
        with pytest.raises(EngineUnavailable, match=r"does not answer .*what runs there serves on"):
            workloads.observe()
        assert workloads.unavailable_reason() is not None
        assert subject.ask(instance) == 200
    until(lambda: _answers(workloads), what="the API again")
    assert workloads.unavailable_reason() is None


def _answers(workloads: Workloads) -> bool:
    try:
        return len(workloads.observe()) == 1
    except EngineUnavailable:
        return False


def test_rights_apis_and_quotas_that_are_missing_are_named(subject: CloudRunSubject) -> None:
    workloads, spec, fake = subject.workloads(), subject.good(), subject.server.fake
    fake.denied = {"run.services.create"}
    with pytest.raises(EngineUnavailable, match=r"'run.services.create' denied.*tidegate doctor"):
        workloads.apply(spec)
    fake.denied = set()
    fake.quota = "Quota exceeded for total allowable CPU per project per region."
    with pytest.raises(EngineUnavailable, match="Quota exceeded for total allowable CPU"):
        workloads.apply(spec)
    fake.quota = ""
    fake.disabled = True
    with pytest.raises(EngineUnavailable, match=r"gcloud services enable run\.googleapis\.com"):
        subject.workloads().observe()
    fake.disabled = False
    fake.throttled = 1
    with pytest.raises(EngineUnavailable, match="takes no more calls for now"):
        subject.workloads().observe()


def test_a_token_that_is_refused_is_followed_by_another(subject: CloudRunSubject) -> None:
    workloads = subject.workloads()
    workloads.observe()
    subject.server.fake.issuer.revoke_all()
    assert list(workloads.observe()) == []


def test_what_cannot_be_is_refused_before_anything_is_made(
    subject: CloudRunSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    workloads, spec = subject.workloads(), subject.good()
    with pytest.raises(InvalidArgument, match=r"together, and 46 are allowed. Give it a name of up to 26"):
        workloads.apply(subject.good(endpoint="a" * 27))
    with pytest.raises(InvalidArgument, match="no instance with 16 CPUs"):
        workloads.check(Placement("cloudrun", cpus=16))
    with pytest.raises(InvalidArgument, match="not by rps: use --target cpu=60"):
        workloads.apply(replace(spec, scaling=EngineScaling(1, 2, "rps", 5)))
    with pytest.raises(InvalidArgument, match="cannot keep cpu=95"):
        workloads.apply(replace(spec, scaling=EngineScaling(1, 2, "cpu", 95)))
    assert subject.server.fake.services == {}
    monkeypatch.setenv("TIDEGATE_CLOUDRUN_REGION", "mars-north1")
    with pytest.raises(EngineUnavailable, match="knows no region mars-north1"):
        subject.workloads().check(spec.key.placement)
    with pytest.raises(EngineUnavailable, match="knows no region mars-north1"):
        subject.workloads().apply(spec)
    monkeypatch.delenv("TIDEGATE_CLOUDRUN_PROJECT")
    with pytest.raises(InvalidArgument, match="needs TIDEGATE_CLOUDRUN_PROJECT: set for example"):
        subject.workloads().check(spec.key.placement)
    assert list(subject.workloads().observe()) == []


def test_bounds_that_cannot_be_leave_what_serves_and_say_why(subject: CloudRunSubject) -> None:
    workloads, spec = subject.workloads(), subject.good()
    workloads.apply(spec)
    first = ready(workloads)
    subject.server.fake.unreadable_images.add(f"{REPOSITORY}:1")
    workloads.apply(replace(spec, count=2))
    until(lambda: only(workloads).problem, what="why it does not follow")
    assert "its bounds stay as they were: Cloud Run may not read the image" in only(workloads).problem
    assert [one.id for one in only(workloads).instances if one.seen.ready] == [first.id]
    assert subject.ask(first) == 200


def test_a_service_that_cannot_be_made_at_all_is_said(subject: CloudRunSubject) -> None:
    workloads, spec, fake = subject.workloads(), subject.good(), subject.server.fake
    fake.create_fails = "One or more users named in the policy do not belong to a permitted customer."
    workloads.apply(spec)
    assert "did not make service tidegate-churn: One or more users" in only(workloads).problem
    fake.create_fails = ""
    workloads.apply(spec)
    assert ready(workloads).seen.alive
    assert only(workloads).problem == ""


def test_every_right_that_is_asked_for_is_used_and_no_other(subject: CloudRunSubject) -> None:
    workloads, spec, fake = subject.workloads(), subject.good(), subject.server.fake
    workloads.apply(spec)
    workloads.observe()
    instance = ready(workloads)
    assert subject.ask(instance) == 200
    workloads.logs(instance.handle, 5)
    workloads.apply(replace(spec, count=2))
    until(
        lambda: [one for one in only(workloads).instances if one.id != instance.id], what="the tag on another revision"
    )
    workloads.apply(replace(spec, count=2, token=2))
    workloads.delete(spec.key, 2)
    assert fake.used - {ACT_AS} <= set(RIGHTS)
    of_registries = {"artifactregistry.repositories.downloadArtifacts"}
    assert set(RIGHTS) - fake.used == of_registries | ({"run.operations.get"} - fake.used)


def test_keys_may_be_kept_in_secret_manager_and_go_with_their_workload(
    subject: CloudRunSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEGATE_CLOUDRUN_SECRETS", "true")
    workloads, spec, fake = subject.workloads(), subject.good(), subject.server.fake
    fake.denied = {"secretmanager.versions.add"}
    with pytest.raises(EngineUnavailable, match=r"'secretmanager.versions.add' denied"):
        workloads.apply(spec)
    assert not fake.services, "nothing is made without its key"
    fake.denied = set()
    workloads.apply(spec)
    instance = ready(workloads)
    assert subject.ask(instance) == 200
    name, key = f"tidegate-churn-v1-{spec.key.suffix}-{subject.platform}", replica_key(NODE_KEY, instance_key(instance))
    assert fake.secrets == {name: [key]}
    (container,) = fake.service("tidegate-churn")["template"]["containers"]
    told = {one["name"]: one for one in container["env"]}
    assert told["TIDEGATE_API_KEY"]["valueSource"] == {"secretKeyRef": {"secret": name, "version": "1"}}
    assert key not in str(fake.services), "nor anywhere else in plain text"
    wider = replace(spec, count=2)
    workloads.apply(wider)
    assert fake.secrets == {name: [key, key]}, "another revision has a version of its own"
    workloads.delete(spec.key, 1)
    assert fake.secrets == {}
    assert fake.used - {ACT_AS} - set(RIGHTS) == set(SECRET_RIGHTS)


def instance_key(instance: Instance) -> str:
    return address_of_instance(instance).credential


def test_without_googles_library_what_runs_is_unknown(
    subject: CloudRunSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "google.auth.transport.urllib3", None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'tidegate\[cloudrun\]'"):
        subject.workloads().observe()
